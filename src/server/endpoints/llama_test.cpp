// llama-server's own endpoints, and prompts with a suffix.
#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

class LlamaTest : public ServerTest {
 protected:
  // The events of a stream, which has no [DONE].
  std::vector<json::object> events(Handler handler, json::object body) {
    body["stream"] = true;
    const auto exchange = start(handler, body);
    finish(*exchange);
    EXPECT_TRUE(exchange->is_stream());
    return events_of(exchange->sent(), /*expect_done=*/false);
  }
  // The text side of a model that fills in a middle.
  std::unique_ptr<TextProcessor> coder() {
    json::value description = read_json_file(QUIRE_SOURCE_DIR "/tests/data/tokenizers/qwen2.json", size_t{16} << 20);
    int64_t id = 500;
    for (const char* name : {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>"}) {
      description.as_object()["added_tokens"].as_array().push_back({{"id", id++},
                                                                    {"content", name},
                                                                    {"single_word", false},
                                                                    {"lstrip", false},
                                                                    {"rstrip", false},
                                                                    {"normalized", false},
                                                                    {"special", true}});
    }
    const std::filesystem::path folder = testing::TempDir() + "/coder";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << "{}";
    std::ofstream(folder / "tokenizer.json") << json::serialize(description);
    const std::string header = R"({"unused":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    std::string file(sizeof(uint64_t), '\0');
    file[0] = static_cast<char>(header.size());
    std::ofstream(folder / "model.safetensors", std::ios::binary) << file + header + std::string(4, '\0');
    return TextProcessor::load(*Checkpoint::open(folder));
  }
};

TEST_F(LlamaTest, CompletionIsTheTextOfCompletions) {
  const json::object given = answer(handle_llama_completion, completion("Hello", {{"n_predict", 6}}));
  EXPECT_EQ(given.at("content"),
            choice(answer(handle_completions, completion("Hello", {{"max_tokens", 6}}))).at("text"));
  EXPECT_EQ(given.at("stop"), true);
  EXPECT_EQ(given.at("stop_type"), "limit");
  EXPECT_EQ(given.at("stopping_word"), "");
  EXPECT_EQ(given.at("tokens_predicted"), 6);
  EXPECT_EQ(given.at("timings").at("predicted_n"), 6);
  EXPECT_EQ(given.at("generation_settings").at("temperature").to_number<double>(), 0.0);
  EXPECT_NE(text_of(given.at("prompt")).find("Hello"), std::string::npos);
  EXPECT_TRUE(given.at("tokens").as_array().empty());
  const json::array tokens =
      answer(handle_llama_completion, completion("Hello", {{"n_predict", 6}, {"return_tokens", true}}))
          .at("tokens")
          .as_array();
  EXPECT_EQ(tokens.size(), 6u);
}

TEST_F(LlamaTest, StreamsPiecesAndAnEnd) {
  const json::object whole = answer(handle_llama_completion, completion("Hello", {{"n_predict", 8}}));
  const std::vector<json::object> given = events(handle_llama_completion, completion("Hello", {{"n_predict", 8}}));
  std::string text;
  for (const json::object& event : given) {
    EXPECT_EQ(event.at("stop"), &event == &given.back());
    text += text_of(event.at("content"));
  }
  EXPECT_EQ(text, text_of(whole.at("content")));
  EXPECT_GT(given.size(), 2u);
  EXPECT_EQ(given.back().at("tokens_predicted"), 8);
}

TEST_F(LlamaTest, StopsAreNamed) {
  const std::string text =
      text_of(answer(handle_llama_completion, completion("Hello", {{"n_predict", 30}})).at("content"));
  const std::string stop = text.substr(5, 2);
  const json::object stopped = answer(
      handle_llama_completion, completion("Hello", {{"n_predict", 30}, {"stop", json::array{json::value(stop)}}}));
  EXPECT_EQ(stopped.at("stop_type"), "word");
  EXPECT_EQ(stopped.at("stopping_word"), json::value(stop));
  EXPECT_EQ(text_of(stopped.at("content")), text.substr(0, text.find(stop)));
}

TEST_F(LlamaTest, AGrammarHolds) {
  const json::object given =
      answer(handle_llama_completion, completion("Hello", {{"grammar", "root ::= \"yes\" | \"no\""}}));
  const std::string text = text_of(given.at("content"));
  EXPECT_TRUE(text == "yes" || text == "no") << text;
  EXPECT_EQ(given.at("stop_type"), "eos");
}

TEST_F(LlamaTest, PromptsMixTextAndTokens) {
  const Tokenizer& tokenizer = text().tokenizer();
  json::array mixed{json::value("Once upon")};
  for (const int32_t id : tokenizer.encode(" a time", {.add_special_tokens = false})) mixed.emplace_back(id);
  std::vector<int32_t> ids = tokenizer.encode("Once upon");
  for (size_t i = 1; i < mixed.size(); ++i) ids.push_back(static_cast<int32_t>(mixed[i].as_int64()));
  const json::object given = answer(handle_llama_completion, completion(mixed, {{"n_predict", 4}}));
  EXPECT_EQ(given.at("tokens_evaluated"), ids.size());
  EXPECT_EQ(given.at("content"),
            answer(handle_llama_completion, completion(json::value_from(ids), {{"n_predict", 4}})).at("content"));
  const auto several = start(handle_llama_completion, completion(json::array{"a", "b"}, {{"n_predict", 2}}));
  finish(*several);
  EXPECT_EQ(parse_json(several->response().body, "answer").as_array().size(), 2u);
}

TEST_F(LlamaTest, ProbabilitiesHaveIdsAndBytes) {
  const json::object given = answer(handle_llama_completion, completion("Hello", {{"n_predict", 2}, {"n_probs", 3}}));
  const json::array& tokens = given.at("completion_probabilities").as_array();
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].at("top_logprobs").as_array().size(), 3u);
  EXPECT_EQ(tokens[0].at("id"), tokens[0].at("top_logprobs").as_array()[0].at("id"));
}

