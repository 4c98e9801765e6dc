// OpenAI's /v1/responses: items in, items out, and what is stored of them.
#include "server/apis/apis.h"
#include "server/apis/openai_responses/answer.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

json::object response(json::value input, json::object more = {}) {
  json::object body{{"max_output_tokens", 8}, {"temperature", 0}, {"input", std::move(input)}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}

TextPiece piece(std::string text) { return {.text = std::move(text), .tokens = {}}; }

// Events of a stream as a client reads them; checks the framing and the numbers on the way.
std::vector<json::object> numbered_events(const std::string& stream) {
  std::vector<json::object> events;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = stream.find("\n\n", at);
    const std::string event = stream.substr(at, end - at);
    at = end + 2;
    const size_t line_end = event.find('\n');
    EXPECT_TRUE(event.starts_with("event: ") && event.substr(line_end + 1).starts_with("data: ")) << event;
    events.push_back(parse_json(std::string_view(event).substr(line_end + 7), "event").as_object());
    EXPECT_EQ(event.substr(7, line_end - 7), text_of(events.back().at("type")));
    EXPECT_EQ(events.back().at("sequence_number").as_int64(), static_cast<int64_t>(events.size()) - 1);
  }
  return events;
}

std::string types_of(const std::vector<json::object>& events) {
  std::string types;
  for (const json::object& event : events) types += text_of(event.at("type")).substr(9) + '\n';  // "response."
  return types;
}

std::string output_text(const json::object& given) {
  return text_of(given.at("output").at(0).at("content").at(0).at("text"));
}

class ResponsesTest : public ServerTest {
 protected:
  ApiRequest read(const json::value& body) const {
    return parse_request(json::serialize(body), kResponsesApi,
                         {.limits = context_.limits, .default_sampling = model_->default_sampling});
  }
  // A request to a path with an id, as the tenant of a key.
  std::shared_ptr<FakeExchange> at_path(Handler handler, std::string path, std::string tenant = "",
                                        std::string query = "") {
    const auto exchange = std::make_shared<FakeExchange>("");
    exchange->mutable_request().path = std::move(path);
    exchange->mutable_request().tenant = std::move(tenant);
    exchange->mutable_request().query = std::move(query);
    run(handler, exchange);
    exchange->run_posted();
    return exchange;
  }
  json::object create(json::object body, const std::string& id, const std::string& tenant = "") {
    const auto exchange = std::make_shared<FakeExchange>(json::serialize(body));
    exchange->mutable_request().id = id;
    exchange->mutable_request().tenant = tenant;
    run(handle_responses, exchange);
    exchange->run_posted();
    finish(*exchange);
    return parse_json(exchange->response().body, "answer").as_object();
  }
  std::string refusal(const json::value& body, int status = 400) {
    return text_of(error(handle_responses, body, status).at("param"));
  }
};

TEST_F(ResponsesTest, AnAnswerIsAMessage) {
  const json::object given = answer(handle_responses, response("Tell me a story.", {{"metadata", {{"a", "b"}}}}));
  EXPECT_EQ(given.at("id"), "resp_req-1");
  EXPECT_EQ(given.at("object"), "response");
  EXPECT_EQ(given.at("status"), "incomplete");
  EXPECT_EQ(given.at("incomplete_details").at("reason"), "max_output_tokens");
  EXPECT_EQ(given.at("metadata").at("a"), "b");
  EXPECT_EQ(given.at("max_output_tokens"), 8);
  EXPECT_EQ(given.at("usage").at("output_tokens"), 8);
  ASSERT_EQ(given.at("output").as_array().size(), 1u);
  EXPECT_EQ(given.at("output").at(0).at("role"), "assistant");
  const json::object same = answer(handle_chat_completions, chat("Tell me a story.", {{"max_tokens", 8}}));
  EXPECT_EQ(output_text(given), text_of(choice(same).at("message").at("content")));
}

