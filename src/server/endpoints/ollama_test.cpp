// Ollama's /api/*.
#include <sstream>

#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

class OllamaTest : public ServerTest {
 protected:
  // The lines of a stream.
  std::vector<json::object> lines(Handler handler, const json::value& body) {
    const auto exchange = start(handler, body);
    finish(*exchange);
    EXPECT_TRUE(exchange->is_stream()) << (exchange->is_done() ? exchange->response().body : "");
    EXPECT_EQ(exchange->stream_type(), "application/x-ndjson");
    std::vector<json::object> lines;
    std::istringstream all(exchange->sent());
    for (std::string line; std::getline(all, line);) lines.push_back(parse_json(line, "line").as_object());
    return lines;
  }
  static json::object ask(json::object more = {}) {
    json::object body{{"messages", json::array{json::object{{"role", "user"}, {"content", "Hello"}}}},
                      {"options", {{"temperature", 0}, {"num_predict", 6}}}};
    for (const auto& [key, value] : more) body[key] = value;
    return body;
  }
  // The message of a refusal, which is all there is.
  std::string refusal(Handler handler, const json::value& body, int status) {
    const json::object given = answer(handler, body, status);
    EXPECT_EQ(given.size(), 1u);
    return given.contains("error") ? text_of(given.at("error")) : "";
  }
};

TEST_F(OllamaTest, StreamsLinesThatJoinToTheWholeAnswer) {
  const json::object whole = answer(handle_ollama_chat, ask({{"stream", false}}));
  EXPECT_EQ(whole.at("done"), true);
  EXPECT_EQ(whole.at("done_reason"), "length");
  EXPECT_EQ(whole.at("eval_count"), 6);
  EXPECT_GT(whole.at("prompt_eval_count").as_int64(), 0);
  EXPECT_GE(whole.at("total_duration").as_int64(), whole.at("eval_duration").as_int64());
  const std::vector<json::object> given = lines(handle_ollama_chat, ask());
  std::string text;
  for (const json::object& line : given) {
    EXPECT_EQ(line.at("done"), &line == &given.back());
    EXPECT_EQ(line.at("message").at("role"), "assistant");
    text += text_of(line.at("message").at("content"));
  }
  EXPECT_GT(given.size(), 2u);
  EXPECT_EQ(text, text_of(whole.at("message").at("content")));
  EXPECT_EQ(given.back().at("eval_count"), 6);
}

TEST_F(OllamaTest, ChatIsTheAnswerOfOpenAisChat) {
  const json::object other = answer(handle_chat_completions, chat("Hello", {{"max_tokens", 6}}));
  EXPECT_EQ(answer(handle_ollama_chat, ask({{"stream", false}})).at("message").at("content"),
            choice(other).at("message").at("content"));
}

TEST_F(OllamaTest, GenerateIsATurnOrRawText) {
  json::object body{{"prompt", "Hello"}, {"stream", false}, {"options", {{"temperature", 0}, {"num_predict", 6}}}};
  EXPECT_EQ(answer(handle_ollama_generate, body).at("response"),
            answer(handle_ollama_chat, ask({{"stream", false}})).at("message").at("content"));
  body["raw"] = true;
  EXPECT_EQ(answer(handle_ollama_generate, body).at("response"),
            choice(answer(handle_completions, completion("Hello", {{"max_tokens", 6}}))).at("text"));
  body["system"] = "Answer in one word.";
  body["raw"] = false;
  EXPECT_GT(answer(handle_ollama_generate, body).at("prompt_eval_count").as_int64(), 5);
}

TEST_F(OllamaTest, WithoutAPromptTheModelIsLoaded) {
  EXPECT_EQ(answer(handle_ollama_generate, {{"model", "demo"}}).at("done_reason"), "load");
  EXPECT_EQ(answer(handle_ollama_generate, {{"model", "demo"}, {"prompt", ""}, {"keep_alive", 0}}).at("done_reason"),
            "unload");
  const json::object loaded = answer(handle_ollama_chat, {{"messages", json::array()}, {"stream", false}});
  EXPECT_EQ(loaded.at("message").at("content"), "");
  EXPECT_EQ(loaded.at("done"), true);
}

TEST_F(OllamaTest, OptionsCount) {
  json::object body = ask({{"stream", false}});
  body["options"].as_object()["num_predict"] = 40;
  const std::string whole = text_of(answer(handle_ollama_chat, body).at("message").at("content"));
  body["options"].as_object()["stop"] = json::array{json::value(json::string(whole.substr(4, 3)))};
  const json::object stopped = answer(handle_ollama_chat, body);
  EXPECT_EQ(stopped.at("done_reason"), "stop");
  EXPECT_EQ(text_of(stopped.at("message").at("content")), whole.substr(0, whole.find(whole.substr(4, 3))));
  body["options"].as_object()["stop"] = json::array{""};
  EXPECT_NE(refusal(handle_ollama_chat, body, 400).find("options.stop[0]"), std::string::npos);
}

