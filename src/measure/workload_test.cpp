#include "measure/workload.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace quire::load {
namespace {

class TemporaryFile {
 public:
  TemporaryFile(const std::string& suffix, const std::string& text) {
    std::string name = testing::TempDir() + "quire_load_XXXXXX" + suffix;
    const int file = ::mkstemps(name.data(), static_cast<int>(suffix.size()));
    EXPECT_GE(file, 0);
    if (file >= 0) ::close(file);
    std::ofstream(name) << text;
    path_ = name;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Lengths, ParseReadsWhatDescribeWrites) {
  for (const char* text : {"0", "50", "uniform:10:100", "lognormal:64:1.5:2048"}) {
    EXPECT_EQ(Lengths::parse(text, "--input-len").text(), text);
  }
  for (const char* text : {"", "-1", "x", "50x", "1:2", "uniform:9:3", "uniform:1", "lognormal:0:1:9",
                           "lognormal:8:-1:9", "lognormal:8:nan:9", "9999999999"}) {
    EXPECT_THROW(Lengths::parse(text, "--input-len"), Error) << text;
  }
}

TEST(Lengths, StayInTheirRangeAndHaveTheirShape) {
  Draws draws(7);
  const Lengths uniform = Lengths::parse("uniform:10:12", "x");
  int64_t seen[3] = {};
  for (int i = 0; i < 3000; ++i) {
    const int64_t value = uniform.draw(draws);
    ASSERT_GE(value, 10);
    ASSERT_LE(value, 12);
    ++seen[value - 10];
  }
  for (const int64_t count : seen) EXPECT_NEAR(static_cast<double>(count), 1000.0, 150.0);

  const Lengths heavy = Lengths::parse("lognormal:64:1:1024", "x");
  int below = 0;
  int64_t most = 0;
  for (int i = 0; i < 4000; ++i) {
    const int64_t value = heavy.draw(draws);
    ASSERT_GE(value, 1);
    ASSERT_LE(value, 1024);
    below += value < 64 ? 1 : 0;
    most = std::max(most, value);
  }
  EXPECT_NEAR(below, 2000, 150);
  EXPECT_GT(most, 640);  // ten times the median
}

TEST(Workload, PoissonGapsAreExponential) {
  const auto requests = plan_requests({.arrival = Arrival::kPoisson, .rate = 4.0, .num_requests = 20000});
  double sum = 0, squares = 0, last = 0;
  for (const PlannedRequest& request : requests) {
    const double gap = request.due_ms - last;
    ASSERT_GE(gap, 0.0);
    sum += gap;
    squares += gap * gap;
    last = request.due_ms;
  }
  const double mean = sum / 20000;
  const double deviation = std::sqrt(squares / 20000 - mean * mean);
  EXPECT_NEAR(mean, 250.0, 8.0);
  EXPECT_NEAR(deviation, 250.0, 12.0);  // an exponential distribution: equal to the mean
}

TEST(Workload, DependsOnSeedsOnly) {
  WorkloadOptions options{.num_requests = 50, .prefix_tokens = 8, .input = Lengths::parse("uniform:1:30", "x")};
  const auto plan = plan_requests(options);
  const auto again = plan_requests(options);
  options.rate = 2.0;
  options.output = Lengths::parse("lognormal:20:1:500", "x");
  const auto faster = plan_requests(options);
  for (size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(plan[i].due_ms, again[i].due_ms);
    EXPECT_NEAR(plan[i].due_ms, 2.0 * faster[i].due_ms, 1e-6);
    EXPECT_EQ(plan[i].input_tokens, faster[i].input_tokens);  // the draw of answers does not change it
    EXPECT_EQ(plan[i].prompt_seed, faster[i].prompt_seed);
  }
  options.seed = 2;
  EXPECT_NE(plan_requests(options)[0].prompt_seed, plan[0].prompt_seed);
}

TEST(Workload, PromptsShareTheirPrefixAndNothingElse) {
  const WorkloadOptions options{.num_requests = 3, .prefix_tokens = 20, .input = Lengths::fixed(10)};
  const auto plan = plan_requests(options);
  const PromptMaker prompts(options, 100, 30000);
  const auto first = prompts.ids(plan[0]);
  const auto second = prompts.ids(plan[1]);
  ASSERT_EQ(first.size(), 30u);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 20, second.begin()));
  EXPECT_FALSE(std::equal(first.begin() + 20, first.end(), second.begin() + 20));
  for (const int32_t id : first) {
    EXPECT_GE(id, 100);
    EXPECT_LE(id, 30000);
  }
  EXPECT_EQ(prompts.text(plan[0]), prompts.text(plan[0]));
  EXPECT_NE(prompts.text(plan[0]), prompts.text(plan[1]));
}

TEST(Trace, GivesTimesAndLengths) {
  const TemporaryFile file(".csv",
                           "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 23:59:59.5000000,374,44\r\n"
                           "2024-01-01 00:00:01.2500000,396,0\n");
  const auto rows = read_trace(file.path(), 10);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].at_ms, 0.0);
  EXPECT_NEAR(rows[1].at_ms, 1750.0, 1e-2);
  const auto plan = plan_requests({.arrival = Arrival::kTrace, .trace_speed = 2.0, .trace = rows, .max_input = 380});
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_NEAR(plan[1].due_ms, 875.0, 1e-2);
  EXPECT_EQ(plan[0].input_tokens, 374);
  EXPECT_EQ(plan[1].input_tokens, 380);
  EXPECT_EQ(plan[1].output_tokens, 1);  // a request asks for at least one token
}

TEST(Trace, ReadsPairsOfLengths) {
  const TemporaryFile file(".json", "[[546, 6], [10, 16], [1, 2]]");
  const auto rows = read_trace(file.path(), 2);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].input_tokens, 10);
  EXPECT_EQ(rows[1].output_tokens, 16);
}

TEST(Trace, RefusesWhatItCannotRead) {
  const std::string head = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  for (const std::string& text : {std::string(), std::string("a,b\n1,2\n"), head, head + "2023-11-16 18:17:03,5\n",
                                  head + "2023-11-16 18:17:03,5,x\n", head + "2023-13-16 18:17:03,5,6\n",
                                  head + "2023-11-16 18:17:03,5,6\n2023-11-16 18:17:02,5,6\n"}) {
    const TemporaryFile file(".csv", text);
    EXPECT_THROW(read_trace(file.path(), 10), Error) << text;
  }
  EXPECT_THROW(read_trace("/nothing.csv", 10), Error);
  const TemporaryFile pairs(".json", "[[1, 2], [3]]");
  EXPECT_THROW(read_trace(pairs.path(), 10), Error);
}

}  // namespace
}  // namespace quire::load