TEST_F(ResponsesTest, AStreamHasItsEventsInOrder) {
  const auto exchange = start(handle_responses, response("Tell me a story.", {{"stream", true}}));
  finish(*exchange);
  const std::vector<json::object> events = numbered_events(exchange->sent());
  const std::string types = types_of(events);
  EXPECT_TRUE(types.starts_with("created\nin_progress\noutput_item.added\ncontent_part.added\noutput_text.delta\n"));
  EXPECT_TRUE(types.ends_with("output_text.done\ncontent_part.done\noutput_item.done\nincomplete\n")) << types;
  EXPECT_EQ(events[0].at("response").at("status"), "in_progress");
  EXPECT_FALSE(events[0].at("response").as_object().contains("usage"));
  std::string text;
  for (const json::object& event : events) {
    if (event.at("type") == "response.output_text.delta") text += text_of(event.at("delta"));
  }
  const json::object& last = events.back().at("response").as_object();
  EXPECT_EQ(output_text(last), text);
  // Under the same request id: the answer that is stored already stays.
  json::object whole = answer(handle_responses, response("Tell me a story."));
  EXPECT_NE(last.at("id"), whole.at("id"));
  whole.at("output").at(0).at("id") = last.at("output").at(0).at("id");
  EXPECT_EQ(last.at("output"), whole.at("output"));
}

TEST_F(ResponsesTest, LogProbabilitiesOfTheText) {
  const json::object given = answer(
      handle_responses,
      response("Tell me a story.", {{"include", json::array{"message.output_text.logprobs"}}, {"top_logprobs", 2}}));
  const json::array& tokens = given.at("output").at(0).at("content").at(0).at("logprobs").as_array();
  ASSERT_EQ(tokens.size(), 8u);
  std::string text;
  for (const json::value& token : tokens) {
    text += text_of(token.at("token"));
    EXPECT_EQ(token.at("top_logprobs").as_array().size(), 2u);
  }
  EXPECT_EQ(text, output_text(given));
}

TEST_F(ResponsesTest, ItemsBecomeTheMessagesOfChat) {
  const json::value body = parse_json(R"({"instructions": "S", "input": [
      {"role": "developer", "content": "D"},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"},
                                                      {"type": "input_text", "text": "b"}]},
      {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}],
       "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": null},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
      {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{\"path\": \"a.c\"}"},
      {"type": "function_call", "call_id": "c2", "name": "list", "arguments": "cut"},
      {"type": "function_call_output", "call_id": "c1", "output": "int"},
      {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "x"}]},
      {"type": "function_call", "call_id": "c3", "name": "list", "arguments": "{}"}]})",
                                      "body");
  EXPECT_EQ(json::serialize(read(body).messages),
            R"([{"role":"system","content":"S"},{"role":"system","content":"D"},)"
            R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
            R"({"role":"assistant","content":"I look.","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"read","arguments":{"path":"a.c"}}},)"
            R"({"id":"c2","type":"function","function":{"name":"list","arguments":"cut"}}]},)"
            R"({"role":"tool","tool_call_id":"c1","name":"read","content":"int"},)"
            R"({"role":"tool","tool_call_id":"c2","name":"list","content":"x"},)"
            R"({"role":"assistant","content":null,"tool_calls":[)"
            R"({"id":"c3","type":"function","function":{"name":"list","arguments":{}}}]}])");
}

TEST_F(ResponsesTest, FormatsOfTheAnswer) {
  const auto format = [&](json::object of) {
    return read(response("a", {{"text", {{"format", std::move(of)}}}})).grammar;
  };
  EXPECT_FALSE(format({{"type", "text"}}).has_value());
  EXPECT_EQ(format({{"type", "json_object"}})->kind, GrammarKind::kJsonObject);
  const auto schema = format({{"type", "json_schema"}, {"name", "x"}, {"schema", {{"type", "object"}}}});
  EXPECT_EQ(schema->kind, GrammarKind::kJsonSchema);
  EXPECT_EQ(schema->text, R"({"type":"object"})");
}

TEST_F(ResponsesTest, RefusalsNameThePath) {
  EXPECT_EQ(refusal(json::object{{"max_output_tokens", 4}}), "input");
  EXPECT_EQ(refusal(response(json::array{{{"type", "web_search_call"}}})), "input[0].type");
  EXPECT_EQ(refusal(response(json::array{
                {{"role", "user"}, {"content", json::array{{{"type", "input_image"}, {"image_url", "x"}}}}}})),
            "input[0].content[0].type");
  EXPECT_EQ(refusal(response("a", {{"tools", json::array{{{"type", "web_search"}}}}})), "tools[0].type");
  EXPECT_EQ(refusal(response("a", {{"background", true}})), "background");
  EXPECT_EQ(refusal(response("a", {{"truncation", "some"}})), "truncation");
  EXPECT_EQ(refusal(response("a", {{"previous_response_id", "resp_x"}}), 404), "previous_response_id");
}

