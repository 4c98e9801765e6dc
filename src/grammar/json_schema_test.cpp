// The texts that a schema's grammar lets through, keyword by keyword. The JSON-Schema-Test-Suite and others are checked
// by tools/check_schemas.py.
#include "grammar/json_schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

std::shared_ptr<const Grammar> grammar_of(std::string_view schema, const JsonForm& form = {}) {
  GrammarBuilder builder({.max_seconds = 600});  // what is counted decides, not the machine's load
  return builder.build(json_schema(builder, parse_json(schema, "the schema"), form));
}

struct Case {
  std::string_view schema;
  std::vector<std::string_view> valid;
  std::vector<std::string_view> invalid;
};

void check(const std::vector<Case>& cases, const JsonForm& form = {}) {
  for (const Case& one : cases) {
    const auto grammar = grammar_of(one.schema, form);
    for (const std::string_view text : one.valid) EXPECT_TRUE(fits(*grammar, text)) << one.schema << "\n" << text;
    for (const std::string_view text : one.invalid) EXPECT_FALSE(fits(*grammar, text)) << one.schema << "\n" << text;
  }
}

struct Refusal {
  ErrorCode code;
  std::string message;
};
Refusal refusal_of(std::string_view schema) {
  try {
    grammar_of(schema);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ErrorCode::kIo, "it was compiled"};
}

void expect_refused(std::string_view schema, ErrorCode code, std::string_view part) {
  const Refusal refusal = refusal_of(schema);
  EXPECT_EQ(refusal.code, code) << printable(schema) << "\n" << refusal.message;
  EXPECT_NE(refusal.message.find(part), std::string::npos) << printable(schema) << "\n" << refusal.message;
}

TEST(JsonSchema, Types) {
  check({
      {"{}",
       {"null", "true", "-1.5e+3", R"("\u00e9\/")", "[]", R"({"a": [1, {}]})"},
       {"", "nul", "01", "[1,]", "{1: 2}"}},
      {"true", {"1", "{}"}, {}},
      {R"({"type": ["null", "boolean"]})", {"null", "false", "true"}, {"0", R"("")"}},
      {R"({"type": "integer"})", {"0", "-12", "123456789012345678901234567890"}, {"1.5", "1.0", "1e3", "01", "+1"}},
      {R"({"type": "number"})", {"0", "-1.25", "1E5"}, {".5", "1.", "NaN"}},
      {R"({"type": "string", "nullable": true})", {"null", R"("a")"}, {"1"}},
      {R"({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string", "nullable": true})", {}, {"null"}},
      {R"({"title": "a", "x-mine": {"type": 3}, "default": 1})", {"1", "{}"}, {}},
  });
}

TEST(JsonSchema, ConstantsAreEqualByValue) {
  check({
      {R"({"enum": [1.0, "a\n", null, [1, {"b": 2.50}]]})",
       {"1", "1.0", R"("a\n")", "null", R"([1, {"b": 2.5}])"},
       {"2", "1.5", "[1]", R"([1, {"b": 2}])", R"([1, {"b": 2.5, "c": 1}])"}},
      {R"({"const": {"a": 1, "b": []}})", {R"({"a": 1, "b": []})"}, {R"({"a": 1})", R"({"a": 1, "b": [0]})"}},
      {R"({"enum": [1, 2.5]})", {"1", "2.5"}, {"1.0", "2.50", "2"}},
      {R"({"const": 3})", {"3"}, {"3.0", "4"}},
      {R"({"type": "integer", "enum": [1.0, 2, 2.5]})", {"1", "2"}, {"2.5", "3"}},
      {R"({"not": {"const": 1}})", {"2", "1.01", R"("1")", "[1]"}, {"1", "1.0", "1.00"}},
      {R"({"const": 1e20})", {"100000000000000000000"}, {"1"}},
  });
}

