// `quire bench` and `quire tune`.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "answers.h"

namespace quire::test {
namespace {

TEST(Bench, MeasuresEveryCellOfTheGrid) {
  const Outcome outcome = quire(
      {"bench",   "offline", "--shape",         "tiny", "--format", "Q8_0", "-p", "8,0", "-n",    "3", "-d", "0,64",
       "--batch", "1,3",     "--shared-prefix", "0",    "-r",       "2",    "-t", "1",   "--json"});
  const json::array rows = parse_array(outcome.out);
  ASSERT_EQ(rows.size(), 8u);  // prefill and decode, two depths, two numbers of sequences
  std::set<std::string> tests;
  for (const json::value& value : rows) {
    const json::object& row = value.as_object();
    tests.insert(get_string(row, "test"));
    EXPECT_EQ(get_string(row, "model"), "tiny Q8_0");
    EXPECT_GT(get_double(row, "median_tokens_per_second"), 0.0);
    EXPECT_EQ(find_array(row, "tokens_per_second")->size(), 2u);
  }
  EXPECT_TRUE(tests.contains("prefill 8 @ 64 x 3"));
  EXPECT_TRUE(tests.contains("decode 3"));
  EXPECT_EQ(tests.size(), 8u);
  const std::string table = quire({"bench", words_model(), "-p", "4", "-n", "2", "-d", "32", "--batch", "2",
                                   "--shared-prefix", "32", "-r", "1", "-t", "1", "--roof"})
                                .out;
  EXPECT_NE(table.find("decode 2 @ 32 x 2, 32 shared"), std::string::npos) << table;
  EXPECT_NE(table.find("of the roof"), std::string::npos) << table;
}

TEST(Bench, HoldsKernelsAgainstTheRoofs) {
  const TemporaryFolder folder;
  const std::filesystem::path plot = folder.path() / "plot.svg";
  const Arguments sizes = {"--shape", "tiny", "--format", "Q4_0,F16", "--tokens",   "1,64", "--depth",     "64",
                           "-t",      "1",    "--rounds", "1",        "--round-ms", "0.1",  "--megabytes", "8"};
  Arguments kernel = {"bench", "kernel", "--json", "--plot", plot};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  std::set<std::string> operations;
  for (const json::value& value : parse_array(quire(kernel).out)) {
    const json::object& row = value.as_object();
    operations.insert(get_string(row, "operation"));
    EXPECT_GT(get_double(row, "microseconds"), 0.0) << get_string(row, "test");
  }
  EXPECT_EQ(operations.size(), 16u);
  const std::string drawn = read_bytes(plot);
  EXPECT_TRUE(drawn.starts_with("<svg"));
  EXPECT_NE(drawn.find("matmul Q4_0"), std::string::npos);
  kernel = {"bench",       "kernel", "--json",          "--op", "attention_decode", "--kv-type", "q4_0",
            "--sequences", "3",      "--shared-prefix", "32"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const json::object shared = parse_array(quire(kernel).out).at(0).as_object();
  EXPECT_NE(get_string(shared, "test").find("32 shared"), std::string::npos);
  EXPECT_EQ(get_string(shared, "against"), "sharing off");
  EXPECT_GT(get_double(shared, "speedup"), 0.0);
  kernel = {"bench", "kernel", "--op", "norm_rope"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const std::string fused = quire(kernel).out;
  EXPECT_NE(fused.find("x the speed of rms_norm + rope"), std::string::npos) << fused;
  kernel = {"bench", "kernel", "--csv", "--op", "rms_norm"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const std::string csv = quire(kernel).out;
  EXPECT_TRUE(csv.starts_with("bench,test,value,")) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
}

TEST(Bench, MeasuresRoofsAndComparesResults) {
  const TemporaryFolder folder;
  const Outcome outcome = quire({"bench", "roof", "-t", "1,2", "--megabytes", "16", "--passes", "1", "--json"});
  EXPECT_EQ(parse_array(outcome.out).size(), 6u);
  const std::string file = folder.path() / "roof.json";
  write_bytes(file, outcome.out);
  EXPECT_NE(quire({"bench", "compare", file, file}).out.find("1.000"), std::string::npos);
}

TEST(Bench, WritesWeightsThatAreAModel) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "tiny.gguf";
  quire({"bench", "weights", "--shape", "tiny", "--format", "Q4_K_M", "-o", file});
  EXPECT_EQ(get_int(parse_object(quire({"info", file, "--json"}).out), "layers"), 2);
  const Arguments plan = {"plan", "--shape", "tiny", "--format", "Q4_K_M", "--memory", "1GiB", "--json"};
  EXPECT_EQ(quire(plan).out, quire({"plan", file, "--memory", "1GiB", "--json"}).out);
}

// The next load on the same machine uses the measured settings; a load with another number of threads does not.
TEST(Tune, IsKeptForTheNextStart) {
  const TemporaryFolder folder;
  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + folder.path().string(), "QUIRE_TUNING=auto"};
  const Arguments quick = {"-t", "2", "--rounds", "1", "--round-ms", "0", "--megabytes", "1"};
  const auto tune = [&](Arguments arguments) {
    arguments.insert(arguments.end(), quick.begin(), quick.end());
    return quire(arguments, "", environment).out;
  };
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder.path()), {}); };
  if (quire({"bench", "roof", "-t", "1", "--megabytes", "1", "--passes", "1"}).out.find("reference") !=
      std::string::npos) {
    GTEST_SKIP() << "only the reference kernels run here";
  }
  const json::object dry = parse_object(tune({"tune", "--shape", "tiny", "--format", "Q8_0", "--dry-run", "--json"}));
  EXPECT_EQ(find_array(dry, "matrices")->size(), 4u);  // q and o, k and v, gate and up and head, down
  EXPECT_EQ(files(), 0);
  EXPECT_NE(tune({"tune", "--shape", "tiny", "--format", "Q8_0"}).find("Q8_0 512x256"), std::string::npos);
  tune({"tune", words_model()});  // beside the others
  EXPECT_EQ(files(), 1);
  const auto file = *std::filesystem::directory_iterator(folder.path() / "quire");
  const json::object kept = parse_object(read_bytes(file.path()));
  EXPECT_GT(find_array(kept, "matrices")->size(), 4u);
  const auto logits = [&](const char* threads, const std::string& tuning) {
    const std::string out = folder.path() / "logits.f32";
    const Outcome outcome =
        quire({"logits", words_model(), "--ids", "1,3,4,5", "--out", out, "-t", threads, "--tuning", tuning}, "",
              environment);
    return std::pair(read_bytes(out), outcome.err);
  };
  const auto [expected, silence] = logits("2", "none");
  EXPECT_EQ(logits("2", "auto"), std::pair(expected, silence));
  EXPECT_EQ(logits("2", file.path()), std::pair(expected, silence));
  const auto [bits, warning] = logits("1", "auto");
  EXPECT_EQ(bits, expected);
  EXPECT_NE(warning.find("measured with 2 threads, here 1 run"), std::string::npos) << warning;
}

