// Anthropic's /v1/messages: requests as its clients write them, answers and events as they read them.
#include "server/apis/answers.h"
#include "server/apis/anthropic_messages/client_markers.h"
#include "server/apis/apis.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

json::object messages(json::value content, json::object more = {}) {
  json::object body{{"max_tokens", 8},
                    {"temperature", 0},
                    {"messages", json::array{json::object{{"role", "user"}, {"content", std::move(content)}}}}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}

TextPiece piece(std::string text) { return {.text = std::move(text), .tokens = {}}; }

struct NamedEvent {
  std::string name;
  json::object data;
};

// Events of a stream as a client reads them; checks the framing on the way.
std::vector<NamedEvent> named_events(const std::string& stream) {
  std::vector<NamedEvent> events;
  for (size_t at = 0; at < stream.size();) {
    const size_t end = stream.find("\n\n", at);
    const std::string event = stream.substr(at, end - at);
    at = end + 2;
    const size_t line_end = event.find('\n');
    EXPECT_TRUE(event.starts_with("event: ") && event.substr(line_end + 1).starts_with("data: ")) << event;
    events.push_back({.name = event.substr(7, line_end - 7),
                      .data = parse_json(std::string_view(event).substr(line_end + 7), "event").as_object()});
    EXPECT_EQ(events.back().name, text_of(events.back().data.at("type")));
  }
  return events;
}

std::string names_of(const std::vector<NamedEvent>& events) {
  std::string names;
  for (const NamedEvent& event : events) names += event.name + ' ';
  return names;
}

class MessagesTest : public ServerTest {
 protected:
  // The conversation that a request becomes.
  json::array read(const json::value& body) const {
    return parse_request(json::serialize(body), kMessagesApi,
                         {.limits = context_.limits, .default_sampling = model_->default_sampling})
        .messages;
  }
  std::string refusal(const json::value& body) {
    const json::object given = answer(handle_messages, body, 400);
    EXPECT_EQ(given.at("type"), "error");
    return text_of(given.at("error").at("message"));
  }
};

TEST_F(MessagesTest, AnAnswerIsBlocksOfText) {
  const json::object given = answer(handle_messages, messages("Tell me a story."));
  EXPECT_EQ(given.at("id"), "msg_req-1");
  EXPECT_EQ(given.at("type"), "message");
  EXPECT_EQ(given.at("role"), "assistant");
  EXPECT_EQ(given.at("model"), "demo");
  EXPECT_EQ(given.at("stop_reason"), "max_tokens");
  EXPECT_TRUE(given.at("stop_sequence").is_null());
  EXPECT_EQ(given.at("usage").at("output_tokens"), 8);
  ASSERT_EQ(given.at("content").as_array().size(), 1u);
  EXPECT_EQ(given.at("content").at(0).at("type"), "text");
  const json::object same = answer(handle_chat_completions, chat("Tell me a story.", {{"max_tokens", 8}}));
  EXPECT_EQ(given.at("content").at(0).at("text"), choice(same).at("message").at("content"));
}

TEST_F(MessagesTest, AStreamHasItsEventsInOrder) {
  const json::object whole = answer(handle_messages, messages("Tell me a story."));
  const auto exchange = start(handle_messages, messages("Tell me a story.", {{"stream", true}}));
  finish(*exchange);
  EXPECT_EQ(exchange->stream_type(), "text/event-stream");
  const std::vector<NamedEvent> events = named_events(exchange->sent());
  ASSERT_GT(events.size(), 6u);
  std::string text;
  for (const NamedEvent& event : events) {
    if (event.name == "content_block_delta") text += text_of(event.data.at("delta").at("text"));
  }
  EXPECT_EQ(text, text_of(whole.at("content").at(0).at("text")));
  const std::string names = names_of(events);
  EXPECT_TRUE(names.starts_with("message_start ping content_block_start content_block_delta ")) << names;
  EXPECT_TRUE(names.ends_with("content_block_delta content_block_stop message_delta message_stop ")) << names;
  EXPECT_TRUE(events[0].data.at("message").at("content").as_array().empty());
  const json::object& last = events[events.size() - 2].data;
  EXPECT_EQ(last.at("delta").at("stop_reason"), "max_tokens");
  EXPECT_EQ(last.at("usage").at("output_tokens"), 8);
}

TEST_F(MessagesTest, ASilentStreamPings) {
  const auto exchange = start(handle_messages, messages("Tell me a story.", {{"stream", true}}));
  exchange->run_timers();
  EXPECT_EQ(exchange->sent(), "");
  exchange->run_timers();
  EXPECT_EQ(exchange->sent(), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
  finish(*exchange);
}

TEST_F(MessagesTest, StopSequencesAreNamed) {
  const json::object free = answer(handle_messages, messages("Tell me a story.", {{"max_tokens", 30}}));
  const std::string text = text_of(free.at("content").at(0).at("text"));
  const std::string stop = text.substr(6, 4);
  const json::object cut = answer(
      handle_messages, messages("Tell me a story.", {{"max_tokens", 30}, {"stop_sequences", json::array{"@@", stop}}}));
  EXPECT_EQ(cut.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(cut.at("stop_sequence"), json::value(json::string(stop)));
  EXPECT_EQ(text_of(cut.at("content").at(0).at("text")), text.substr(0, text.find(stop)));
}

TEST_F(MessagesTest, MoreTokensThanTheContextHoldsEndWithIt) {
  const json::object given =
      answer(handle_messages, messages("Tell me a story.", {{"max_tokens", 32000}, {"temperature", 1}, {"top_k", 0}}));
  const std::string reason = text_of(given.at("stop_reason"));
  EXPECT_TRUE(reason == "model_context_window_exceeded" || reason == "end_turn") << reason;
  std::string longest;
  for (int i = 0; i < 300; ++i) longest += "one ";
  EXPECT_TRUE(refusal(messages(json::string(longest))).starts_with("prompt is too long: "))
      << "clients look for these words";
}

TEST_F(MessagesTest, CountsTokensOfThePrompt) {
  const json::object body = messages("Tell me a story.", {{"system", "You are kind."}});
  const json::object count = answer(handle_count_tokens, body);
  const json::object given = answer(handle_messages, body);
  EXPECT_EQ(count.at("input_tokens").as_int64(), given.at("usage").at("input_tokens").as_int64() +
                                                     given.at("usage").at("cache_read_input_tokens").as_int64());
  json::object without = body;
  without.erase("max_tokens");
  EXPECT_EQ(answer(handle_count_tokens, without), count);
  EXPECT_NE(refusal(without).find("max_tokens"), std::string::npos);
}

// Two requests that differ only in what a coding agent writes for its own service share their whole prompt.
TEST_F(MessagesTest, ChangingMarkersDoNotSpoilThePrefixCache) {
  std::string rules = "You are a careful helper.";
  for (int i = 0; i < 40; ++i) rules += " Be kind.";
  const auto body = [&](const std::string& hash, const std::string& budget) {
    return messages(
        "Tell me a story.",
        {{"system",
          json::array{
              json::object{{"type", "text"}, {"text", "x-anthropic-billing-header: cc_version=2; cch=" + hash + ";"}},
              json::object{{"type", "text"}, {"text", rules + budget}, {"cache_control", {{"type", "ephemeral"}}}}}}});
  };
  const json::object first = answer(handle_messages, body("a1b2c", "\n<total_tokens>900 tokens left</total_tokens>"));
  EXPECT_EQ(first.at("usage").at("cache_read_input_tokens"), 0);
  const json::object again = answer(handle_messages, body("ffff0",
                                                          "\n<total_tokens>900 tokens left</total_tokens>\n"
                                                          "<total_tokens>700 tokens left</total_tokens>"));
  const int64_t cached = again.at("usage").at("cache_read_input_tokens").as_int64();
  const int64_t rest = again.at("usage").at("input_tokens").as_int64();
  EXPECT_EQ(cached + rest, first.at("usage").at("input_tokens").as_int64());
  EXPECT_LE(rest, engine_->status().block_size) << "all full blocks are found again";
  context_.drop_client_markers = false;
  const json::object kept = answer(handle_messages, body("00000", ""));
  EXPECT_LT(kept.at("usage").at("cache_read_input_tokens").as_int64(), cached);
  EXPECT_GT(kept.at("usage").at("input_tokens").as_int64(), rest);
}

TEST(ClientMarkers, OnlyTheirOwnWordsAreRemoved) {
  EXPECT_EQ(without_client_markers("x-anthropic-billing-header: a; cch=1;\nYou are."), "You are.");
  EXPECT_EQ(without_client_markers(" \n x-anthropic-billing-header: a"), "");
  EXPECT_EQ(without_client_markers("See x-anthropic-billing-header: a"), "See x-anthropic-billing-header: a");
  EXPECT_EQ(without_client_markers("A\n\n<total_tokens>12 tokens left</total_tokens>\nB"), "A\nB");
  EXPECT_EQ(without_client_markers("A <total_tokens>1,2 tokens left</total_tokens> \n"), "A");
  EXPECT_EQ(without_client_markers("<total_tokens>12 tokens left</total_tokens>"), "");
  for (const char* other : {"", "a < b <", "<total_tokens> tokens left</total_tokens>", "<total_tokens>12 tokens left",
                            "<total_tokens>x tokens left</total_tokens>", "A \n"}) {
    EXPECT_EQ(without_client_markers(other), other);
  }
}

TEST_F(MessagesTest, BlocksBecomeTheMessagesOfChat) {
  const json::value body = parse_json(R"({"max_tokens": 1, "system": "S", "messages": [
      {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                                   {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a.c"}},
        {"type": "tool_use", "id": "t2", "name": "list"}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "int"}]},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": true},
        {"type": "text", "text": "Go on."}]},
      {"role": "system", "content": "<total_tokens>5 tokens left</total_tokens>"},
      {"role": "assistant", "content": "It"}]})",
                                      "body");
  EXPECT_EQ(json::serialize(read(body)),
            R"([{"role":"system","content":"S"},)"
            R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
            R"({"role":"assistant","content":"I look.","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"t1","type":"function","function":{"name":"read","arguments":{"path":"a.c"}}},)"
            R"({"id":"t2","type":"function","function":{"name":"list","arguments":{}}}]},)"
            R"({"role":"tool","tool_call_id":"t1","name":"read","content":"int"},)"
            R"({"role":"tool","tool_call_id":"t2","name":"list","content":"Error"},)"
            R"({"role":"user","content":"Go on."},{"role":"assistant","content":"It"}])");
}