TEST(JsonSchema, Numbers) {
  check({
      {R"({"type": "integer", "minimum": -3, "exclusiveMaximum": 12})",
       {"-3", "0", "9", "11"},
       {"-4", "12", "100", "-10"}},
      {R"({"minimum": 1.25})", {"1.25", "1.250", "1.3", "2", "10.01", R"("x")"}, {"1.2", "1", "1.2499", "-7", "0"}},
      {R"({"exclusiveMinimum": 0.05})", {"0.06", "0.0501", "0.1"}, {"0.05", "0.050", "0.04", "0", "-1"}},
      {R"({"maximum": -0.5})", {"-0.5", "-0.50", "-0.51", "-3"}, {"-0.4", "-0.49", "0", "1"}},
      {R"({"exclusiveMaximum": 100})", {"99.99", "9", "-1000", "0"}, {"100", "100.0", "100.01", "1000"}},
      {R"({"minimum": 0})", {"0", "-0", "0.0", "5"}, {"-0.1", "-1"}},
      {R"({"exclusiveMinimum": 0})", {"0.001", "1"}, {"0", "-0", "0.0", "-1"}},
      {R"({"minimum": 5, "maximum": 5})", {"5", "5.0"}, {"4.9", "5.1"}},
      {R"({"multipleOf": 4})", {"0", "12", "-8", "4.0"}, {"2", "2.0", "10", "4.5"}},
      {R"({"multipleOf": 0.25})", {"0.25", "0.5", "1.75", "3", "-0.250"}, {"0.3", "0.125", "1.2"}},
      {R"({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true})",
       {"4"},
       {"3"}},
      {R"({"minimum": 3, "exclusiveMinimum": true})", {"3.1"}, {"3"}},
      {R"({"not": {"minimum": 10}, "type": "integer"})", {"9", "-100"}, {"10", "11"}},
  });
}

