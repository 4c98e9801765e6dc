// /v1/chat/completions against the embedded demo model.
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr Handler kHandle = handle_chat_completions;

class ChatTest : public ServerTest {
 protected:
  std::string content(const json::object& body) {
    return text_of(choice(answer(kHandle, body)).at("message").at("content"));
  }
  static std::string streamed_content(const std::vector<json::object>& events, int64_t index = 0) {
    std::string text;
    for (const json::object& event : events) {
      for (const json::value& choice : event.at("choices").as_array()) {
        if (choice.at("index") != index) continue;
        if (const json::value* content = choice.at("delta").as_object().if_contains("content"))
          text += text_of(*content);
      }
    }
    return text;
  }
};

TEST_F(ChatTest, WholeAnswerHasOpenAisForm) {
  const json::object given = answer(kHandle, chat("Hello!", {{"request_id", "abc"}}));
  EXPECT_EQ(given.at("id"), "chatcmpl-abc");
  EXPECT_EQ(given.at("object"), "chat.completion");
  EXPECT_EQ(given.at("model"), "demo");
  EXPECT_TRUE(given.at("created").is_int64());
  EXPECT_TRUE(given.at("system_fingerprint").is_string());
  const json::object& first = choice(given);
  EXPECT_EQ(first.at("finish_reason"), "stop");
  EXPECT_EQ(first.at("stop_reason"), nullptr);
  EXPECT_EQ(first.at("logprobs"), nullptr);
  EXPECT_EQ(first.at("message").at("role"), "assistant");
  EXPECT_EQ(first.at("message").at("refusal"), nullptr);
  EXPECT_FALSE(first.at("message").at("content").as_string().empty());
  const json::object& usage = given.at("usage").as_object();
  EXPECT_EQ(usage.at("total_tokens").as_int64(),
            usage.at("prompt_tokens").as_int64() + usage.at("completion_tokens").as_int64());
  EXPECT_TRUE(usage.at("prompt_tokens_details").at("cached_tokens").is_int64());
  EXPECT_FALSE(given.contains("timings"));
}

TEST_F(ChatTest, AStreamHasTheTextOfAWholeAnswer) {
  const std::string whole = content(chat("Hello!"));
  const std::vector<json::object> events = stream(kHandle, chat("Hello!"));
  EXPECT_EQ(streamed_content(events), whole);
  for (const json::object& event : events) {
    for (const char* key : {"id", "created", "model", "system_fingerprint"})
      EXPECT_EQ(event.at(key), events[0].at(key));
    EXPECT_EQ(event.at("object"), "chat.completion.chunk");
    EXPECT_EQ(event.at("choices").as_array().size(), 1u);
    EXPECT_FALSE(event.contains("usage"));
    const bool is_first = &event == &events.front();
    const bool is_last = &event == &events.back();
    EXPECT_EQ(choice(event).at("delta").as_object().contains("role"), is_first);
    EXPECT_EQ(choice(event).at("finish_reason").is_string(), is_last);
    EXPECT_TRUE(is_last || !choice(event).at("delta").at("content").as_string().empty());
  }
  EXPECT_TRUE(choice(events.back()).at("delta").as_object().empty());
}

TEST_F(ChatTest, WaitingTokensShareAWriteButStaySeparateEvents) {
  const auto exchange = start(kHandle, chat("Hello!", {{"stream", true}, {"max_tokens", 6}, {"ignore_eos", true}}));
  EXPECT_EQ(exchange->stream_type(), "text/event-stream");
  while (engine_->step()) EXPECT_LE(exchange->num_posted(), 1u);
  exchange->run_posted();
  ASSERT_TRUE(exchange->is_done());
  EXPECT_LE(exchange->num_sends(), 2u);
  EXPECT_GE(events_of(exchange->sent()).size(), 5u);
}