TEST_F(MessagesTest, ALastMessageOfTheAssistantIsContinued) {
  json::object body = messages("Tell me a story.");
  body["messages"].as_array().push_back(json::object{{"role", "assistant"}, {"content", "Once upon"}});
  json::object same =
      chat("Tell me a story.", {{"max_tokens", 8}, {"continue_final_message", true}, {"add_generation_prompt", false}});
  same["messages"].as_array().push_back(json::object{{"role", "assistant"}, {"content", "Once upon"}});
  EXPECT_EQ(answer(handle_messages, body).at("content").at(0).at("text"),
            choice(answer(handle_chat_completions, same)).at("message").at("content"));
}

TEST_F(MessagesTest, RefusalsNameThePath) {
  const auto block = [](json::object of) { return messages(json::array{std::move(of)}); };
  EXPECT_NE(refusal(block({{"type", "image"}, {"source", json::object()}})).find("messages[0].content[0].type"),
            std::string::npos);
  EXPECT_NE(refusal(block({{"type", "text"}})).find("messages[0].content[0].text"), std::string::npos);
  EXPECT_NE(refusal(messages("a", {{"tools", json::array{{{"type", "web_search_20250305"}, {"name", "web_search"}}}}}))
                .find("tools[0].type"),
            std::string::npos);
  EXPECT_NE(refusal(messages("a", {{"tool_choice", {{"type", "some"}}}})).find("tool_choice.type"), std::string::npos);
  EXPECT_NE(refusal(messages("a", {{"thinking", {{"type", "deep"}}}})).find("thinking.type"), std::string::npos);
  EXPECT_NE(refusal({{"max_tokens", 4}}).find("'messages' is missing"), std::string::npos);
  const json::object unknown = answer(handle_messages, messages("a", {{"model", "other"}}), 404);
  EXPECT_EQ(unknown.at("error").at("type"), "not_found_error");
  context_.state = ServerState::kLoading;
  EXPECT_EQ(answer(handle_messages, messages("a"), 503).at("error").at("type"), "overloaded_error");
}