TEST(JsonSchema, Strings) {
  check({
      {R"({"type": "string", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("äöü")", R"("\n\"")", R"("\\\\\\")"},
       {R"("a")", R"("abcd")", R"("\n")", R"("😀")"}},
      {R"({"type": "string", "pattern": "^[^a]$"})",
       {R"("b")", R"("\n")", R"("\"")", R"("ä")"},
       {R"("a")", R"("bb")", R"("")"}},
      {R"({"type": "string", "pattern": "a.c"})", {R"("xabcx")", R"("a\\c")"}, {R"("ac")", R"("a\nc")"}},
      {R"({"pattern": "^\\d+$", "maxLength": 2})", {R"("12")", "123"}, {R"("123")", R"("a")"}},
      {R"({"allOf": [{"pattern": "^a"}, {"pattern": "b$"}], "enum": ["ab", "b", "a", "aab"]})",
       {R"("ab")", R"("aab")"},
       {R"("a")", R"("b")"}},
      {R"({"type": "string", "format": "date"})",
       {R"("2024-02-29")"},
       {R"("2023-02-29")", R"("2024-13-01")", R"("x")"}},
      {R"({"type": "string", "format": "date-time"})",
       {R"("2024-02-29T12:00:00.5Z")", R"("1990-12-31T23:59:60Z")"},
       {R"("2024-02-29")", R"("2024-02-29T24:00:00Z")"}},
      {R"({"type": "string", "format": "ipv6"})",
       {R"("::")", R"("::1")", R"("1::")", R"("fe80::1:2")", R"("1:2:3:4:5:6:7:8")", R"("::ffff:192.168.0.1")",
        R"("1:2:3:4:5:6:7::")", R"("1::3:4:5:6:7:8")"},
       {R"("1:2:3")", R"("1::2::3")", R"("12345::")", R"("1:2:3:4:5:6:7:8:9")", R"("::1:2:3:4:5:6:7:8")"}},
      {R"({"type": "string", "format": "uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}},
      {R"({"type": "string", "format": "email"})", {R"("a.b+c@d-e.org")"}, {R"("a@")", R"("a..b@c")"}},
      {R"({"type": "string", "format": "uri"})",
       {R"("https://a.b:8/c?d=e#f")", R"("urn:x:y")"},
       {R"("a b:c")", R"("//a")"}},
      {R"({"type": "string", "format": "of-mine"})", {R"("x")"}, {}},
  });
}

TEST(JsonSchema, Arrays) {
  check({
      {R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
       {"[1]", "[1, 2, 3]"},
       {"[]", "[1, 2, 3, 4]", R"(["a"])"}},
      {R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": false})",
       {"[]", "[1]", "[1, 2]"},
       {"[2]", "[1, 2, 3]"}},
      {R"({"type": "array", "items": [{"const": 1}], "additionalItems": {"const": 2}})",
       {"[]", "[1]", "[1, 2, 2]"},
       {"[2]", "[1, 1]"}},
      {R"({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2, "maxItems": 3})",
       {"[1, 2]", "[1, 2, 2]"},
       {"[1]", "[1, 2, 2, 2]", "[2, 2]"}},
      {R"({"type": "array", "contains": {"const": 5}})", {"[5]", "[1, 5]", "[5, 5, 1]"}, {"[]", "[1]"}},
      {R"({"type": "array", "contains": {"const": 5}, "minContains": 2, "maxContains": 2})",
       {"[5, 5]", "[5, 1, 5]"},
       {"[5]", "[5, 5, 5]"}},
      {R"({"type": "array", "contains": {"const": 5}, "minContains": 0})", {"[]", "[1]"}, {}},
      {R"({"type": "array", "not": {"items": {"type": "integer"}}})", {R"(["a"])", "[1, null]"}, {"[]", "[1, 2]"}},
      {R"({"type": "array", "maxItems": 0})", {"[]", "[ ]"}, {"[1]"}},
      {R"({"type": "array", "items": {"enum": ["a", 1, 1.0, null]}, "uniqueItems": true, "minItems": 1})",
       {R"(["a"])", R"([1, "a", null])"},
       {"[]", "[1, 1]", R"(["a", null, "a"])"}},
      {R"({"type": "array", "items": {"type": "boolean"}, "uniqueItems": true})",
       {"[]", "[true, false]"},
       {"[true, true]"}},
      {R"({"type": "object", "properties": {"a": {}}, "patternProperties": {"^x": {}}, "anyOf": [{"properties": {"b": {}}}, {"required": ["c"]}], "unevaluatedProperties": false})",
       {R"({"a": 1, "b": 2, "x": 3})"},
       {R"({"c": 1})", R"({"a": 1, "d": 1})"}},
      {R"({"type": "array", "allOf": [{"prefixItems": [{"const": 1}]}], "unevaluatedItems": {"const": 2}})",
       {"[]", "[1]", "[1, 2, 2]"},
       {"[1, 1]", "[2]"}},
      {R"({"type": "array", "uniqueItems": true, "maxItems": 1})", {"[]", "[1]"}, {"[1, 2]"}},
  });
}

TEST(JsonSchema, Objects) {
  check({
      {R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"], "additionalProperties": false})",
       {R"({"a": 1})", R"({"a": 1, "b": null})"},
       {"{}", R"({"a": "x"})", R"({"b": 1, "a": 1})", R"({"a": 1, "c": 1})", R"({"a": 1,})"}},
      {R"({"type": "object", "properties": {"a\"": {"type": "integer"}}})",
       {"{}", R"({"a\"": 1, "b": "x"})", R"({"b": {}})"},
       {R"({"a\"": "x"})", R"({"b": 1, "a\"": "x"})", R"({"a\u0022": "x"})"}},
      {R"({"type": "object", "properties": {"ab": {"maximum": 5}}, "patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "string"}})",
       {R"({"ab": 3})", R"({"ac": 9, "d": "x"})"},
       {R"({"ab": 7})", R"({"ab": "x"})", R"({"ac": "x"})", R"({"d": 1})"}},
      {R"({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "null"}})",
       {"{}", R"({"ab": null})"},
       {R"({"A": null})", R"({"ab": 1})"}},
      {R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": false, "minProperties": 1, "maxProperties": 2})",
       {R"({"a": 1})", R"({"b": 1, "c": 2})"},
       {"{}", R"({"a": 1, "b": 2, "c": 3})"}},
      {R"({"type": "object", "properties": {"a": {"const": 1}}, "minProperties": 2})",
       {R"({"a": 1, "b": 2})", R"({"b": 1, "c": 2})"},
       {R"({"a": 1})"}},
      {R"({"type": "object", "dependentRequired": {"a": ["b"]}})",
       {"{}", R"({"b": 1})", R"({"a": 1, "b": 1})"},
       {R"({"a": 1})"}},
      {R"({"type": "object", "dependencies": {"a": {"properties": {"b": {"const": 1}}, "required": ["b"]}}})",
       {R"({"b": 2})", R"({"a": 0, "b": 1})"},
       {R"({"a": 0, "b": 2})", R"({"a": 0})"}},
      {R"({"type": "object", "not": {"required": ["a"]}})",
       {"{}", R"({"b": 1})"},
       {R"({"a": 1})", R"({"b": 1, "a": 1})"}},
      {R"({"type": "object", "not": {"additionalProperties": {"type": "integer"}}})",
       {R"({"a": "x"})", R"({"a": 1, "b": null})"},
       {"{}", R"({"a": 1})"}},
  });
}