TEST_F(ChatTest, UsageComesLastAndOnlyWhenAskedFor) {
  auto events =
      stream(kHandle, chat("Hello!", {{"stream_options", {{"include_usage", true}}}, {"quire_timings", true}}));
  EXPECT_TRUE(events.back().at("choices").as_array().empty());
  EXPECT_GT(events.back().at("usage").at("completion_tokens").as_int64(), 0);
  for (const char* key : {"ttft_ms", "decode_ms", "queue_ms", "tokens_per_second", "cached_tokens"}) {
    EXPECT_TRUE(events.back().at("timings").as_object().contains(key)) << key;
  }
  for (size_t i = 0; i + 1 < events.size(); ++i)
    EXPECT_FALSE(events[i].contains("usage") || events[i].contains("timings"));

  events = stream(kHandle, chat("Hello!", {{"stream_options", {{"continuous_usage_stats", true}}}}));
  int64_t before = 0;
  for (const json::object& event : events) {
    EXPECT_FALSE(event.at("choices").as_array().empty());
    EXPECT_GE(event.at("usage").at("completion_tokens").as_int64(), before);
    before = event.at("usage").at("completion_tokens").as_int64();
  }
  events = stream(kHandle, chat("Hello!", {{"quire_timings", true}}));
  EXPECT_TRUE(events.back().contains("timings"));
}

TEST_F(ChatTest, ARightPredictionSavesStepsAndChangesNoWord) {
  make_engine({.speculation = {.adaptive = false}});
  const json::object body = chat("Hello!", {{"max_tokens", 24}, {"ignore_eos", true}});
  const json::object plain = answer(kHandle, body);
  EXPECT_FALSE(plain.at("usage").as_object().contains("completion_tokens_details"));
  const std::string text = text_of(choice(plain).at("message").at("content"));
  const int64_t num_steps = engine_->status().num_steps;

  json::object predicted = body;
  predicted["prediction"] = {{"type", "content"}, {"content", text}};
  predicted["quire_timings"] = true;
  const json::object given = answer(kHandle, predicted);
  EXPECT_EQ(text_of(choice(given).at("message").at("content")), text);
  const json::object& details = given.at("usage").at("completion_tokens_details").as_object();
  const int64_t num_accepted = details.at("accepted_prediction_tokens").as_int64();
  EXPECT_GE(num_accepted, 16);
  EXPECT_EQ(given.at("timings").at("draft_n_accepted").as_int64(), num_accepted);
  EXPECT_EQ(given.at("timings").at("draft_n").as_int64(),
            num_accepted + details.at("rejected_prediction_tokens").as_int64());
  EXPECT_LE(engine_->status().num_steps - num_steps, 8);

  predicted["speculative.n_max"] = 0;
  const json::object narrow = answer(kHandle, predicted);
  EXPECT_EQ(narrow.at("usage").at("completion_tokens_details").at("accepted_prediction_tokens").as_int64(), 0);
  EXPECT_FALSE(narrow.at("timings").as_object().contains("draft_n"));
}

TEST_F(ChatTest, MarksWhichTokensWereDraftsThatHeld) {
  make_engine({.speculation = {.adaptive = false}});
  json::object body = chat("Hello!", {{"max_tokens", 24}, {"ignore_eos", true}});
  const std::string text = content(body);
  body["prediction"] = {{"type", "content"}, {"content", text}};
  body["quire_drafts"] = true;
  int64_t num_accepted = 0;
  int64_t place = 0;
  for (const json::object& event : stream(kHandle, body)) {
    for (const json::value& mark : choice(event).at("quire_drafts").as_array()) {
      EXPECT_GE(mark.at(0).as_int64(), place);
      place = mark.at(0).as_int64();
      num_accepted += mark.at(1).as_bool() ? 1 : 0;
    }
  }
  EXPECT_GE(num_accepted, 16);
  EXPECT_FALSE(choice(answer(kHandle, chat("Hello!"))).contains("quire_drafts"));
}

TEST_F(ChatTest, APredictionLongerThanAnyAnswerIsRefused) {
  // More bytes than so many tokens can have.
  const auto bytes = static_cast<size_t>(engine_->max_sequence_tokens() + 1) * 256;
  const std::string text(bytes, 'x');
  const json::object refusal =
      error(kHandle, chat("Hello!", {{"prediction", {{"type", "content"}, {"content", text}}}}));
  EXPECT_EQ(refusal.at("param"), "prediction.content");
}