TEST_F(OllamaTest, OldestTurnsAreLeftOut) {
  json::object body = ask({{"stream", false}});
  const json::value last = body.at("messages").as_array().back();
  json::array longer;
  for (int i = 0; i < 40; ++i) {
    longer.push_back({{"role", "user"}, {"content", "Tell me of a fox and a cat."}});
    longer.push_back({{"role", "assistant"}, {"content", "There was a fox."}});
  }
  longer.push_back(last);
  body["messages"] = json::array{last};
  const json::object alone = answer(handle_ollama_chat, body);
  body["messages"] = longer;
  const int64_t num_tokens = answer(handle_ollama_chat, body).at("prompt_eval_count").as_int64();
  EXPECT_GT(num_tokens, 128);
  EXPECT_LE(num_tokens, 256 - 6);
  body["options"].as_object()["num_ctx"] = 1;
  EXPECT_EQ(answer(handle_ollama_chat, body).at("message"), alone.at("message"));
  body["truncate"] = false;
  EXPECT_NE(refusal(handle_ollama_chat, body, 400).find("maximum context length"), std::string::npos);
  // num_ctx is for the prompt: an answer as long leaves a short conversation whole.
  body = ask({{"stream", false}});
  body["messages"] = json::array{longer[0], longer[1], last};
  const json::value whole = answer(handle_ollama_chat, body).at("prompt_eval_count");
  json::object& options = body["options"].as_object();
  options["num_ctx"] = options["num_predict"] = 128;
  EXPECT_EQ(answer(handle_ollama_chat, body).at("prompt_eval_count"), whole);
}

TEST_F(OllamaTest, AFormatHolds) {
  const json::object schema{{"enum", json::array{"red", "blue"}}};
  const json::object given = answer(handle_ollama_chat, ask({{"stream", false}, {"format", schema}}));
  const std::string text = text_of(given.at("message").at("content"));
  EXPECT_TRUE(text.ends_with("\"red\"") || text.ends_with("\"blue\"")) << text;
  const json::object object = answer(
      handle_ollama_generate,
      {{"prompt", "a"}, {"stream", false}, {"format", "json"}, {"options", {{"temperature", 0}, {"num_predict", 3}}}});
  EXPECT_NE(text_of(object.at("response")).find('{'), std::string::npos);
  EXPECT_NE(refusal(handle_ollama_chat, ask({{"format", "yaml"}}), 400).find("format"), std::string::npos);
}

TEST_F(OllamaTest, RefusalsAreOneMessage) {
  EXPECT_NE(refusal(handle_ollama_chat, ask({{"model", "other"}}), 404).find("other"), std::string::npos);
  EXPECT_NE(refusal(handle_ollama_generate, {{"prompt", "a"}, {"suffix", "b"}}, 400).find("fill in a middle"),
            std::string::npos);
  EXPECT_NE(refusal(handle_ollama_generate, {{"prompt", "a"}, {"template", "{{ .Prompt }}"}}, 400).find("template"),
            std::string::npos);
  EXPECT_NE(
      refusal(handle_ollama_chat,
              {{"messages", json::array{{{"role", "user"}, {"content", "a"}, {"images", json::array{"aGk="}}}}}}, 400)
          .find("messages[0].images"),
      std::string::npos);
  EXPECT_NE(refusal(handle_ollama_manage, json::object(), 501).find("quire serve"), std::string::npos);
  EXPECT_NE(refusal(handle_ollama_pull, {{"model", "llama3.2"}}, 501).find("quire serve"), std::string::npos);
  EXPECT_EQ(answer(handle_ollama_pull, {{"model", "demo:latest"}, {"stream", false}}).at("status"), "success");
}

TEST_F(OllamaTest, ModelsAsOllamasClientsReadThem) {
  const json::object tags = answer(handle_ollama_tags, json::object());
  const json::object& model = tags.at("models").as_array().at(0).as_object();
  EXPECT_EQ(model.at("name"), "demo:latest");
  EXPECT_EQ(model.at("digest").as_string().size(), 64u);
  EXPECT_EQ(model.at("details").at("format"), "gguf");
  EXPECT_EQ(answer(handle_ollama_ps, json::object()).at("models").as_array().at(0).at("name"), "demo:latest");
  for (const char* name : {"model", "name"}) {
    const json::object shown = answer(handle_ollama_show, json::object{{name, "demo:latest"}});
    EXPECT_EQ(shown.at("template").as_string(), text().chat_template_source());
    const std::string family = text_of(shown.at("details").at("family"));
    EXPECT_EQ(shown.at("model_info").at(family + ".context_length"), engine_->max_sequence_tokens());
    EXPECT_EQ(shown.at("capabilities").as_array().at(0), "completion");
  }
  EXPECT_EQ(refusal(handle_ollama_show, {{"model", "demo:1b"}}, 404).find("0x"), std::string::npos);
}

TEST_F(OllamaTest, EmbeddingsAreThoseOfOpenAisApi) {
  const json::object given = answer(handle_ollama_embed, {{"input", json::array{"one", "two"}}});
  const json::array& vectors = given.at("embeddings").as_array();
  ASSERT_EQ(vectors.size(), 2u);
  const json::object other = answer(handle_embeddings, {{"input", json::array{"one", "two"}}});
  EXPECT_EQ(vectors[1], other.at("data").as_array().at(1).at("embedding"));
  EXPECT_EQ(given.at("prompt_eval_count"), other.at("usage").at("prompt_tokens"));
  EXPECT_EQ(answer(handle_ollama_embeddings, {{"prompt", "two"}}).at("embedding"), vectors[1]);
  EXPECT_TRUE(answer(handle_ollama_embed, {{"input", json::array()}}).at("embeddings").as_array().empty());
}

}  // namespace
}  // namespace quire::test
