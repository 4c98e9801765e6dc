// The bytes of every API's answers, streamed and whole, against wire.snapshot. QUIRE_UPDATE_SNAPSHOTS=1 writes it.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "server/answers/generation.h"
#include "server/apis/answers.h"
#include "server/apis/apis.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr const char* kSnapshot = QUIRE_SOURCE_DIR "/src/server/apis/wire.snapshot";

struct Case {
  const Api& api;
  const MakeAnswer make_answer;
  const char* body;
  size_t num_prompts = 1;
  FinishReason finish = FinishReason::kLength;
};

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

  // What the client of a request reads whose streams bring the same few tokens for every choice.
  std::string wire(const Case& given) {
    const auto exchange = std::make_shared<FakeExchange>(given.body);
    GenerationPlan plan;
    plan.model = model_;
    plan.request =
        parse_request(given.body, given.api, {.limits = context_.limits, .default_sampling = model_->default_sampling});
    plan.request.timings |= given.api.name.starts_with("Ollama");  // as their handlers do
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (size_t i = 0; i < given.num_prompts; ++i) {
      plan.prompts.push_back({.ids = {ids_[0], ids_[i + 1]}});
      streams.push_back(std::make_shared<OutputStream>(plan.request.num_choices));
    }
    const int num_choices = plan.request.num_choices;
    const bool has_drafts = plan.request.draft_marks;
    const bool scores_prompt = plan.request.prompt_logprobs >= 0 || (plan.request.echo && plan.request.logprobs);
    plan.make_answer = given.make_answer;
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
    for (const std::string_view created : {"\"created\":", "\"created_at\":\""}) {
      for (size_t at = text.find(created); at != std::string::npos; at = text.find(created, at)) {
        at += created.size();
        text.replace(at, text.find_first_not_of("0123456789-:TZ", at) - at, "0");
      }
    }
    return text;
  }

  std::vector<int32_t> ids_;
};

TEST_F(WireTest, StaysAsItWas) {
  const Case cases[] = {
      {kChatApi, make_chat_answer, R"({})"},
      {kChatApi, make_chat_answer, R"({"stream": true})"},
      {kChatApi, make_chat_answer,
       R"({"n": 2, "logprobs": true, "top_logprobs": 1, "return_token_ids": true, "quire_timings": true})"},
      {kChatApi, make_chat_answer,
       R"({"n": 2, "logprobs": true, "top_logprobs": 1, "return_token_ids": true, "quire_timings": true,
                     "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}})"},
      {kChatApi, make_chat_answer,
       R"({"stream": true, "quire_timings": true, "return_tokens_as_token_ids": true, "logprobs": true})"},
      {kChatApi, make_chat_answer, R"({"stop": "two"})"},
      {kChatApi, make_chat_answer, R"({"stop": ["x", "two"], "stream": true, "include_stop_str_in_output": true})"},
      {kChatApi, make_chat_answer, R"({"prompt_logprobs": 1, "request_id": "a\"b"})", 1, FinishReason::kStop},
      {kChatApi, make_chat_answer, R"({"stream": true})", 1, FinishReason::kTimeout},
      {kChatApi, make_chat_answer, R"({})", 1, FinishReason::kError},
      {kChatApi, make_chat_answer, R"({"quire_drafts": true, "prediction": {"type": "content", "content": "one"}})"},
      {kChatApi, make_chat_answer, R"({"quire_drafts": true, "stream": true, "stream_options": {"include_usage": true},
                     "prediction": {"type": "content", "content": "one"}})"},
      {kCompletionsApi, make_completions_answer,
       R"({"quire_drafts": true, "quire_timings": true, "stream": true, "stop": "two"})"},
      {kCompletionsApi, make_completions_answer, R"({})", 2},
      {kCompletionsApi, make_completions_answer, R"({"stream": true})", 2},
      {kCompletionsApi, make_completions_answer, R"({"echo": true, "logprobs": 1, "n": 2, "return_token_ids": true})",
       2},
      {kCompletionsApi, make_completions_answer,
       R"({"echo": true, "logprobs": 1, "n": 2, "return_token_ids": true, "stream": true,
                            "stream_options": {"include_usage": true}, "quire_timings": true})"},
      {kCompletionsApi, make_completions_answer, R"({"prompt_logprobs": 2, "logprobs": 0, "stop": "three"})"},
      {kCompletionsApi, make_completions_answer, R"({"stream": true, "stop": "three"})"},
      {kCompletionsApi, make_completions_answer,
       R"({"stream": true, "stream_options": {"continuous_usage_stats": true}})", 1, FinishReason::kStop},
      {kCompletionsApi, make_completions_answer, R"({"stream": true})", 1, FinishReason::kCancelled},
      {kCompletionsApi, make_completions_answer, R"({"logprobs": 1})", 2, FinishReason::kAborted},
      {kOllamaChatApi, make_ollama_chat_answer, R"({})"},
      {kOllamaChatApi, make_ollama_chat_answer, R"({"stream": false})", 1, FinishReason::kStop},
      {kOllamaChatApi, make_ollama_chat_answer, R"({"options": {"stop": "two"}})"},
      {kOllamaChatApi, make_ollama_chat_answer, R"({})", 1, FinishReason::kAborted},
      {kOllamaGenerateApi, make_ollama_generate_answer, R"({})"},
      {kOllamaGenerateApi, make_ollama_generate_answer, R"({"stream": false})"},
      {kOllamaGenerateApi, make_ollama_generate_answer, R"({"stream": false})", 1, FinishReason::kTimeout},
  };
  std::string all;
  for (const Case& given : cases) {
    all += fmt::format("# {} {} prompts: {}\n{}\n", given.api.name, given.num_prompts, given.body, wire(given));
  }
  // The caller's own stop token.
  const std::string own = fmt::format(R"({{"stop_token_ids": [{}]}})", ids_.back());
  all += wire({kChatApi, make_chat_answer, own.c_str(), 1, FinishReason::kStop});
  if (std::getenv("QUIRE_UPDATE_SNAPSHOTS") != nullptr) std::ofstream(kSnapshot) << all;
  std::ifstream file(kSnapshot);
  EXPECT_EQ(all, std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace
}  // namespace quire::test
