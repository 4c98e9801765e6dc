// Answers in a given form, by every client's fields, against the embedded demo model.
#include <algorithm>

#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

constexpr Handler kChat = handle_chat_completions;
constexpr Handler kCompletions = handle_completions;

class GrammarTest : public ServerTest {
 protected:
  // What the model answers when it may choose freely, at a temperature at which it writes anything.
  static json::object hot(json::object fields, int64_t seed) {
    fields["temperature"] = 2.0;
    fields["top_k"] = 0;
    fields["top_p"] = 1.0;
    fields["seed"] = seed;
    return fields;
  }
  std::string content(json::object fields, int64_t seed = 1) {
    return text_of(choice(answer(kChat, chat("Hello!", hot(std::move(fields), seed)))).at("message").at("content"));
  }
};

const json::value kSchema = parse_json(R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
    "size": {"enum": ["small", "large"]}, "is_new": {"type": "boolean"}}, "required": ["name", "size", "is_new"],
    "additionalProperties": false})",
                                       "schema");

void expect_valid(const std::string& text) {
  const json::object value = parse_json(text, "answer").as_object();
  EXPECT_EQ(value.size(), 3u) << text;
  EXPECT_TRUE(value.at("name").is_string()) << text;
  EXPECT_TRUE(value.at("size") == "small" || value.at("size") == "large") << text;
  EXPECT_TRUE(value.at("is_new").is_bool()) << text;
}