TEST_F(ResponsesTest, OldestTurnsAreLeftOut) {
  const auto conversation = [](int first_turn) {
    json::array input = {{{"role", "system"}, {"content", "Be kind."}}};
    for (int turn = first_turn; turn < 30; ++turn) {
      input.push_back({{"role", "user"}, {"content", fmt::format("Tell me story {} of a fox.", turn)}});
      if (turn < 29) input.push_back({{"role", "assistant"}, {"content", "Once upon a time."}});
    }
    return input;
  };
  EXPECT_EQ(error(handle_responses, response(conversation(0))).at("code"), "context_length_exceeded");
  const json::object given = answer(handle_responses, response(conversation(0), {{"truncation", "auto"}}));
  const auto num_tokens = [&](int first_turn) {
    const json::object body = response(conversation(first_turn));
    return answer(handle_responses_input_tokens, body).at("input_tokens").as_int64();
  };
  int first = 1;
  while (num_tokens(first) + 8 > model_->card.max_model_len) ++first;
  ASSERT_LT(first, 29);
  const json::object shorter = answer(handle_responses, response(conversation(first)));
  EXPECT_EQ(given.at("usage").at("input_tokens"), shorter.at("usage").at("input_tokens"));
  EXPECT_EQ(output_text(given), output_text(shorter));
  EXPECT_EQ(given.at("truncated"), true);
  EXPECT_FALSE(shorter.contains("truncated"));
  // Of a turn that is too long alone, the oldest calls go with their results; the user's message stays.
  const auto calls = [](int first_call) {
    json::array input = {{{"role", "user"}, {"content", "Look for a fox."}}};
    for (int i = first_call; i < 30; ++i) {
      const std::string id = fmt::format("c{}", i);
      input.push_back({{"type", "function_call"}, {"call_id", id}, {"name", "look"}, {"arguments", "{}"}});
      input.push_back({{"type", "function_call_output"}, {"call_id", id}, {"output", fmt::format("no fox at {}", i)}});
    }
    return input;
  };
  const json::object found = answer(handle_responses, response(calls(0), {{"truncation", "auto"}}));
  EXPECT_EQ(found.at("truncated"), true);
  bool is_one_of_them = false;
  for (int first_call = 1; first_call < 30 && !is_one_of_them; ++first_call) {
    const json::object body = response(calls(first_call));
    is_one_of_them =
        answer(handle_responses_input_tokens, body).at("input_tokens") == found.at("usage").at("input_tokens");
  }
  EXPECT_TRUE(is_one_of_them);
  // What does not fit alone is refused still.
  const json::object too_long = response(json::string(2000, 'q'), {{"truncation", "auto"}});
  EXPECT_EQ(error(handle_responses, too_long).at("code"), "context_length_exceeded");
}

TEST_F(ResponsesTest, CountsTokensOfThePrompt) {
  const json::object body = response("Tell me a story.", {{"instructions", "Be kind."}});
  EXPECT_EQ(answer(handle_responses_input_tokens, body).at("input_tokens"),
            answer(handle_responses, body).at("usage").at("input_tokens"));
}

TEST_F(ResponsesTest, CountsTokensOfAChat) {
  const json::object body = chat("Tell me a story.", {{"max_tokens", 4}});
  EXPECT_EQ(answer(handle_chat_input_tokens, body).at("input_tokens"),
            answer(handle_chat_completions, body).at("usage").at("prompt_tokens"));
}

TEST_F(ResponsesTest, AConversationGoesOnFromAStoredResponse) {
  const json::object first = create(response("Tell me a story.", {{"instructions", "Be kind."}}), "one");
  const json::object second =
      create(response("And then?", {{"instructions", "Be brief."}, {"previous_response_id", "resp_one"}}), "two");
  EXPECT_EQ(second.at("previous_response_id"), "resp_one");
  const json::object same =
      create(response(json::array{{{"role", "user"}, {"content", "Tell me a story."}},
                                  {{"role", "assistant"}, {"content", json::string(output_text(first))}},
                                  {{"role", "user"}, {"content", "And then?"}}},
                      {{"instructions", "Be brief."}}),
             "three");
  EXPECT_EQ(output_text(second), output_text(same)) << "the first instructions are not taken over";
  EXPECT_EQ(second.at("usage").at("input_tokens"), same.at("usage").at("input_tokens"));

  EXPECT_EQ(parse_json(at_path(handle_response, "/v1/responses/resp_one")->response().body, "stored"), first);
  const json::object unkept = create(response("a", {{"store", false}}), "four");
  EXPECT_EQ(unkept.at("store"), false);
  EXPECT_EQ(at_path(handle_response, "/v1/responses/resp_four")->response().status, 404);
}