// Thinking, text and calls of tools: each a block, opened and closed before the next.
class MessagesAnswerTest : public MessagesTest {
 protected:
  std::shared_ptr<FakeExchange> write(bool is_stream, const std::function<void(AnswerWriter&)>& events) {
    const auto exchange = std::make_shared<FakeExchange>("");
    ApiRequest request;
    request.stream = is_stream;
    request.max_tokens = 100;
    const auto writer = make_messages_answer({.exchange = exchange,
                                              .request = request,
                                              .tokenizer = text().tokenizer(),
                                              .head = {.request_id = "1", .model = "demo", .fingerprint = ""},
                                              .buffer_bytes = 1 << 20});
    writer->begin({.first = 0, .count = 1}, {}, {});
    events(*writer);
    return exchange;
  }

  static void think_and_call(AnswerWriter& writer) {
    writer.usage({.prompt_tokens = 9, .completion_tokens = 1, .cached_tokens = 4});
    writer.reasoning(0, piece("hm"));
    writer.reasoning(0, piece("..."));
    writer.text(0, piece("I \"look\"."));
    writer.tool_call(0, {.index = 0, .id = "t1", .name = "read"}, {});
    writer.tool_call(0, {.index = 0, .arguments = "{\"a\":"}, {});
    writer.tool_call(0, {.index = 0, .arguments = " 1}"}, {});
    writer.tool_call(0, {.index = 1, .id = "t2", .name = "list", .arguments = "{\"cut"}, {});
    writer.usage({.prompt_tokens = 9, .completion_tokens = 7, .cached_tokens = 4});
    writer.end(0, {}, {.has_tool_calls = true}, true);
    writer.done();
  }
};

