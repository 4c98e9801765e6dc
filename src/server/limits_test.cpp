// Every limit of the table: it can be set, and it holds.
#include "server/limits.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "base/error.h"
#include "server/api_error.h"
#include "server/apis/apis.h"

namespace quire {
namespace {

TEST(Limits, EachIsSetByItsName) {
  std::set<std::string_view> names;
  for (const LimitRow& row : limit_rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    Limits limits;
    set_limit(limits, fmt::format("{}=3", row.name));
    for (const LimitRow& other : limit_rows()) {
      EXPECT_EQ(other.get(limits), &other == &row ? 3 : other.get(Limits())) << row.name << ", " << other.name;
    }
    for (const char* bad :
         {"", "=", "=0", "=-1", "=1.5", "=many", "=3 ", "=99999999999999999999", "=9000000000000000"}) {
      EXPECT_THROW(set_limit(limits, std::string(row.name) + bad), Error) << row.name << bad;
    }
  }
  Limits limits;
  EXPECT_THROW(set_limit(limits, "no_such=3"), Error);
  EXPECT_NO_THROW(set_limit(limits, "json_depth=1000"));
  EXPECT_THROW(set_limit(limits, "json_depth=1001"), Error) << "every level takes stack";
  EXPECT_THROW(set_limit(limits, "=3"), Error);
  EXPECT_LT(limits.connections_per_address, limits.connections) << "no address takes all";
}

// A request that uses so much of a limit.
using Use = std::function<std::string(int count)>;

std::string repeated(std::string_view text, int count, std::string_view between = ",") {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i > 0 ? std::string(between) : "") + fmt::format(fmt::runtime(text), i);
  return out;
}

TEST(Limits, EachOfARequestHoldsAtItsEnd) {
  struct Case {
    const Api& api;
    Use body;
  };
  const auto chat = [](const std::string& field) {
    return R"({"messages":[{"role":"user","content":"a"}],)" + field + "}";
  };
  const std::map<std::string_view, Case> cases = {
      {"json_depth",
       {kChatApi, [&](int n) { return chat(R"("metadata":)" + std::string(n - 1, '[') + std::string(n - 1, ']')); }}},
      {"choices", {kChatApi, [&](int n) { return chat(fmt::format(R"("n":{})", n)); }}},
      {"prompts", {kCompletionsApi, [](int n) { return R"({"prompt":[)" + repeated(R"("p{}")", n) + "]}"; }}},
      {"messages",
       {kChatApi,
        [](int n) { return R"({"messages":[)" + repeated(R"({{"role":"user","content":"{}"}})", n) + "]}"; }}},
      {"tools",
       {kChatApi,
        [&](int n) {
          return chat(R"("tool_choice":"none","tools":[)" + repeated(R"({{"function":{{"name":"f{}"}}}})", n) + "]");
        }}},
      {"detokenize_tokens", {kDetokenizeApi, [](int n) { return R"({"tokens":[)" + repeated("{}", n) + "]}"; }}},
      {"stop_strings", {kChatApi, [&](int n) { return chat(R"("stop":[)" + repeated(R"("s{}")", n) + "]"); }}},
      {"stop_bytes", {kChatApi, [&](int n) { return chat(R"("stop":")" + std::string(n, 's') + "\""); }}},
      {"stop_token_ids", {kChatApi, [&](int n) { return chat(R"("stop_token_ids":[)" + repeated("{}", n) + "]"); }}},
      {"logit_bias_entries",
       {kChatApi, [&](int n) { return chat(R"("logit_bias":{)" + repeated(R"("{}":1)", n) + "}"); }}},
      {"bad_words", {kChatApi, [&](int n) { return chat(R"("bad_words":[)" + repeated(R"("s{}")", n) + "]"); }}},
      {"bad_word_bytes", {kChatApi, [&](int n) { return chat(R"("bad_words":[")" + std::string(n, 's') + "\"]"); }}},
      {"dry_sequence_breakers",
       {kChatApi, [&](int n) { return chat(R"("dry_sequence_breakers":[)" + repeated(R"("s{}")", n) + "]"); }}},
      {"top_logprobs", {kChatApi, [&](int n) { return chat(fmt::format(R"("logprobs":true,"top_logprobs":{})", n)); }}},
      {"logprobs", {kCompletionsApi, [](int n) { return fmt::format(R"({{"prompt":"a","logprobs":{}}})", n); }}},
      {"grammar_bytes", {kChatApi, [&](int n) { return chat(R"("json_schema":")" + std::string(n, 's') + "\""); }}},
      {"cache_salt_bytes", {kChatApi, [&](int n) { return chat(R"("cache_salt":")" + std::string(n, 's') + "\""); }}},
  };
  // Held by the HTTP layer and the workers, or not by a count of 5; their own tests lower each. A longer request id is
  // replaced.
  const std::set<std::string_view> elsewhere = {"stored_responses",
                                                "stored_tenant_bytes",
                                                "stored_bytes",
                                                "prompt_logprobs",
                                                "grammar_nodes",
                                                "grammar_depth",
                                                "grammar_repeats",
                                                "grammar_seconds",
                                                "grammar_work",
                                                "grammar_memory_bytes",
                                                "grammar_cache_bytes",
                                                "grammar_queue_requests",
                                                "grammar_queue_bytes",
                                                "grammar_queue_seconds",
                                                "tools_bytes",
                                                "header_bytes",
                                                "header_fields",
                                                "target_bytes",
                                                "body_bytes",
                                                "header_seconds",
                                                "body_seconds",
                                                "idle_seconds",
                                                "write_stall_seconds",
                                                "receiving_bytes",
                                                "write_stall_bytes",
                                                "connections",
                                                "connections_per_address",
                                                "worker_queue_requests",
                                                "worker_queue_bytes",
                                                "stream_buffer_bytes",
                                                "request_id_bytes",
                                                "batch_files",
                                                "batches",
                                                "batch_lines",
                                                "batch_lines_at_once",
                                                "batch_output_bytes"};
  const SamplingParams sampling;
  for (const LimitRow& row : limit_rows()) {
    const auto found = cases.find(row.name);
    EXPECT_EQ(found == cases.end(), elsewhere.contains(row.name)) << row.name << " is tested nowhere";
    if (found == cases.end()) continue;
    constexpr int kMost = 5;
    Limits limits;
    row.set(limits, kMost);
    const auto parse = [&](int count) {
      parse_request(found->second.body(count), found->second.api,
                    {.limits = limits, .default_sampling = sampling, .vocab_size = 512});
    };
    EXPECT_NO_THROW(parse(kMost)) << row.name;
    EXPECT_THROW(parse(kMost + 1), ApiError) << row.name;
  }
}

}  // namespace
}  // namespace quire