TEST_F(ChatTest, EveryChunksUsageKnowsTheCachedTokens) {
  const std::string prompt =
      "Once upon a time there was a little cat. The cat was very happy. It had a red ball and a blue hat, and it lived "
      "in a small house with a big garden near the old mill.";
  const json::object body = chat(prompt, {{"stream_options", {{"continuous_usage_stats", true}}}, {"n", 2}});
  const auto cached = [](const json::object& event) {
    return event.at("usage").at("prompt_tokens_details").at("cached_tokens").as_int64();
  };
  EXPECT_EQ(cached(stream(kHandle, body).back()), 0);
  const auto events = stream(kHandle, body);
  EXPECT_GT(cached(events.back()), 0);
  for (const json::object& event : events) EXPECT_EQ(cached(event), cached(events.back()));
}

TEST_F(ChatTest, FingerprintsFollowWhatDecidesTheBits) {
  const auto fingerprint = [&] { return text_of(answer(kHandle, chat("Hello!")).at("system_fingerprint")); };
  const std::string before = fingerprint();
  EXPECT_EQ(fingerprint(), before);
  model_->card.arithmetic = "avx2 K Q4_0 V Q4_0";
  const std::string other = fingerprint();
  EXPECT_NE(other, before);
  model_->card.arithmetic = "avx512 K Q4_0 V Q4_0";
  EXPECT_NE(fingerprint(), other);
}

TEST_F(ChatTest, StopStringsAcrossTokensEndTheirOwnChoice) {
  const std::string whole = content(chat("Hello!"));
  ASSERT_GT(whole.size(), 8u);
  const std::string stop = whole.substr(3, 5);
  const std::string before = whole.substr(0, whole.find(stop));
  const json::object body = chat("Hello!", {{"stop", stop}});
  const json::object given = answer(kHandle, body);
  EXPECT_EQ(text_of(choice(given).at("message").at("content")), before);
  EXPECT_EQ(choice(given).at("finish_reason"), "stop");
  EXPECT_EQ(text_of(choice(given).at("stop_reason")), stop);
  const auto events = stream(kHandle, body);
  EXPECT_EQ(streamed_content(events), before);
  EXPECT_EQ(text_of(choice(events.back()).at("stop_reason")), stop);
  EXPECT_EQ(content(chat("Hello!", {{"stop", {"never said", stop}}, {"include_stop_str_in_output", true}})),
            before + stop);
  EXPECT_EQ(content(chat("Hello!", {{"stop", nullptr}})), whole);
  EXPECT_EQ(content(chat("Hello!", {{"stop", whole + " and more"}})), whole)
      << "what was held back must come at the end";
}

TEST_F(ChatTest, ChoicesDifferInTheirTokens) {
  const json::object more{{"n", 3}, {"temperature", 1.5}, {"seed", 7}, {"max_tokens", 12}, {"ignore_eos", true}};
  const json::object given = answer(kHandle, chat("Tell me a story.", more));
  ASSERT_EQ(given.at("choices").as_array().size(), 3u);
  EXPECT_EQ(given.at("usage").at("completion_tokens"), 36);
  const auto events = stream(kHandle, chat("Tell me a story.", more));
  std::vector<std::string> texts;
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(choice(given, static_cast<size_t>(i)).at("index"), i);
    EXPECT_EQ(choice(given, static_cast<size_t>(i)).at("finish_reason"), "length");
    texts.push_back(text_of(choice(given, static_cast<size_t>(i)).at("message").at("content")));
    EXPECT_EQ(streamed_content(events, i), texts.back());
  }
  EXPECT_NE(texts[0], texts[1]);
  // A stop string of one choice leaves the others alone.
  json::object stopped = more;
  stopped["stop"] = texts[1].substr(2, 12);
  const json::object cut = answer(kHandle, chat("Tell me a story.", stopped));
  EXPECT_EQ(choice(cut, 1).at("finish_reason"), "stop");
  EXPECT_EQ(text_of(choice(cut, 0).at("message").at("content")), texts[0]);
  EXPECT_EQ(text_of(choice(cut, 2).at("message").at("content")), texts[2]);
}