TEST_F(MessagesAnswerTest, AWholeAnswerHasAllBlocks) {
  EXPECT_EQ(write(false, think_and_call)->response().body,
            R"({"id":"msg_1","type":"message","role":"assistant","model":"demo","content":[)"
            R"({"type":"thinking","signature":"","thinking":"hm..."},{"type":"text","text":"I \"look\"."},)"
            R"({"type":"tool_use","id":"t1","name":"read","input":{"a": 1}},)"
            R"({"type":"tool_use","id":"t2","name":"list","input":{}}],"stop_reason":"tool_use","stop_sequence":null,)"
            R"("usage":{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,)"
            R"("output_tokens":7}})");
}

TEST_F(MessagesAnswerTest, AStreamOpensAndClosesEachBlock) {
  const std::vector<NamedEvent> events = named_events(write(true, think_and_call)->sent());
  EXPECT_EQ(names_of(events),
            "message_start ping "
            "content_block_start content_block_delta content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_delta content_block_stop "
            "content_block_start content_block_delta content_block_stop message_delta message_stop ");
  EXPECT_EQ(events[0].data.at("message").at("usage").at("cache_read_input_tokens"), 4);
  EXPECT_EQ(json::serialize(events[9].data), R"({"type":"content_block_start","index":2,"content_block":)"
                                             R"({"type":"tool_use","id":"t1","name":"read","input":{}}})");
  EXPECT_EQ(json::serialize(events[10].data.at("delta")), R"({"type":"input_json_delta","partial_json":"{\"a\":"})");
}

TEST_F(MessagesAnswerTest, FailuresEndAStreamWithAnEvent) {
  const auto fail = [](AnswerWriter& writer) {
    writer.text(0, piece("a"));
    writer.fail({500, "server_error", "step_failed", "no"});
  };
  const std::vector<NamedEvent> events = named_events(write(true, fail)->sent());
  EXPECT_EQ(events.back().name, "error");
  EXPECT_EQ(json::serialize(events.back().data), R"({"type":"error","error":{"type":"api_error","message":"no"}})");
  EXPECT_EQ(write(false, fail)->response().status, 500);
}

}  // namespace
}  // namespace quire::test