TEST(JsonSchema, AnyOrder) {
  check({{R"({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["b"]})",
          {R"({"a": 1, "b": 2})", R"({"b": 2, "a": 1})", R"({"c": 0, "b": 2, "d": 0, "a": 1})"},
          {R"({"a": 1})", R"({"b": 2, "b": 2})", R"({"c": 0, "a": 2, "b": 2})"}},
         {R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["b"], "maxProperties": 2})",
          {R"({"b": 2})", R"({"a": 1, "b": 2})", R"({"d": 1, "b": 2})", R"({"b": 2, "d": 1})"},
          {"{}", R"({"a": 1, "c": 2})", R"({"a": 1, "c": 2, "b": 3})", R"({"d": 1, "e": 2})"}},
         {R"({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2})",
          {R"({"b": 2, "a": 1})", R"({"c": 2, "a": 1})", R"({"d": 1, "e": 2, "a": 3})"},
          {"{}", R"({"a": 1})", R"({"d": 1})"}},
         {R"({"type": "object", "properties": {"a": {}, "b": false}, "additionalProperties": false})",
          {"{}", R"({"a": 2})"},
          {R"({"b": 2})", R"({"a": 1, "a": 2})"}},
         {R"({"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"]})",
          {R"({"next": {"next": {"v": 1}, "v": 2}, "v": 3})"},
          {R"({"next": {"next": {"v": 1}}, "v": 3})"}}},
        {.any_order = true});
}

TEST(JsonSchema, AnyOrderOfManyProperties) {
  std::string schema = R"({"additionalProperties": false, "type": "object", "properties": {)";
  std::string required, ascending, descending;
  for (int i = 0; i < 80; ++i) {
    const std::string name = fmt::format("\"p{}\"", i);
    schema += fmt::format("{}{}: {{}}", i == 0 ? "" : ", ", name);
    required += fmt::format("{}{}", i == 0 ? "" : ", ", name);
    ascending += fmt::format("{}{}: {}", i == 0 ? "" : ", ", name, i);
    descending = fmt::format("{}: {}{}", name, i, i == 0 ? "" : ", " + descending);
  }
  check({{schema + "}, \"required\": [" + required + "]}",
          {"{" + ascending + "}", "{" + descending + "}"},
          {"{}", "{" + descending + ", \"p3\": 1}", "{" + ascending.substr(9) + "}"}}},
        {.any_order = true});
}