TEST_F(ResponsesTest, ATenantNeverReadsAnothers) {
  create(response("Tell me a story."), "one", "ann");
  EXPECT_EQ(at_path(handle_response, "/v1/responses/resp_one", "ann")->response().status, 200);
  for (const Handler handler : {handle_response, handle_delete_response}) {
    EXPECT_EQ(at_path(handler, "/v1/responses/resp_one", "bob")->response().status, 404);
  }
  EXPECT_EQ(at_path(handle_response_input_items, "/v1/responses/resp_one/input_items", "")->response().status, 404);
  const json::object refused = create(response("And?", {{"previous_response_id", "resp_one"}}), "two", "bob");
  EXPECT_EQ(refused.at("error").at("code"), "previous_response_not_found");
  EXPECT_EQ(at_path(handle_delete_response, "/v1/responses/resp_one", "ann")->response().body,
            R"({"id":"resp_one","object":"response","deleted":true})");
  EXPECT_EQ(at_path(handle_response, "/v1/responses/resp_one", "ann")->response().status, 404);
}

TEST_F(ResponsesTest, InputItemsComeInPages) {
  json::array items;
  for (int i = 0; i < 3; ++i) items.push_back({{"role", "user"}, {"content", std::to_string(i)}});
  items.push_back({{"id", "mine"}, {"role", "user"}, {"content", "3"}});
  create(response(items), "one");
  const auto page = [&](const char* query) {
    const auto exchange = at_path(handle_response_input_items, "/v1/responses/resp_one/input_items", "", query);
    return parse_json(exchange->response().body, "page").as_object();
  };
  EXPECT_EQ(page("").at("data").as_array().size(), 4u);
  EXPECT_EQ(page("").at("first_id"), "mine") << "the newest first";
  EXPECT_EQ(page("").at("has_more"), false);
  const json::object first = page("order=asc&limit=2");
  EXPECT_EQ(first.at("data").at(0).at("content"), "0");
  EXPECT_EQ(first.at("has_more"), true);
  const json::object rest = page(("order=asc&after=" + text_of(first.at("last_id"))).c_str());
  EXPECT_EQ(rest.at("data").as_array().size(), 2u);
  EXPECT_EQ(rest.at("data").at(0).at("content"), "2");
  EXPECT_TRUE(page("limit=0").contains("error"));
  EXPECT_TRUE(page("limit=x").contains("error"));
}

TEST_F(ResponsesTest, RoutesTellItemsFromResponses) {
  EXPECT_EQ(find_route("GET", "/v1/responses/a")->handle, &handle_response);
  EXPECT_EQ(find_route("GET", "/v1/responses/a/input_items")->handle, &handle_response_input_items);
  EXPECT_EQ(find_route("DELETE", "/v1/responses/a")->handle, &handle_delete_response);
  EXPECT_EQ(find_route("POST", "/v1/responses/input_tokens")->handle, &handle_responses_input_tokens);
  EXPECT_EQ(find_route("POST", "/v1/responses/a"), nullptr);
  EXPECT_EQ(find_route("GET", "/v1/responses/"), nullptr);
  EXPECT_EQ(find_route("GET", "/v1/responses//input_items")->handle, &handle_response) << "the id /input_items";
  EXPECT_EQ(find_route("GET", "/v1/models/a/b")->handle, &handle_models);
}