TEST_F(ChatTest, StreamsHaveAllLogprobs) {
  const json::object more{{"logprobs", true}, {"top_logprobs", 3}};
  const json::object given = answer(kHandle, chat("Hello!", more));
  const json::array& whole = choice(given).at("logprobs").at("content").as_array();
  std::string joined;
  for (const json::value& token : whole) {
    EXPECT_EQ(token.at("top_logprobs").as_array().size(), 3u);
    EXPECT_EQ(token.at("top_logprobs").as_array()[0].at("token"), token.at("token")) << "greedy";
    EXPECT_EQ(token.at("top_logprobs").as_array()[0].at("logprob"), token.at("logprob"));
    for (const json::value& byte : token.at("bytes").as_array()) joined += static_cast<char>(byte.to_number<int>());
  }
  EXPECT_EQ(joined, text_of(choice(given).at("message").at("content")));
  json::array streamed;
  for (const json::object& event : stream(kHandle, chat("Hello!", more))) {
    const json::value& logprobs = choice(event).at("logprobs");
    if (logprobs.is_null()) continue;
    for (const json::value& token : logprobs.at("content").as_array()) streamed.push_back(token);
  }
  EXPECT_EQ(streamed, whole);
  const json::object named =
      answer(kHandle, chat("Hello!", {{"logprobs", true}, {"return_tokens_as_token_ids", true}}));
  EXPECT_TRUE(
      choice(named).at("logprobs").at("content").as_array()[0].at("token").as_string().starts_with("token_id:"));
}

TEST_F(ChatTest, TokenIdsOnRequest) {
  const json::object given = answer(kHandle, chat("Hello!", {{"return_token_ids", true}}));
  EXPECT_EQ(static_cast<int64_t>(given.at("prompt_token_ids").as_array().size()),
            given.at("usage").at("prompt_tokens").as_int64());
  EXPECT_EQ(static_cast<int64_t>(choice(given).at("token_ids").as_array().size()),
            given.at("usage").at("completion_tokens").as_int64());
}

TEST_F(ChatTest, StopTokensAreNamed) {
  const json::object ids = answer(kHandle, chat("Hello!", {{"return_token_ids", true}}));
  const json::value second = choice(ids).at("token_ids").as_array()[1];
  const json::object given = answer(kHandle, chat("Hello!", {{"stop_token_ids", json::array{second}}}));
  EXPECT_EQ(choice(given).at("stop_reason"), second);
  EXPECT_EQ(choice(given).at("finish_reason"), "stop");
  EXPECT_EQ(given.at("usage").at("completion_tokens"), 2);
  const json::object later =
      answer(kHandle, chat("Hello!", {{"stop_token_ids", json::array{second}}, {"min_tokens", 5}}));
  EXPECT_GE(later.at("usage").at("completion_tokens").as_int64(), 5);
}

TEST_F(ChatTest, ContextOverflowHasTheMessageThatGatewaysKnow) {
  const json::object refusal = error(kHandle, chat("Hello!", {{"max_tokens", 256}}));
  EXPECT_EQ(refusal.at("code"), "context_length_exceeded");
  const std::string message = text_of(refusal.at("message"));
  EXPECT_TRUE(message.starts_with("This model's maximum context length is 256 tokens. However, you requested "))
      << message;
  EXPECT_NE(message.find(" in the messages, 256 in the completion)."), std::string::npos);
  const json::object given =
      answer(kHandle, chat("Tell me a long story of a cat.", {{"max_tokens", 250}, {"truncate_prompt_tokens", -1}}));
  EXPECT_EQ(given.at("truncated"), true);
  EXPECT_EQ(given.at("usage").at("prompt_tokens"), 6);
}

TEST_F(ChatTest, ARequestGoesToTheModelThatItNames) {
  ServedModel& other = context_.models.add({.card = {.id = "other",
                                                     .aliases = {"o/2"},
                                                     .root = "other-file",
                                                     .max_model_len = 256,
                                                     .vocab_size = 3,
                                                     .architecture = "",
                                                     .arithmetic = ""},
                                            .engine = engine_.get(),
                                            .text = &text()});
  const auto named = [&](json::object body) { return text_of(answer(kHandle, chat("a", body)).at("model")); };
  EXPECT_EQ(named({{"max_tokens", 1}}), "demo");
  EXPECT_EQ(named({{"max_tokens", 1}, {"model", "quire-demo-small.gguf"}}), "demo");
  for (const char* name : {"other", "o/2", "other-file"}) {
    EXPECT_EQ(named({{"max_tokens", 1}, {"model", name}}), "other") << name;
  }
  // Its own vocabulary and its own defaults.
  EXPECT_EQ(error(kHandle, chat("a", {{"model", "other"}, {"stop_token_ids", {7}}})).at("param"), "stop_token_ids[0]");
  other.default_sampling.min_tokens = 3;
  const auto length = [&](const char* name) {
    return answer(kHandle, chat("a", {{"model", name}, {"max_tokens", 1}})).at("usage").at("completion_tokens");
  };
  EXPECT_EQ(length("other"), length("demo"));
  const std::string message = text_of(error(kHandle, chat("a", {{"model", "third"}}), 404).at("message"));
  EXPECT_NE(message.find("this server has: demo, other"), std::string::npos) << message;
}