// Where every number of a sign fits, or every one that is small, it may have an exponent.
TEST(JsonSchema, ExponentsWithinBounds) {
  check({
      {R"({"type": "number", "minimum": 0})", {"1e-06", "2.5E+20", "0.5e1"}, {"-1e-06", "-0.5"}},
      {R"({"type": "number", "exclusiveMaximum": 0})", {"-1e-06", "-1.5e20"}, {"1e-06", "0e5"}},
      {R"({"type": "number", "minimum": -90, "maximum": 90})", {"1e-06", "-3.25e-7", "0.5"}, {"1e5", "10e-1", "1e0"}},
      {R"({"type": "number", "minimum": 0, "maximum": 0.5})", {"0.25"}, {"1e-06", "9e-1"}},
      {R"({"type": "number", "multipleOf": 0.01})", {"0.25"}, {"1e-06"}},
      {R"({"type": "integer", "minimum": 0})", {"25"}, {"1e5"}},
  });
}

TEST(JsonSchema, Combinations) {
  check({
      {R"({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 4}]})", {"3", "4"}, {"5", "3.5"}},
      {R"({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]})", {"3", R"("a")"}, {"1.5", R"("ab")"}},
      {R"({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}], "type": "integer"})", {"2", "3", "9"}, {"6", "5", "12"}},
      {R"({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {}, "b": {}}})",
       {R"({"a": 1})", R"({"b": 1})", R"({"a": 1, "c": 1})"},
       {"{}", R"({"a": 1, "b": 1})"}},
      {R"({"oneOf": [{"properties": {"t": {"const": "x"}, "v": {"type": "integer"}}, "required": ["t", "v"]}, {"properties": {"t": {"const": "y"}, "v": {"type": "string"}}, "required": ["t", "v"]}], "type": "object"})",
       {R"({"t": "x", "v": 1})", R"({"t": "y", "v": "1"})"},
       {R"({"t": "x", "v": "1"})", R"({"t": "z", "v": 1})"}},
      {R"({"oneOf": [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}]})",
       {R"("a")", R"("b")"},
       {R"("ab")", R"("c")"}},
      {R"({"not": {"type": ["integer", "string"]}})", {"1.5", "null"}, {"1", "1.0", R"("a")"}},
      {R"({"not": {"enum": ["a", 1]}, "type": ["string", "integer"]})", {R"("b")", "2"}, {R"("a")", "1"}},
      {R"({"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, "then": {"required": ["v"]}, "else": {"required": ["w"]}, "type": "object"})",
       {R"({"k": 1, "v": 0})", R"({"k": 2, "w": 0})", R"({"w": 0})"},
       {R"({"k": 1, "w": 0})", R"({"k": 2})"}},
  });
}

TEST(JsonSchema, References) {
  check({
      {R"({"$defs": {"a~/%": {"type": "integer"}}, "$ref": "#/$defs/a~0~1%25"})", {"1"}, {R"("a")"}},
      {R"({"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"], "additionalProperties": false})",
       {R"({"v": 1})", R"({"v": 1, "next": {"v": 2, "next": {"v": 3}}})"},
       {R"({"v": 1, "next": {}})"}},
      {R"({"$id": "http://a.org/b/c.json", "$defs": {"x": {"$id": "d.json", "type": "string"}, "y": {"$anchor": "z", "type": "null"}}, "anyOf": [{"$ref": "d.json"}, {"$ref": "#z"}]})",
       {R"("s")", "null"},
       {"1"}},
      {R"({"$defs": {"a": {"minimum": 3}}, "$ref": "#/$defs/a", "maximum": 4})", {"3"}, {"5"}},
      {R"({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"minimum": 3}}, "$ref": "#/definitions/a", "maximum": 4})",
       {"5"},
       {"2"}},
  });
}

TEST(JsonSchema, Whitespace) {
  constexpr std::string_view kSchema =
      R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}})";
  check({{kSchema,
          {R"({"a":[1,2]})", "{\n  \"a\": [\n    1,\n    2\n  ]\n}", R"( {"a" : [ 1, 2 ]})"},
          {R"({   "a": []})", R"({"a": [1]} )"}}});
  check({{kSchema, {R"({"a": [1, 2]})", "{}"}, {R"({"a":[1, 2]})", R"({"a": [1,2]})", R"({ "a": []})"}}},
        {.any_whitespace = false});
}