// Reasoning, a message and calls: each an item, opened and closed before the next.
TEST_F(ResponsesTest, EveryPartOfAnAnswerIsAnItem) {
  json::object kept;
  const auto write = [&](bool is_stream) {
    const auto exchange = std::make_shared<FakeExchange>("");
    ApiRequest request;
    request.stream = is_stream;
    const auto writer =
        make_responses_answer({.exchange = exchange,
                               .request = request,
                               .tokenizer = text().tokenizer(),
                               .head = {.request_id = "1", .model = "demo", .fingerprint = ""},
                               .buffer_bytes = 1 << 20},
                              [&](const std::string& id, const std::string&, const json::object& message) {
                                EXPECT_EQ(id, "resp_1");
                                kept = message;
                              });
    writer->begin({.first = 0, .count = 1}, {}, {});
    writer->reasoning(0, piece("hm"));
    writer->reasoning(0, piece("..."));
    writer->text(0, piece("I look."));
    writer->tool_call(0, {.index = 0, .id = "c1", .name = "read"}, {});
    writer->tool_call(0, {.index = 0, .arguments = "{\"a\":"}, {});
    writer->tool_call(0, {.index = 0, .arguments = "1}"}, {});
    writer->tool_call(0, {.index = 1, .id = "c2", .name = "list", .arguments = "{}"}, {});
    writer->usage({.prompt_tokens = 9, .completion_tokens = 7, .cached_tokens = 4, .reasoning_tokens = 2});
    writer->end(0, {}, {.has_tool_calls = true}, true);
    writer->done();
    return exchange;
  };
  const json::object whole = parse_json(write(false)->response().body, "answer").as_object();
  EXPECT_EQ(whole.at("status"), "completed");
  EXPECT_EQ(whole.at("usage").at("output_tokens_details").at("reasoning_tokens"), 2);
  EXPECT_EQ(
      json::serialize(whole.at("output")),
      R"([{"id":"rs_1_0","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm..."}],)"
      R"("status":"completed"},{"id":"msg_1_1","type":"message","role":"assistant","content":[)"
      R"({"type":"output_text","annotations":[],"logprobs":[],"text":"I look."}],"status":"completed"},)"
      R"({"id":"fc_1_2","type":"function_call","call_id":"c1","name":"read","arguments":"{\"a\":1}","status":"completed"},)"
      R"({"id":"fc_1_3","type":"function_call","call_id":"c2","name":"list","arguments":"{}","status":"completed"}])");
  EXPECT_EQ(json::serialize(kept),
            R"({"role":"assistant","content":"I look.","reasoning_content":"hm...","tool_calls":[)"
            R"({"id":"c1","type":"function","function":{"name":"read","arguments":"{\"a\":1}"}},)"
            R"({"id":"c2","type":"function","function":{"name":"list","arguments":"{}"}}]})");
  const std::vector<json::object> events = numbered_events(write(true)->sent());
  EXPECT_EQ(types_of(events),
            "created\nin_progress\n"
            "output_item.added\ncontent_part.added\nreasoning_text.delta\nreasoning_text.delta\n"
            "reasoning_text.done\ncontent_part.done\noutput_item.done\n"
            "output_item.added\ncontent_part.added\noutput_text.delta\n"
            "output_text.done\ncontent_part.done\noutput_item.done\n"
            "output_item.added\nfunction_call_arguments.delta\nfunction_call_arguments.delta\n"
            "function_call_arguments.done\noutput_item.done\n"
            "output_item.added\nfunction_call_arguments.delta\nfunction_call_arguments.done\noutput_item.done\n"
            "completed\n");
  EXPECT_EQ(events.back().at("response").at("output"), whole.at("output"));
}

TEST(ResponseStore, HoldsNoMoreThanItsBounds) {
  ResponseStore store;
  Limits limits;
  const auto of = [](size_t size) {
    return StoredResponse{.response = std::string(size, 'x'), .input_items = "[]", .messages = "[]"};
  };
  limits.stored_responses = 2;
  store.put("ann", "1", of(10), limits);
  store.put("ann", "2", of(10), limits);
  EXPECT_NE(store.find("ann", "1"), nullptr);
  store.put("ann", "3", of(10), limits);
  EXPECT_EQ(store.find("ann", "2"), nullptr) << "used longest ago";
  EXPECT_NE(store.find("ann", "1"), nullptr);
  store.put("ann", "1", of(20), limits);
  EXPECT_EQ(store.find("ann", "1")->response.size(), 20u);
  EXPECT_NE(store.find("ann", "3"), nullptr) << "a second one of an id replaces the first";

  limits.stored_tenant_bytes = 1000;
  store.put("ann", "4", of(1001), limits);
  EXPECT_EQ(store.find("ann", "4"), nullptr);
  store.put("ann", "5", of(800), limits);
  EXPECT_EQ(store.find("ann", "1"), nullptr);
  EXPECT_NE(store.find("ann", "5"), nullptr);

  limits.stored_bytes = 1500;
  store.put("bob", "1", of(600), limits);
  EXPECT_EQ(store.find("ann", "5"), nullptr) << "all tenants together";
  EXPECT_NE(store.find("bob", "1"), nullptr);
  EXPECT_EQ(store.find("bob", "5"), nullptr);
  EXPECT_FALSE(store.erase("ann", "1"));
  EXPECT_TRUE(store.erase("bob", "1"));
  EXPECT_EQ(store.bytes(), 0u);
}

}  // namespace
}  // namespace quire::test
