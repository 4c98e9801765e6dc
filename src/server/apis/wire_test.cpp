// The bytes of every API's answers, streamed and whole, against wire.snapshot. QUIRE_UPDATE_SNAPSHOTS=1 writes it.
#include <cstdlib>
#include <fstream>
#include <iterator>

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
  return &api == &kMessagesApi ? make_messages_answer : make_completions_answer;
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
    plan.is_conversation = &given.api == &kChatApi || &given.api == &kMessagesApi || &given.api == &kResponsesApi;
    plan.request =
        parse_request(given.body, given.api, {.limits = context_.limits, .default_sampling = model_->default_sampling});
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

}  // namespace
}  // namespace quire::test