// Drafts that are always right save steps, drafts that are always wrong none, and neither changes an answer.
TEST(Bench, ComparesPlainAndSpeculativeDecoding) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "rows.json";
  const auto rows = [&](const char* acceptance) {
    const Arguments sizes = {"--random", "3", "--input-len", "40", "--output-len", "24", "--concurrency", "1,4"};
    Arguments words = {"bench",
                       "speculation",
                       "--shape",
                       "tiny",
                       "--acceptance",
                       acceptance,
                       "--draft-max",
                       "4",
                       "--rounds",
                       "2",
                       "-t",
                       "1",
                       "--json",
                       file,
                       "--speculative-config",
                       "{\"adaptive\": false}"};
    words.insert(words.end(), sizes.begin(), sizes.end());
    const Outcome outcome = quire(words);
    EXPECT_NE(outcome.out.find("tokens/step"), std::string::npos) << outcome.out;
    return parse_array(read_bytes(file));
  };
  for (const char* acceptance : {"0", "1"}) {
    const json::array all = rows(acceptance);
    ASSERT_EQ(all.size(), 2u);
    for (const json::value& value : all) {
      const json::object& row = value.as_object();
      EXPECT_TRUE(row.at("answers_equal").as_bool());
      EXPECT_GT(get_double(row, "ratio"), 0.0);
      EXPECT_EQ(find_array(row, "ratios")->size(), 2u);
      const bool is_right = acceptance == std::string("1");
      EXPECT_EQ(get_int(row, "accepted_tokens"), is_right ? get_int(row, "draft_tokens") : 0);
      EXPECT_GT(get_int(row, "draft_tokens"), 0);
      EXPECT_GE(get_double(row, "tokens_per_step"), is_right ? 3.5 : 1.0);
      EXPECT_LE(get_double(row, "tokens_per_step"), is_right ? 5.0 : 1.0);
    }
  }
}

}  // namespace
}  // namespace quire::test