TEST_F(GrammarTest, EveryFormHolds) {
  const auto is_digits = [](const std::string& text) {
    return text.size() == 4 && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  for (int64_t seed = 1; seed < 4; ++seed) {
    EXPECT_TRUE(is_digits(content({{"guided_regex", "[0-9]{4}"}}, seed)));
    EXPECT_TRUE(is_digits(content({{"structured_outputs", {{"regex", "[0-9]{4}"}}}}, seed)));
    EXPECT_TRUE(is_digits(content({{"grammar", "root ::= d d d d\nd ::= [0-9]"}}, seed)));
    const std::string color = content({{"guided_choice", json::array{"red", "green"}}}, seed);
    EXPECT_TRUE(color == "red" || color == "green") << color;
    const json::object format = {{"type", "json_schema"}, {"json_schema", {{"name", "n"}, {"schema", kSchema}}}};
    expect_valid(content({{"response_format", format}}, seed));
    expect_valid(content({{"json_schema", kSchema}}, seed));
  }
}

// What a form is sure of saves steps and changes nothing.
TEST_F(GrammarTest, CertainTokensAreDrafts) {
  make_engine({.speculation = {.adaptive = false}});
  const json::object fields = {{"grammar", R"(root ::= "the name of the animal: " [a-z]{3} ", and its size: " [0-9])"}};
  json::object without = fields;
  without["speculative.n_max"] = 0;
  for (int64_t seed = 1; seed < 6; ++seed) {
    const int64_t before = engine_->status().draft_tokens;
    const std::string plain = content(without, seed);
    EXPECT_EQ(engine_->status().draft_tokens, before);
    EXPECT_EQ(content(fields, seed), plain);
    EXPECT_GT(engine_->status().draft_tokens, before);
  }
  EXPECT_GT(engine_->status().accepted_tokens, 0);
}

TEST_F(GrammarTest, StreamsAndSeveralChoices) {
  const json::object body = chat("Hello!", hot({{"json_schema", kSchema}, {"n", 3}}, 7));
  const json::object whole = answer(kChat, body);
  std::vector<std::string> streamed(3);
  for (const json::object& event : stream(kChat, body)) {
    for (const json::value& each : event.at("choices").as_array()) {
      const json::object& delta = each.at("delta").as_object();
      if (const json::value* const text = delta.if_contains("content")) {
        streamed[static_cast<size_t>(each.at("index").as_int64())] += text_of(*text);
      }
    }
  }
  for (size_t i = 0; i < 3; ++i) {
    const json::object& given = choice(whole, i);
    EXPECT_EQ(given.at("finish_reason"), "stop");
    EXPECT_EQ(text_of(given.at("message").at("content")), streamed[i]);
    expect_valid(streamed[i]);
  }
}

TEST_F(GrammarTest, Completions) {
  const json::object body =
      hot({{"prompt", json::array{"a", "b"}}, {"guided_choice", json::array{"yes", "no"}}, {"max_tokens", 64}}, 3);
  const json::object given = answer(kCompletions, body);
  for (size_t i = 0; i < 2; ++i) {
    const std::string text = text_of(choice(given, i).at("text"));
    EXPECT_TRUE(text == "yes" || text == "no") << text;
    EXPECT_EQ(choice(given, i).at("finish_reason"), "stop");
  }
}

TEST_F(GrammarTest, AnAnswerMayBeCutWithin) {
  const json::object body = chat("Hello!", hot({{"guided_regex", "[0-9]{200}"}, {"max_tokens", 3}}, 1));
  EXPECT_EQ(choice(answer(kChat, body)).at("finish_reason"), "length");
}

TEST_F(GrammarTest, WrongFormsAreRefusedWithTheirField) {
  const auto refused = [&](json::object fields) {
    const json::object given = error(kChat, chat("Hello!", std::move(fields)));
    EXPECT_EQ(given.at("type"), "invalid_request_error");
    return text_of(given.at("param"));
  };
  EXPECT_EQ(refused({{"guided_regex", "(a"}}), "guided_regex");
  EXPECT_EQ(refused({{"grammar", "root ::= nothing"}}), "grammar");
  EXPECT_EQ(refused({{"structured_outputs", {{"structural_tag", "{"}}}}), "structured_outputs.structural_tag");
  const json::object format = {{"type", "json_schema"}, {"json_schema", {{"schema", {{"type", "nonsense"}}}}}};
  EXPECT_EQ(refused({{"response_format", format}}), "response_format.json_schema.schema");
  EXPECT_EQ(refused({{"guided_json", "not JSON"}}), "guided_json");
  // The message has the place in the schema.
  const json::object deep = {{"properties", {{"a", {{"type", "nonsense"}}}}}};
  const std::string message = text_of(error(kChat, chat("Hello!", {{"json_schema", deep}})).at("message"));
  EXPECT_NE(message.find("/properties/a"), std::string::npos) << message;
}

// States and masks are learnt while an answer grows.
TEST_F(GrammarTest, MemoryOfMatchingIsLimited) {
  set_limit(context_.limits, "grammar_memory_bytes=1000");
  model_->grammars = make_grammars(*model_, context_.limits);
  const json::object given = error(kChat, chat("Hello!", {{"guided_regex", "([ab]*c[ab]{9}){3}"}}));
  EXPECT_TRUE(given.at("code") == "grammar_failed" || given.at("code") == "limit_exceeded");
}

TEST_F(GrammarTest, WorkOfMatchingIsLimited) {
  set_limit(context_.limits, "grammar_work=1000");
  model_->grammars = make_grammars(*model_, context_.limits);
  const json::object given = error(kChat, chat("Hello!", {{"guided_regex", "([ab]*c[ab]{9}){3}"}}));
  EXPECT_TRUE(given.at("code") == "grammar_failed" || given.at("code") == "limit_exceeded");
}

// The schema's order is a promise of OpenAI's API, and the default.
TEST_F(GrammarTest, PropertiesMayComeInAnyOrder) {
  const json::value schema = parse_json(
      R"({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}}, "required": ["a", "b"],
          "additionalProperties": false})",
      "a schema");
  const auto num_first_b = [&](json::object fields) {
    int count = 0;
    fields["structured_outputs"].emplace_object()["json"] = schema;
    for (int seed = 0; seed < 12; ++seed) {
      const json::value given = parse_json(content(fields, seed), "an answer");
      EXPECT_TRUE(given.at("a").is_bool() && given.at("b").is_bool() && given.get_object().size() == 2);
      count += given.get_object().begin()->key() == "b" ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(num_first_b({}), 0);
  context_.any_property_order = true;
  EXPECT_GT(num_first_b({}), 0);
  const json::object kept = {{"structured_outputs", {{"json", schema}, {"any_property_order", false}}}};
  EXPECT_TRUE(content(kept, 1).find("\"a\"") < content(kept, 1).find("\"b\""));
}

// Each limit of a grammar holds, and is the fault of the request.
TEST_F(GrammarTest, LimitsHold) {
  struct Case {
    const char* limit;
    uint64_t value;
    json::object fields;
  };
  const std::string nested = std::string(50, '(') + "a" + std::string(50, ')');
  const Case cases[] = {{"grammar_nodes", 20, {{"guided_regex", "abcdefghijklmnopqrstuvwxyz[0-9]+x"}}},
                        {"grammar_depth", 20, {{"guided_regex", nested}}},
                        {"grammar_repeats", 20, {{"guided_regex", "a{21}"}}}};
  for (const Case& given : cases) {
    EXPECT_EQ(answer(kChat, chat("Hello!", given.fields)).contains("choices"), true) << given.limit;
    const Limits before = context_.limits;
    set_limit(context_.limits, fmt::format("{}={}", given.limit, given.value));
    model_->grammars = make_grammars(*model_, context_.limits);
    EXPECT_EQ(error(kChat, chat("Hello!", given.fields)).at("code"), "limit_exceeded") << given.limit;
    context_.limits = before;
    model_->grammars = make_grammars(*model_, context_.limits);
  }
}

TEST_F(GrammarTest, CompiledGrammarsAreKept) {
  for (int i = 0; i < 3; ++i) content({{"guided_regex", "[ab]{2}"}}, i);
  EXPECT_EQ(model_->grammars->counts().num_compiled, 1u);
  EXPECT_EQ(model_->grammars->counts().num_hits, 2u);
  error(kChat, chat("Hello!", {{"guided_regex", "("}}));
  EXPECT_EQ(model_->grammars->counts().num_failed, 1u);
  // Where none fits, nothing is kept, and answers are the same.
  const std::string kept = content({{"guided_regex", "[ab]{2}"}}, 5);
  set_limit(context_.limits, "grammar_cache_bytes=1");
  model_->grammars = make_grammars(*model_, context_.limits);
  EXPECT_EQ(content({{"guided_regex", "[ab]{2}"}}, 5), kept);
  EXPECT_EQ(model_->grammars->counts().num_grammars, 0u);
}

}  // namespace
}  // namespace quire::test
