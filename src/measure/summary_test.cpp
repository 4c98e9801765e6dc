#include "measure/summary.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "measure/event_stream.h"
#include "measure/report.h"
#include "measure/svg_axis.h"
#include "measure/svg_plot.h"

namespace quire::load {
namespace {

RequestRecord answered(double due_ms, double sent_ms, std::vector<double> token_ms) {
  RequestRecord record;
  record.due_ms = due_ms;
  record.sent_ms = sent_ms;
  record.end_ms = token_ms.back();
  record.status = 200;
  record.token_ms = std::move(token_ms);
  return record;
}

TEST(Summary, LatenciesCountFromWhenARequestWasDue) {
  // Due at 100 and sent at 400: the user waits these 300 ms too.
  const LoadSummary summary = summarise({answered(100, 400, {500, 520, 560})}, {});
  EXPECT_EQ(summary.ttft.mean, 400.0);
  EXPECT_EQ(summary.e2e.mean, 460.0);
  EXPECT_EQ(summary.tpot.mean, 30.0);
  EXPECT_EQ(summary.itl.max, 40.0);
  EXPECT_EQ(summary.send_delay.max, 300.0);
}

TEST(Summary, TokensThatShareAnEventStillCount) {
  RequestRecord record = answered(0, 0, {100, 160});
  record.completion_tokens = 4;  // in two events
  EXPECT_EQ(record.tpot_ms(), 20.0);
  EXPECT_EQ(summarise({record}, {}).output_tokens, 4);
}

TEST(Summary, FailuresAreCountedByKindAndGiveNoLatency) {
  RequestRecord refused;
  refused.status = 429;
  refused.error = "HTTP 429";
  refused.end_ms = 5;
  const LoadSummary summary = summarise({answered(0, 0, {1000, 1100}), refused, refused}, {});
  EXPECT_EQ(summary.num_ok, 1);
  EXPECT_EQ(summary.failures.at("HTTP 429"), 2);
  EXPECT_EQ(summary.ttft.count, 1);
  EXPECT_NEAR(summary.per_second(summary.num_ok), 1.0 / 1.1, 1e-12);
}

TEST(Summary, GoodputCountsAnswersThatMeetEveryLimit) {
  const std::vector<RequestRecord> records = {answered(0, 0, {100, 150}), answered(0, 0, {300, 350}),
                                              answered(0, 0, {100, 900})};
  EXPECT_EQ(summarise(records, {.ttft_ms = 200}).num_good, 2);
  EXPECT_EQ(summarise(records, {.ttft_ms = 200, .tpot_ms = 60}).num_good, 1);
  EXPECT_FALSE(to_json(summarise(records, {})).contains("goodput_requests_per_second"));
}

TEST(Summary, PercentilesAreThoseOfNumpy) {
  const Distribution values = describe(std::vector<double>{4, 1, 3, 2});
  EXPECT_EQ(values.p50, 2.5);
  EXPECT_NEAR(values.p90, 3.7, 1e-12);
  EXPECT_NEAR(values.p99, 3.97, 1e-12);
  EXPECT_EQ(describe(std::vector<double>{}).count, 0);
  EXPECT_EQ(describe(std::vector<double>{5}).p99, 5.0);
}

TEST(Summary, TheKneeIsWhereServedStopsFollowingOffered) {
  const std::vector<double> rates = {0.25, 0.5, 1, 2, 4};
  EXPECT_EQ(find_knee(rates, {0.25, 0.5, 0.98, 1.0, 1.0}), 2);
  EXPECT_EQ(find_knee(rates, {0.25, 0.5, 1, 2, 4}), -1);  // never saturated
  EXPECT_EQ(find_knee({1, 2}, {1, 1}), -1);
  EXPECT_EQ(find_knee(rates, {1, 1, 1, 1, 1}), -1);
}

std::vector<std::string> events_of(const std::vector<std::string>& pieces) {
  EventReader reader;
  std::vector<std::string> events;
  for (const std::string& piece : pieces) {
    EXPECT_TRUE(reader.push(piece, [&](std::string_view data) { events.emplace_back(data); }));
  }
  return events;
}

TEST(EventReader, FindsTheSameEventsHoweverTheBytesArrive) {
  const std::string stream = ": ping\n\ndata: one\n\ndata:two\r\n\r\nevent: x\ndata: a\ndata: b\nid: 3\n\n\ndata: cut";
  const std::vector<std::string> expected = {"one", "two", "a\nb"};
  for (size_t size = 1; size <= stream.size(); ++size) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < stream.size(); at += size) pieces.push_back(stream.substr(at, size));
    EXPECT_EQ(events_of(pieces), expected) << size;
  }
}

TEST(EventReader, RefusesAnEventWithoutEnd) {
  EventReader reader;
  const std::string piece(EventReader::kMaxEventBytes / 2 + 1, 'x');
  EXPECT_TRUE(reader.push("data: " + piece, [](std::string_view) {}));
  EXPECT_FALSE(reader.push(piece, [](std::string_view) {}));
}

RequestRecord read_answer(const std::string& stream) {
  RequestRecord record;
  AnswerReader reader(record);
  reader.push(stream, 7.0);
  reader.finish();
  return record;
}

TEST(AnswerReader, CountsTextAndReadsTheServersUsage) {
  const RequestRecord record = read_answer(
      "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"Hm\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,"
      "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n");
  EXPECT_TRUE(record.ok()) << record.error;
  EXPECT_EQ(record.token_ms, (std::vector<double>{7.0, 7.0}));  // a role alone is no token
  EXPECT_EQ(record.prompt_tokens, 9);
  EXPECT_EQ(record.completion_tokens, 3);
  EXPECT_EQ(record.cached_tokens, 4);
}

TEST(AnswerReader, AnIncompleteAnswerIsAFailure) {
  const std::string token = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
  EXPECT_EQ(read_answer(token).error, "stream cut off");
  EXPECT_EQ(read_answer(token + "data: {\"error\":{\"message\":\"boom\"}}\n\ndata: [DONE]\n\n").error,
            "error in the stream");
  EXPECT_EQ(read_answer("data: {oops\n\n").error, "bad event");
  EXPECT_EQ(read_answer("data: [DONE]\n\n").error, "no text");
  EXPECT_EQ(read_answer(token + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1e300}}\n\ndata: [DONE]\n\n").error,
            "");
}

TEST(Plot, TicksAreRoundAndInRange) {
  EXPECT_EQ(linear_ticks(0, 1, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(log_ticks(1, 100), (std::vector<double>{1, 2, 5, 10, 20, 50, 100}));
  EXPECT_EQ(linear_ticks(3, 3, 5), (std::vector<double>{3}));
}

TEST(Plot, HandlesEmptyAndExtremeData) {
  Panel panel{.title = "a < b & \"c\"", .x_label = "x", .y_label = "y", .has_log_x = true, .series = {}};
  panel.series.push_back({.name = "zero", .x = {0.0, -1.0}, .y = {1.0, 2.0}});
  panel.series.push_back(cumulative("none", {}));
  panel.series.push_back(cumulative("one", {5.0}));
  const std::string svg = draw_svg("title", {panel});
  EXPECT_NE(svg.find("a &lt; b &amp; &quot;c&quot;"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(Plot, ACumulativeCurveEndsAtItsLargestValue) {
  std::vector<double> values(5000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(values.size() - i);
  const Series series = cumulative("all", values, 100);
  EXPECT_EQ(series.x.size(), 100u);
  EXPECT_EQ(series.x.back(), 5000.0);
  EXPECT_EQ(series.y.back(), 100.0);
}

}  // namespace
}  // namespace quire::load
