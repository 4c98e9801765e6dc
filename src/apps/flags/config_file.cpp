#include "apps/flags/config_file.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"

namespace quire {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  text.remove_prefix(begin);
  while (!text.empty() && kBlanks.find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return text;
}

// Reads values of one line from left to right.
class LineReader {
 public:
  LineReader(std::string_view line, std::string place) : rest_(trimmed(line)), place_(std::move(place)) {}

  bool at_end() {
    rest_ = trimmed(rest_);
    return rest_.empty() || rest_[0] == '#';
  }
  bool take(char wanted) {
    if (at_end() || rest_[0] != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // One value; a plain one ends at a comment, and at any of `ends`.
  std::string value(std::string_view ends = "") {
    if (!at_end() && (rest_[0] == '"' || rest_[0] == '\'')) return quoted();
    if (rest_.find_first_of("{&*!|>%@`") == 0) refuse("values are plain words, quoted texts or lists in brackets");
    size_t end = 0;
    while (end < rest_.size() && ends.find(rest_[end]) == std::string_view::npos &&
           !(rest_[end] == '#' && (end == 0 || rest_[end - 1] == ' '))) {
      ++end;
    }
    const std::string_view text = trimmed(rest_.substr(0, end));
    if (text.find(": ") != std::string_view::npos || text.ends_with(':')) refuse("a value with ':' needs quotes");
    rest_.remove_prefix(end);
    return std::string(text);
  }
  std::vector<std::string> list() {
    std::vector<std::string> texts;
    if (take(']')) return texts;
    do {
      texts.push_back(value(",]"));
    } while (take(','));
    if (!take(']')) refuse("the list has no ']' in this line");
    return texts;
  }
  // A value of a table, with the kind that JSON gives it.
  json::value typed_value() {
    if (at_end()) refuse("a table holds no table; write 'key: value'");
    const bool is_text = rest_[0] == '"' || rest_[0] == '\'';
    if (rest_[0] == '[') refuse("values of a table are words, numbers and quoted texts");
    const std::string text = value();
    boost::system::error_code error;
    const json::value parsed = is_text ? json::value(text) : json::parse(text, error);
    return error || parsed.is_object() || parsed.is_array() ? json::value(text) : parsed;
  }
  void expect_end() {
    if (!at_end()) refuse("'" + printable(rest_, 40) + "' is too much; a value with blanks or '#' needs quotes");
  }
  [[noreturn]] void refuse(const std::string& why) const { fail(ErrorCode::kInvalidArgument, "{}: {}", place_, why); }

 private:
  std::string quoted() {
    const char quote = rest_[0];
    std::string text;
    for (size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == quote) {
        const bool is_doubled = quote == '\'' && rest_.substr(i + 1).starts_with('\'');
        if (!is_doubled) {
          rest_.remove_prefix(i + 1);
          return text;
        }
        ++i;
      } else if (rest_[i] == '\\' && quote == '"') {
        text += escaped(i + 1 < rest_.size() ? rest_[i + 1] : '\0');
        ++i;
        continue;
      }
      text += rest_[i];
    }
    refuse(fmt::format("the quote {} is not closed in this line", quote));
  }
  char escaped(char letter) const {
    switch (letter) {
      case 'n': return '\n';
      case 't': return '\t';
      case '"':
      case '\\': return letter;
      default: refuse("between double quotes a backslash stands before n, t, \" or \\ only");
    }
  }

  std::string_view rest_;
  const std::string place_;
};

// The key of "key: value"; nothing for another line.
std::optional<std::string> key_of(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos) return std::nullopt;
  if (colon + 1 < line.size() && kBlanks.find(line[colon + 1]) == std::string_view::npos) return std::nullopt;
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  const std::string_view key = line.substr(0, colon);
  if (key.find_first_not_of(kLetters) != std::string_view::npos) return std::nullopt;
  return std::string(key);
}

// A line of a table, which stands under its key.
void add_to_table(ConfigEntry& entry, std::string_view line, const std::string& place) {
  const LineReader reader(line, place);
  const std::string_view text = trimmed(line);
  const std::optional<std::string> key = key_of(text);
  if (!key) reader.refuse("expected a line of the table, such as 'method: ngram'");
  if (entry.table.contains(*key)) reader.refuse("'" + *key + "' is in the table twice");
  LineReader value(text.substr(key->size() + 1), place);
  entry.table[*key] = value.typed_value();
  value.expect_end();
}

}  // namespace

std::vector<ConfigEntry> parse_config(const std::string& text, const std::string& name) {
  std::vector<ConfigEntry> entries;
  std::istringstream lines(text);
  int number = 0;
  bool is_list = false;  // "key:" was the last entry: "- value" lines, or those of a table, may follow
  for (std::string line; std::getline(lines, line);) {
    const std::string place = fmt::format("{}:{}", name, ++number);
    LineReader reader(line, place);
    if (reader.at_end() || trimmed(line) == "---") continue;
    const bool is_indented = line[0] == ' ' || line[0] == '\t';
    if (trimmed(line).starts_with("- ") && is_list && entries.back().table.empty()) {
      reader.take('-');
      entries.back().texts.push_back(reader.value());
      reader.expect_end();
      continue;
    }
    if (is_indented && is_list && entries.back().texts.empty()) {
      add_to_table(entries.back(), line, place);
      continue;
    }
    if (is_indented) reader.refuse("an indented line is no part of a list; write 'key: value' without blanks before");
    const std::optional<std::string> key = key_of(line);
    if (!key) reader.refuse("expected 'key: value', such as 'port: 8080'");
    LineReader value(std::string_view(line).substr(key->size() + 1), place);
    ConfigEntry entry{.line = number, .key = *key};
    is_list = value.at_end();
    if (value.take('[')) {
      entry.texts = value.list();
    } else if (!is_list) {
      entry.texts.push_back(value.value());
    }
    value.expect_end();
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<ConfigEntry> read_config_file(const std::string& path) {
  return parse_config(read_text_file(path, kMaxBytes), printable(path));
}

}  // namespace quire