TEST_F(ChatTest, ReadsPackedBodiesWithinTheLimitOfABody) {
  const auto status = [&](std::string body, const char* coding) {
    const auto exchange = start_raw(kHandle, std::move(body), {{"content-encoding", coding}});
    finish(*exchange);
    return exchange->response().status;
  };
  const std::string body = json::serialize(chat("Hello", {{"max_tokens", 2}}));
  EXPECT_EQ(status(gzipped(body), "gzip"), 200);
  EXPECT_EQ(status(body, "identity"), 200);
  EXPECT_EQ(status(body, "gzip"), 400) << "not what it says";
  context_.limits.body_bytes = 10'000;
  const std::string bomb = gzipped(json::serialize(chat(std::string(1'000'000, 'a'))));
  EXPECT_LT(bomb.size(), 10'000);
  EXPECT_EQ(status(bomb, "gzip"), 413);
}

TEST_F(ChatTest, RefusesWrongModelsAndStates) {
  EXPECT_EQ(error(kHandle, chat("a", {{"model", "gpt-9"}}), 404).at("code"), "model_not_found");
  EXPECT_EQ(error(kHandle, json::object{{"model", "demo"}}).at("param"), "messages");
  EXPECT_EQ(error(kHandle, chat("a", {{"chat_template", "x"}}), 403).at("param"), "chat_template");
  EXPECT_EQ(error(kHandle, chat("a", {{"n", 129}})).at("param"), "n");
  context_.allow_request_templates = true;
  EXPECT_EQ(error(kHandle, chat("a", {{"chat_template", "{% if %}"}})).at("param"), "chat_template");
  EXPECT_FALSE(content(chat("a", {{"chat_template", "{{ messages[0].content }}"}, {"max_tokens", 3}})).empty());
  context_.state = ServerState::kDraining;
  EXPECT_EQ(error(kHandle, chat("a"), 503).at("code"), "draining");
  context_.state = ServerState::kLoading;
  EXPECT_EQ(error(kHandle, chat("a"), 503).at("code"), "model_loading");
}

TEST_F(ChatTest, AFullQueueTellsWhenToRetry) {
  EngineOptions options;
  options.max_queued_requests = 1;
  make_engine(options);
  const auto first = start(kHandle, chat("Hello!", {{"max_tokens", 4}}));
  const auto second = start(kHandle, chat("Hello!"));
  ASSERT_TRUE(second->is_done());
  EXPECT_EQ(second->response().status, 429);
  std::map<std::string, std::string> headers(second->response().headers.begin(), second->response().headers.end());
  EXPECT_TRUE(headers.contains("Retry-After") && headers.contains("retry-after-ms"));
  finish(*first);
}

TEST_F(ChatTest, FarTooLongMessagesAreRefusedByTheirBytes) {
  const json::object by_bytes = error(kHandle, chat(std::string(1 << 20, 'a')));
  EXPECT_EQ(by_bytes.at("code"), "context_length_exceeded");
  EXPECT_NE(text_of(by_bytes.at("message")).find("you requested at least "), std::string::npos) << "not encoded";
  const json::object by_template = error(kHandle, chat(std::string(5 << 20, 'a')));
  EXPECT_EQ(by_template.at("code"), "context_length_exceeded");
  EXPECT_EQ(by_template.at("param"), "messages");
  EXPECT_TRUE(text_of(by_template.at("message")).starts_with("This model's maximum context length is "));
}

TEST_F(ChatTest, ADisconnectFreesAllBlocks) {
  for (const bool is_stream : {false, true}) {
    for (const int steps : {0, 1, 4}) {
      const auto exchange = start(kHandle, chat("Hello!", {{"stream", is_stream}, {"n", 2}, {"ignore_eos", true}}));
      for (int i = 0; i < steps; ++i) {
        engine_->step();
        exchange->run_posted();
      }
      exchange->disconnect();
      int more = 0;
      while (engine_->step()) ++more;
      EXPECT_LE(more, 2);
      exchange->run_posted();
      EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
      EXPECT_EQ(exchange.use_count(), 1) << "nothing may hold the exchange";
    }
  }
  EXPECT_NE(metrics_.exposition({}).find("quire:client_disconnects_total 0\n"), std::string::npos)
      << "the listener counts them, once for each request";
}

TEST_F(ChatTest, AClientThatHasLeftIsNotServed) {
  const auto exchange = std::make_shared<FakeExchange>(json::serialize(chat("Hello!")));
  exchange->disconnect();
  run(kHandle, exchange);
  exchange->run_posted();
  int steps = 0;
  while (engine_->step()) ++steps;
  EXPECT_LE(steps, 1);
  EXPECT_EQ(exchange.use_count(), 1);
}

TEST_F(ChatTest, ASlowReaderDelaysOnlyItself) {
  context_.limits.stream_buffer_bytes = 2000;
  const json::object body = chat("Tell me a story.", {{"stream", true}, {"max_tokens", 60}, {"ignore_eos", true}});
  const auto exchange = start(kHandle, body);
  exchange->hold_back();
  while (engine_->step()) exchange->run_posted();
  EXPECT_FALSE(exchange->is_done());
  EXPECT_LT(exchange->most_unsent(), 2000u + 1000u);
  for (int i = 0; i < 100 && !exchange->is_done(); ++i) exchange->let_go();
  ASSERT_TRUE(exchange->is_done());
  EXPECT_EQ(streamed_content(events_of(exchange->sent())),
            content(chat("Tell me a story.", {{"max_tokens", 60}, {"ignore_eos", true}})));
}

TEST_F(ChatTest, SendsPingsDuringSilence) {
  const auto exchange = start(kHandle, chat("Hello!", {{"stream", true}}));
  exchange->run_timers();
  exchange->run_timers();
  EXPECT_EQ(exchange->sent(), ": ping\n\n");
  finish(*exchange);
  events_of(exchange->sent());
}

// The prompt ends with the given text, whatever the template writes around it.
TEST_F(ChatTest, TheLastMessageIsContinued) {
  json::object body = chat("Hello!");
  const auto last = [&]() -> json::object& { return body["messages"].as_array().back().as_object(); };
  body["messages"].as_array().push_back({{"role", "assistant"}, {"content", "Hi"}});
  body["continue_final_message"] = true;
  EXPECT_EQ(error(kHandle, body).at("param"), "continue_final_message");
  body["add_generation_prompt"] = false;
  const auto prompt_of = [&](json::value content) {
    last()["content"] = std::move(content);
    std::vector<int32_t> ids;
    const json::object given = answer(handle_tokenize, body);
    for (const json::value& id : given.at("tokens").as_array()) {
      ids.push_back(id.to_number<int32_t>());
    }
    return text().tokenizer().decode(ids, false);
  };
  const std::string empty = prompt_of("");
  EXPECT_FALSE(empty.ends_with("\n\n"));
  EXPECT_EQ(prompt_of(nullptr), empty);
  for (const char* content : {"<",
                              ">",
                              "|",
                              "end",
                              "im",
                              "e",
                              "user",
                              "assistant",
                              "system",
                              "Hello!",
                              "\n",
                              " ",
                              "<|im_",
                              "Hi ",
                              "Hi\n",
                              "QuireContinuesHere",
                              "xQuireContinuesHereQuireContinuesHere",
                              "QuireContinuesHereQuireContinuesHere QuireContinuesHere",
                              "QuireContinuesHer",
                              "{{ x }}",
                              "Hi"}) {
    EXPECT_EQ(prompt_of(content), empty + content);
  }
  const json::value parts = json::array{{{"type", "text"}, {"text", "H"}}, {{"type", "text"}, {"text", "i"}}};
  EXPECT_TRUE(prompt_of(parts).ends_with("i"));
  context_.allow_request_templates = true;
  body["chat_template"] = "{{ messages[0].content }}";
  last()["content"] = "Hi";
  EXPECT_EQ(error(kHandle, body).at("param"), "continue_final_message");
}

}  // namespace
}  // namespace quire::test
