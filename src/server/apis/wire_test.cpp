// The bytes of every API's answers, streamed and whole, against wire.snapshot. QUIRE_UPDATE_SNAPSHOTS=1 writes it.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "server/answers/generation.h"
#include "server/apis/answers.h"
#include "server/apis/apis.h"
#include "server/apis/openai_responses/answer.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr const char* kSnapshot = QUIRE_SOURCE_DIR "/src/server/apis/wire.snapshot";

constexpr const char* kWithTools = R"({"tools": [{"function": {"name": "f"}}, {"function": {"name": "g"}}]})";
constexpr const char* kWithToolsStreamed =
    R"({"tools": [{"function": {"name": "f"}}], "stream": true, "stream_options": {"include_usage": true}})";
constexpr const char* kCalls =
    "<think>Hm</think>\n\nI call.\n<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>"
    "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>";

struct Case {
  const Api& api;
  const char* body;
  size_t num_prompts = 1;
  FinishReason finish = FinishReason::kLength;
  const char* text = nullptr;  // of the answer; the model thinks before it answers
};

MakeAnswer maker(const Api& api) {
  if (&api == &kChatApi) return make_chat_answer;
  if (&api == &kResponsesApi) return [](const AnswerSetup& setup) { return make_responses_answer(setup); };
  if (&api == &kOllamaChatApi) return make_ollama_chat_answer;
  if (&api == &kOllamaGenerateApi) return make_ollama_generate_answer;
  if (&api == &kLlamaCompletionApi) return make_llama_answer;
  return &api == &kMessagesApi ? make_messages_answer : make_completions_answer;
}

// ---- Streams that OpenAI's service wrote

// Whether `ours` has the members of `recorded`, in its order and of its types; it may have more. Null fits everything.
bool has_shape(const json::value& ours, const json::value& recorded) {
  if (ours.is_null() || recorded.is_null()) return true;
  if (const json::object* const object = recorded.if_object()) {
    if (!ours.is_object()) return false;
    const auto* at = ours.get_object().begin();
    for (const auto& member : *object) {
      at = std::find_if(at, ours.get_object().end(), [&](const auto& one) { return one.key() == member.key(); });
      if (at == ours.get_object().end() || !has_shape(at->value(), member.value())) return false;
      ++at;
    }
    return true;
  }
  if (const json::array* const list = recorded.if_array()) {
    if (!ours.is_array()) return false;
    return list->empty() || ours.get_array().empty() || has_shape(ours.get_array()[0], (*list)[0]);
  }
  return ours.is_string() == recorded.is_string() && ours.is_number() == recorded.is_number() &&
         ours.is_bool() == recorded.is_bool();
}

std::string kind_of(const json::object& chunk) {
  if (chunk.at("choices").as_array().empty()) return "usage";
  const json::object& choice = chunk.at("choices").at(0).as_object();
  const json::object& delta = choice.at("delta").as_object();
  if (choice.at("finish_reason").is_string()) return "end";
  if (delta.contains("tool_calls")) {
    return delta.at("tool_calls").at(0).as_object().contains("id") ? "call" : "arguments";
  }
  if (delta.contains("reasoning")) return "reasoning";  // no recording has it
  if (delta.contains("refusal") && delta.at("refusal").is_string()) return "refusal";
  if (delta.contains("role")) return "begin";
  return choice.at("logprobs").is_null() ? "content" : "content and logprobs";
}

// Each choice begins with its role and ends with its reason; then the usage, then [DONE].
void expect_order(const std::vector<json::object>& chunks) {
  std::map<int64_t, bool> has_ended;
  for (const json::object& chunk : chunks) {
    if (kind_of(chunk) == "usage") {
      EXPECT_EQ(&chunk, &chunks.back());
      continue;
    }
    const json::object& choice = chunk.at("choices").at(0).as_object();
    const auto [entry, is_first] = has_ended.try_emplace(choice.at("index").as_int64(), false);
    EXPECT_EQ(choice.at("delta").as_object().contains("role"), is_first) << json::serialize(chunk);
    EXPECT_FALSE(entry->second) << json::serialize(chunk);
    entry->second = kind_of(chunk) == "end";
  }
  for (const auto& [index, ended] : has_ended) EXPECT_TRUE(ended) << index;
}

class WireTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    ids_ = text().tokenizer().encode("one, two \"three\"\n\xF0\x9F\x91\xA8", {.add_special_tokens = true});
  }

  OutputEvent token(size_t index, int choice) const {
    OutputEvent event;
    event.choice = choice;
    event.has_token = true;
    event.token = {.id = ids_[index], .logprob = -0.125f * static_cast<float>(index), .rank = 1, .top = {}};
    event.token.top = {{ids_[0], -0.0625f}, {ids_[index], event.token.logprob}};
    event.num_cached_tokens = 1;
    return event;
  }

  // The ids of calls are new each time.
  static void hide_ids(std::string& text) {
    constexpr std::string_view kId = "\"id\":\"call_";
    for (size_t at = text.find(kId); at != std::string::npos; at = text.find(kId, at)) {
      at += kId.size();
      EXPECT_EQ(text.find('"', at), at + 24);
      text.replace(at, 24, "*");
    }
  }

  // What the client of a request reads whose streams bring the same few tokens for every choice.
  std::string wire(const Case& given) {
    const auto exchange = std::make_shared<FakeExchange>(given.body);
    const auto thinking = TextProcessor::load(checkpoint());
    const std::vector<int32_t> plain_ids = ids_;
    if (given.text != nullptr) {
      thinking->use_reasoning_format("think");
      ids_ = text().tokenizer().encode(given.text, {.add_special_tokens = true});
      ids_.push_back(text().eog_ids().front());
    }
    model_->text = given.text != nullptr ? thinking.get() : &text();
    GenerationPlan plan;
    plan.model = model_;
    plan.is_conversation = &given.api == &kChatApi || &given.api == &kMessagesApi || &given.api == &kResponsesApi ||
                           &given.api == &kOllamaChatApi;
    plan.request =
        parse_request(given.body, given.api, {.limits = context_.limits, .default_sampling = model_->default_sampling});
    // As their handlers do.
    const bool has_timings =
        &given.api == &kOllamaChatApi || &given.api == &kOllamaGenerateApi || &given.api == &kLlamaCompletionApi;
    plan.request.timings = plan.request.timings || has_timings;
    plan.request.keeps_tokens = &given.api == &kLlamaCompletionApi;
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (size_t i = 0; i < given.num_prompts; ++i) {
      plan.prompts.push_back({.ids = {ids_[0], ids_[i + 1]}});
      streams.push_back(std::make_shared<OutputStream>(plan.request.num_choices));
    }
    const int num_choices = plan.request.num_choices;
    const bool has_drafts = plan.request.draft_marks;
    const bool scores_prompt = plan.request.prompt_logprobs >= 0 || (plan.request.echo && plan.request.logprobs);
    plan.make_answer = maker(given.api);
    const auto group = std::make_shared<StreamGroup>(exchange, streams);
    group->start(make_generation_reader(context_, exchange, *group, std::move(plan), given.num_prompts > 1));
    for (const auto& stream : streams) {
      for (size_t i = 1; i < ids_.size(); ++i) {
        for (int choice = 0; choice < num_choices; ++choice) {
          OutputEvent event = token(i, choice);
          if (i == 1 && choice == 0 && scores_prompt) {
            for (size_t at = 0; at < 2; ++at) event.prompt_logprobs.push_back(token(at, 0).token);
          }
          event.is_accepted_draft = has_drafts && (i == 2 || i == 3);
          if (i + 1 == ids_.size()) {
            if (has_drafts)
              event.drafts = {.num_verified = 5, .num_accepted = 3, .num_predicted = 3, .num_predicted_accepted = 2};
            event.finish = given.finish;
            event.is_stop_token = given.finish == FinishReason::kStop;
            event.timing = {.arrival_ms = 1, .first_scheduled_ms = 3, .first_token_ms = 10, .last_token_ms = 30};
          }
          stream->push({std::move(event)});
          exchange->run_posted();
          if (exchange->is_done()) break;
        }
      }
    }
    EXPECT_TRUE(exchange->is_done()) << given.body;
    std::string text = exchange->is_stream()
                           ? exchange->sent()
                           : std::to_string(exchange->response().status) + " " + exchange->response().body + "\n";
    ids_ = plain_ids;
    model_->text = &this->text();
    hide_ids(text);
    for (size_t at = text.find("Z\""); at != std::string::npos; at = text.find("Z\"", at)) {
      const size_t begin = text.rfind('"', at);
      text.replace(begin, at - begin + 2, "0");
    }
    for (const std::string_view time : {"\"created\":", "\"created_at\":", "\"completed_at\":"}) {
      for (size_t at = text.find(time); at != std::string::npos; at = text.find(time, at)) {
        at += time.size();
        text.replace(at, text.find_first_not_of("0123456789", at) - at, "0");
      }
    }
    return text;
  }

  std::vector<int32_t> ids_;
};

