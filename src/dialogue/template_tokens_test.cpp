// The tokens of real chat templates, with names of special tokens in messages and without.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "jinja/chat_template.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

const std::filesystem::path kData = std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data";
constexpr size_t kMaxFileBytes = size_t{16} << 20;
constexpr std::string_view kModelVariables[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

// <...> without blanks: names of tokens in real templates, and some words in angles that only look so.
std::vector<TextSpan> find_names(std::string_view text) {
  std::vector<TextSpan> names;
  for (size_t begin = text.find('<'); begin != std::string::npos; begin = text.find('<', begin + 1)) {
    const size_t end = text.find_first_of("<> \n\t\"'", begin + 1);
    if (end != std::string::npos && text[end] == '>') names.push_back({begin, end + 1});
  }
  return names;
}

bool is_in_data(const MarkedText& text, const TextSpan& name) {
  return std::ranges::any_of(text.data,
                             [&](const TextSpan& span) { return span.begin < name.end && name.begin < span.end; });
}

std::string name_at(const MarkedText& text, const TextSpan& name) {
  return text.text.substr(name.begin, name.end - name.begin);
}

// What a template makes of every context that it accepts, and the names that it writes itself.
struct Renderings {
  std::vector<MarkedText> texts;
  std::set<std::string> names;
};

Renderings render_all(const ChatTemplate& chat_template, const json::object& row, const json::object& contexts) {
  Renderings out;
  for (const auto& [context_name, expected] : row) {
    if (expected.as_string() == "raises") continue;
    MarkedText text = chat_template.render(contexts.at(context_name).as_object(), {.own_variables = kModelVariables});
    for (const TextSpan& name : find_names(text.text)) {
      if (!is_in_data(text, name)) out.names.insert(name_at(text, name));
    }
    out.texts.push_back(std::move(text));
  }
  return out;
}

// A byte-level tokenizer with these special tokens.
Tokenizer tokenizer_with(const std::set<std::string>& names) {
  json::value description = read_json_file(kData / "tokenizers/qwen2.json", kMaxFileBytes);
  json::array added;
  for (const std::string& name : names) {
    added.push_back(
        json::object{{"id", static_cast<int64_t>(10'000 + added.size())}, {"content", name}, {"special", true}});
  }
  description.as_object()["added_tokens"] = std::move(added);
  return load_tokenizer_json(description, nullptr);
}

std::ptrdiff_t count_special(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return std::ranges::count_if(ids, [&](int32_t id) { return tokenizer.is_special(id); });
}

// The ids are those of the text without marks, unless a message, a tool or a variable holds the name of a token. Then
// that name is text, and the template's own tokens stay.
TEST(TemplateTokens, OnlyNamesInDataBecomeText) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const json::value file = read_json_file(kData / "jinja_expected.json", kMaxFileBytes);
  size_t num_equal = 0;
  size_t num_kept_as_text = 0;
  for (const auto& [template_name, row] : file.at("expected").as_object()) {
    SCOPED_TRACE(template_name);
    const auto path = std::filesystem::path(data) / "templates" / std::string(template_name);
    if (!std::filesystem::exists(path)) continue;
    const Renderings rendered = render_all(ChatTemplate::parse(read_text_file(path, kMaxFileBytes)), row.as_object(),
                                           file.at("contexts").as_object());
    const Tokenizer tokenizer = tokenizer_with(rendered.names);
    for (const MarkedText& text : rendered.texts) {
      const auto num_in_data = std::ranges::count_if(find_names(text.text), [&](const TextSpan& name) {
        return is_in_data(text, name) && rendered.names.contains(name_at(text, name));
      });
      const std::vector<int32_t> marked = tokenizer.encode(text.text, {.data = text.data});
      const std::vector<int32_t> unmarked = tokenizer.encode(text.text);
      EXPECT_EQ(count_special(tokenizer, unmarked) - count_special(tokenizer, marked), num_in_data);
      EXPECT_EQ(tokenizer.decode(marked, false), tokenizer.decode(unmarked, false));
      (num_in_data == 0 ? num_equal : num_kept_as_text) += 1;
      EXPECT_TRUE(num_in_data > 0 || marked == unmarked);
    }
  }
  EXPECT_GT(num_equal, 1000u);
  EXPECT_GT(num_kept_as_text, 10u);
}

}  // namespace
}  // namespace quire