TEST_F(LlamaTest, TemplatesAndProperties) {
  const json::object made = answer(handle_llama_template, chat("Hi"));
  EXPECT_EQ(text_of(made.at("prompt")),
            text().render_chat(json::array{{{"role", "user"}, {"content", "Hi"}}}, true).text);
  const json::object props = answer(handle_llama_props, json::object());
  EXPECT_EQ(props.at("default_generation_settings").at("n_ctx"), engine_->max_sequence_tokens());
  EXPECT_EQ(error(handle_llama_slots, json::object(), 501).at("code"), 501);
  EXPECT_EQ(error(handle_llama_template, json::object()).at("param"), "messages");
}

TEST_F(LlamaTest, AMiddleNeedsTheModelsTokens) {
  EXPECT_EQ(error(handle_completions, completion("a", {{"suffix", "b"}})).at("code"), "not_supported");
  EXPECT_EQ(error(handle_llama_infill, {{"input_prefix", "a"}, {"input_suffix", "b"}}).at("param"), "input_suffix");
  const auto text_side = coder();
  model_->text = text_side.get();
  const json::object given =
      answer(handle_llama_infill,
             {{"input_prefix", "a"}, {"prompt", "("}, {"input_suffix", ")"}, {"n_predict", 2}, {"temperature", 0}});
  EXPECT_EQ(given.at("prompt"), "<fim_prefix>a(<fim_suffix>)<fim_middle>");
  EXPECT_EQ(choice(answer(handle_completions, completion("a(", {{"suffix", ")"}, {"max_tokens", 2}}))).at("text"),
            given.at("content"));
  EXPECT_EQ(error(handle_completions, completion("a", {{"suffix", "b"}, {"echo", true}})).at("param"), "echo");
  EXPECT_EQ(error(handle_completions, completion(json::array{1, 2}, {{"suffix", "b"}})).at("param"), "prompt");
  const json::object extra = answer(
      handle_llama_infill,
      {{"input_prefix", "a"}, {"n_predict", 1}, {"input_extra", json::array{{{"filename", "x"}, {"text", "y"}}}}});
  EXPECT_EQ(extra.at("prompt"), "x\ny\n<fim_prefix>a<fim_suffix><fim_middle>");
}

}  // namespace
}  // namespace quire::test