TEST_F(WireTest, StaysAsItWas) {
  const Case cases[] = {
      {kChatApi, R"({})"},
      {kChatApi, R"({"stream": true})"},
      {kChatApi, R"({"n": 2, "logprobs": true, "top_logprobs": 1, "return_token_ids": true, "quire_timings": true})"},
      {kChatApi, R"({"n": 2, "logprobs": true, "top_logprobs": 1, "return_token_ids": true, "quire_timings": true,
                     "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}})"},
      {kChatApi, R"({"stream": true, "quire_timings": true, "return_tokens_as_token_ids": true, "logprobs": true})"},
      {kChatApi, R"({"stop": "two"})"},
      {kChatApi, R"({"stop": ["x", "two"], "stream": true, "include_stop_str_in_output": true})"},
      {kChatApi, R"({"prompt_logprobs": 1, "request_id": "a\"b"})", 1, FinishReason::kStop},
      {kChatApi, R"({"stream": true})", 1, FinishReason::kTimeout},
      {kChatApi, R"({})", 1, FinishReason::kError},
      {kChatApi, R"({"quire_drafts": true, "prediction": {"type": "content", "content": "one"}})"},
      {kChatApi, R"({"quire_drafts": true, "stream": true, "stream_options": {"include_usage": true},
                     "prediction": {"type": "content", "content": "one"}})"},
      {kChatApi, kWithTools, 1, FinishReason::kStop, kCalls},
      {kChatApi, kWithToolsStreamed, 1, FinishReason::kStop, kCalls},
      {kChatApi, kWithTools, 1, FinishReason::kLength, "<think>Hm"},
      {kChatApi, R"({"include_reasoning": false, "stream": true, "logprobs": true})", 1, FinishReason::kStop,
       "<think>\nHm.\n</think>\n\nYes <b>"},
      {kCompletionsApi, R"({"quire_drafts": true, "quire_timings": true, "stream": true, "stop": "two"})"},
      {kCompletionsApi, R"({})", 2},
      {kCompletionsApi, R"({"stream": true})", 2},
      {kCompletionsApi, R"({"echo": true, "logprobs": 1, "n": 2, "return_token_ids": true})", 2},
      {kCompletionsApi, R"({"echo": true, "logprobs": 1, "n": 2, "return_token_ids": true, "stream": true,
                            "stream_options": {"include_usage": true}, "quire_timings": true})"},
      {kCompletionsApi, R"({"prompt_logprobs": 2, "logprobs": 0, "stop": "three"})"},
      {kCompletionsApi, R"({"stream": true, "stop": "three"})"},
      {kCompletionsApi, R"({"stream": true, "stream_options": {"continuous_usage_stats": true}})", 1,
       FinishReason::kStop},
      {kCompletionsApi, R"({"stream": true})", 1, FinishReason::kCancelled},
      {kCompletionsApi, R"({"logprobs": 1})", 2, FinishReason::kAborted},
      {kOllamaChatApi, R"({})"},
      {kOllamaChatApi, R"({"stream": false})", 1, FinishReason::kStop},
      {kOllamaChatApi, R"({"options": {"stop": "two"}})"},
      {kOllamaChatApi, R"({})", 1, FinishReason::kAborted},
      {kOllamaChatApi, R"({"stream": false, "tools": [{"function": {"name": "get"}}]})", 1, FinishReason::kStop,
       kCalls},
      {kOllamaChatApi, R"({"tools": [{"function": {"name": "get"}}]})", 1, FinishReason::kStop, kCalls},
      {kOllamaGenerateApi, R"({})"},
      {kOllamaGenerateApi, R"({"stream": false})"},
      {kOllamaGenerateApi, R"({"stream": false})", 1, FinishReason::kTimeout},
      {kLlamaCompletionApi, R"({"n_probs": 1, "stop": "two"})"},
      {kLlamaCompletionApi, R"({"stream": true, "return_tokens": true})", 2, FinishReason::kStop},
      {kLlamaCompletionApi, R"({"stream": true})", 1, FinishReason::kTimeout},
      {kMessagesApi, R"({"max_tokens": 3})"},
      {kMessagesApi, R"({"max_tokens": 99, "stream": true})"},
      {kMessagesApi, R"({"stream": true})", 1, FinishReason::kStop},
      {kMessagesApi, R"({"stop_sequences": ["two"], "stream": true})"},
      {kMessagesApi, R"({"stop_sequences": ["two"]})"},
      {kMessagesApi, R"({"stream": true})", 1, FinishReason::kTimeout},
      {kMessagesApi, R"({})", 1, FinishReason::kError},
      {kResponsesApi, R"({"metadata": {"a": "b"}, "temperature": 0.5})", 1, FinishReason::kStop},
      {kResponsesApi, R"({"stream": true})"},
      {kResponsesApi, R"({"include": ["message.output_text.logprobs"], "top_logprobs": 1})"},
      {kResponsesApi, R"({"stream": true, "top_logprobs": 1})", 1, FinishReason::kStop},
      {kResponsesApi, R"({"stream": true})", 1, FinishReason::kTimeout},
      {kResponsesApi, R"({})", 1, FinishReason::kError},
  };
  std::string all;
  for (const Case& given : cases) {
    all += fmt::format("# {} {} prompts: {}\n{}\n", given.api.name, given.num_prompts, given.body, wire(given));
  }
  // The caller's own stop token.
  const std::string own = fmt::format(R"({{"stop_token_ids": [{}]}})", ids_.back());
  all += wire({kChatApi, own.c_str(), 1, FinishReason::kStop});
  if (std::getenv("QUIRE_UPDATE_SNAPSHOTS") != nullptr) std::ofstream(kSnapshot) << all;
  std::ifstream file(kSnapshot);
  EXPECT_EQ(all, std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST_F(WireTest, ChunksHaveTheShapeOfRecordedStreams) {
  const char* const data = std::getenv("QUIRE_TEST_DATA");
  const std::filesystem::path folder = std::filesystem::path(data == nullptr ? "" : data) / "api/sse_recordings";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "QUIRE_TEST_DATA has no api/sse_recordings";
  std::map<std::string, std::vector<json::object>> recorded;  // by kind
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path());
    const std::vector<json::object> chunks = events_of(std::string(std::istreambuf_iterator<char>(file), {}));
    expect_order(chunks);
    for (const json::object& chunk : chunks) recorded[kind_of(chunk)].push_back(chunk);
  }
  const Case cases[] = {
      {kChatApi, R"({"stream": true, "n": 2, "stream_options": {"include_usage": true}})", 1, FinishReason::kStop},
      {kChatApi, R"({"stream": true, "logprobs": true})"},
      {kChatApi, kWithToolsStreamed, 1, FinishReason::kStop, kCalls}};
  std::set<std::string> written;
  for (const Case& given : cases) {
    const std::vector<json::object> chunks = events_of(wire(given));
    expect_order(chunks);
    for (const json::object& chunk : chunks) {
      const std::string kind = kind_of(chunk);
      written.insert(kind);
      if (kind == "reasoning") continue;
      const bool is_known =
          std::ranges::any_of(recorded[kind], [&](const json::object& one) { return has_shape(chunk, one); });
      EXPECT_TRUE(is_known) << kind << ": " << json::serialize(chunk);
    }
  }
  // This server refuses nothing in a model's name.
  for (const auto& [kind, chunks] : recorded) EXPECT_TRUE(kind == "refusal" || written.contains(kind)) << kind;
}

}  // namespace
}  // namespace quire::test