TEST(JsonSchema, AnyObject) {
  GrammarBuilder builder;
  const auto grammar = builder.build(json_object(builder));
  EXPECT_TRUE(fits(*grammar, R"({"a": [1, {"b": null}]})"));
  EXPECT_FALSE(fits(*grammar, "[1]"));
}

TEST(JsonSchema, RefusesByPointer) {
  using enum ErrorCode;
  expect_refused(R"({"properties": {"a/b": {"uniqueItems": true}}})", kUnsupported, "#/properties/a~1b/uniqueItems");
  expect_refused(R"({"items": {"$ref": "http://a.org/b"}})", kUnsupported, "#/items/$ref");
  expect_refused(R"({"items": {"pattern": "(a)\\1"}})", kUnsupported, "#/items/pattern");
  expect_refused(R"({"items": {"pattern": "("}})", kInvalidArgument, "#/items/pattern");
  expect_refused(R"({"$ref": "#/$defs/a"})", kInvalidArgument, "#/$ref");
  expect_refused(R"({"type": "text"})", kInvalidArgument, "#/type");
  expect_refused(R"({"properties": []})", kInvalidArgument, "#/properties");
  expect_refused(R"({"anyOf": [{"minLength": -1}]})", kInvalidArgument, "#/anyOf/0/minLength");
  expect_refused(R"({"required": [1]})", kInvalidArgument, "#/required");
  expect_refused(R"({"items": 3})", kInvalidArgument, "#/items");
  expect_refused(R"({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})", kInvalidArgument,
                 "refers to itself");
  expect_refused(R"({"items": {"minimum": 1e400}})", kInvalidArgument, "#/items/minimum");
  expect_refused(R"({"items": {"items": {"uniqueItems": true}}})", kUnsupported, "#/items/items/uniqueItems");
  expect_refused("false", kInvalidArgument, "");
  expect_refused("3", kInvalidArgument, "it should be an object or a bool");
  expect_refused(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", kInvalidArgument, "");
}

// Each ends at once, whatever the answer: its author may be hostile.
TEST(JsonSchema, HostileSchemasEndSoon) {
  std::string doubling = R"({"$defs": {"s0": {"type": "object"})";
  for (int i = 1; i < 60; ++i) {
    const std::string before = R"({"$ref": "#/$defs/s)" + std::to_string(i - 1) + "\"}";
    doubling += ", \"s" + std::to_string(i) + R"(": {"allOf": [)" + before + "," + before + "]}";
  }
  EXPECT_EQ(refusal_of(doubling + R"(}, "$ref": "#/$defs/s59"})").message, "it was compiled");
  std::string pairs = R"({"allOf": [)";
  for (int i = 0; i < 40; ++i) {
    const std::string name = std::to_string(i);
    pairs +=
        (i == 0 ? "" : ",") + (R"({"anyOf": [{"required": ["a)" + name + R"("]}, {"required": ["b)" + name + "\"]}]}");
  }
  expect_refused(pairs + "]}", ErrorCode::kUnsupported, "more than 256 alternatives");
  std::string names = R"({"enum": [)";
  for (int i = 0; i < 20'000; ++i) names += (i == 0 ? "\"v" : ",\"v") + std::to_string(i) + "\"";
  EXPECT_EQ(refusal_of(names + "]}").message, "it was compiled");
  std::string nested = "{}";
  for (int i = 0; i < 100; ++i) nested = R"({"items": )" + nested + "}";
  EXPECT_EQ(refusal_of(nested).message, "it was compiled");
  expect_refused(R"({"minLength": 10000000})", ErrorCode::kLimit, "minLength");
}

}  // namespace
}  // namespace quire
