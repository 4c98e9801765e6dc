// The JSON-Schema-Test-Suite: a group is supported or refused; of a supported one every verdict holds. Runs where
// QUIRE_TEST_DATA has it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "base/error.h"
#include "grammar/json_schema.h"

namespace quire {
namespace {

struct Dialect {
  std::string_view folder, uri;
};
constexpr std::array kDialects = {
    Dialect{"draft4", "http://json-schema.org/draft-04/schema#"},
    Dialect{"draft6", "http://json-schema.org/draft-06/schema#"},
    Dialect{"draft7", "http://json-schema.org/draft-07/schema#"},
    Dialect{"draft2019-09", "https://json-schema.org/draft/2019-09/schema"},
    Dialect{"draft2020-12", "https://json-schema.org/draft/2020-12/schema"},
};

// Files some of whose groups are refused, always with the reason in docs/guided-schemas.md.
constexpr std::array<std::string_view, 6> kPartlyRefused = {"unevaluatedItems", "unevaluatedProperties", "refRemote",
                                                            "dynamicRef",       "recursiveRef",          "uniqueItems"};
// Groups elsewhere: other documents, and a divisor of many digits.
constexpr std::array<std::string_view, 3> kRefused = {"remote ref, containing refs itself",
                                                      "validate definition against metaschema", "float division = inf"};
// The verdict differs: formats are checked here, and a vocabulary of one's own is not read.
constexpr std::string_view kAnnotated = "format";
constexpr std::string_view kOwnVocabulary = "schema that uses custom metaschema with with no validation vocabulary";

// As Quire writes numbers: whole ones without a fraction.
std::string text_of(const json::value& value) {
  if (value.is_double()) {
    const double number = value.get_double();
    return std::floor(number) == number ? fmt::format("{:.0f}", number) : fmt::format("{}", number);
  }
  std::string text;
  if (const json::array* array = value.if_array()) {
    for (const json::value& item : *array) text += (text.empty() ? "" : ",") + text_of(item);
    return "[" + text + "]";
  }
  if (const json::object* object = value.if_object()) {
    for (const auto& member : *object) {
      text += (text.empty() ? "" : ",") + json::serialize(json::value(member.key())) + ":" + text_of(member.value());
    }
    return "{" + text + "}";
  }
  return json::serialize(value);
}

template <size_t N>
bool contains(const std::array<std::string_view, N>& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

class Suite {
 public:
  void check(const Dialect& dialect, std::string_view file, const json::object& group);
  int num_groups = 0, num_refused = 0;
};

void Suite::check(const Dialect& dialect, std::string_view file, const json::object& group) {
  json::value schema = group.at("schema");
  if (schema.is_object() && !schema.get_object().contains("$schema")) schema.get_object()["$schema"] = dialect.uri;
  const std::string description = get_string(group, "description");
  const std::string name = fmt::format("{}/{}: {}", dialect.folder, file, description);
  const json::array& tests = group.at("tests").as_array();
  ++num_groups;
  std::shared_ptr<const Grammar> grammar;
  try {
    GrammarBuilder builder;
    grammar = builder.build(json_schema(builder, schema, {.any_order = true}));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kUnsupported) {
      ++num_refused;
      EXPECT_TRUE(contains(kPartlyRefused, file) || contains(kRefused, description)) << name << "\n" << error.what();
    } else {
      // What nothing satisfies has no grammar.
      const bool has_valid =
          std::ranges::any_of(tests, [](const json::value& test) { return test.at("valid").as_bool(); });
      EXPECT_FALSE(has_valid) << name << "\n" << error.what();
    }
    return;
  }
  if (file == kAnnotated || description == kOwnVocabulary) return;
  for (const json::value& test : tests) {
    const std::string text = text_of(test.at("data"));
    EXPECT_EQ(fits(*grammar, text), test.at("valid").as_bool()) << name << "\n" << text;
  }
}

TEST(JsonSchemaSuite, EveryVerdictOfASupportedGroupHolds) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  const std::filesystem::path root =
      std::filesystem::path(data == nullptr ? "" : data) / "schemas/JSON-Schema-Test-Suite";
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "QUIRE_TEST_DATA has no schemas/JSON-Schema-Test-Suite";
  Suite suite;
  for (const Dialect& dialect : kDialects) {
    for (const auto& entry : std::filesystem::directory_iterator(root / "tests" / dialect.folder)) {
      if (entry.path().extension() != ".json") continue;
      const json::value groups = read_json_file(entry.path(), 16 << 20);
      for (const json::value& group : groups.as_array()) {
        suite.check(dialect, entry.path().stem().string(), group.as_object());
      }
    }
  }
  EXPECT_GT(suite.num_groups, 1000);
  EXPECT_LT(suite.num_refused, suite.num_groups / 10);
}

}  // namespace
}  // namespace quire
