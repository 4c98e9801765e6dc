#include "dialogue/tool_formats/pair_calls.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "dialogue/tool_formats/json_calls.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 512;

// "get_weather\">\n" is get_weather.
std::string_view bare_name(std::string_view text) {
  constexpr std::string_view kAround = "\"/> \n\r\t";
  text.remove_prefix(std::min(text.find_first_not_of(kAround), text.size()));
  return text.substr(0, std::min(text.find_first_of("\"/> \n\r\t<"), text.size()));
}

// Of a parameter, as the tool's schema has it; empty when it says nothing.
enum class TextKind : uint8_t { kString, kJson, kUnknown };

bool names_string(const json::value& type) {
  if (type.is_string()) return type.get_string() == "string";
  if (!type.is_array()) return false;
  return std::any_of(type.get_array().begin(), type.get_array().end(),
                     [](const json::value& each) { return each == "string"; });
}

TextKind kind_of(const Tool* tool, std::string_view key) {
  const json::value* properties = tool == nullptr ? nullptr : tool->parameters.if_contains("properties");
  const json::value* property =
      properties == nullptr || !properties->is_object() ? nullptr : properties->get_object().if_contains(key);
  if (property == nullptr || !property->is_object()) return TextKind::kUnknown;
  if (const json::value* type = property->get_object().if_contains("type")) {
    return names_string(*type) ? TextKind::kString : TextKind::kJson;
  }
  return TextKind::kUnknown;
}

bool is_json(std::string_view text) {
  try {
    parse_json(text, "an argument");
    return true;
  } catch (const Error&) {
    return false;
  }
}

void append_escaped(std::string& out, std::string_view text) {
  const std::string quoted = json::serialize(json::string(text));
  out.append(quoted, 1, quoted.size() - 2);
}

class PairCallReader : public CallReader {
 public:
  PairCallReader(const PairMarks& marks, std::span<const Tool> tools) : marks_(marks), tools_(tools) {}

  bool has_begun() const override { return has_begun_; }

  ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) override {
    while (!text.empty()) {
      if (step_ == Step::kJson) return json_arguments(text, parts);
      const size_t size = text.size();
      const ReadState state = step_ == Step::kText ? argument_text(text, parts) : between(text, parts);
      if (state != ReadState::kMore || text.size() == size) return state;
    }
    return ReadState::kMore;
  }

 private:
  enum class Step : uint8_t { kName, kBetween, kKey, kText, kJson };

  // Outside of texts: takes what is certain to hold no mark into `held_`, until a mark comes.
  ReadState between(std::string_view& text, std::vector<AnswerPart>& parts) {
    const bool is_key = step_ == Step::kKey;
    const char first = is_key ? marks_.key_end.front() : '<';
    const size_t plain =
        std::min(text.find_first_of(is_key ? std::string{first} : std::string{first, '{'}), text.size());
    if (plain > 0) {
      held_ += text.substr(0, plain);
      text.remove_prefix(plain);
      return held_.size() > kMaxNameBytes ? ReadState::kBroken : ReadState::kMore;
    }
    if (is_key) {
      if (text.starts_with(marks_.key_end)) {
        text.remove_prefix(marks_.key_end.size());
        begin_text(parts);
        return ReadState::kMore;
      }
      if (marks_.key_end.starts_with(text)) return ReadState::kMore;
    } else if (text.front() == '{') {
      // Some models write the arguments as JSON after all.
      if (step_ != Step::kName) return ReadState::kBroken;
      begin_call(parts);
      if (!has_begun_) return ReadState::kBroken;
      step_ = Step::kJson;
      return json_arguments(text, parts);
    } else if (text.starts_with(marks_.begin)) {
      if (step_ == Step::kName) begin_call(parts);
      if (!has_begun_) return ReadState::kBroken;
      text.remove_prefix(marks_.begin.size());
      held_.clear();
      step_ = Step::kKey;
      return ReadState::kMore;
    } else if (text.starts_with(marks_.end)) {
      if (step_ == Step::kName) begin_call(parts);
      if (!has_begun_) return ReadState::kBroken;
      add_part(parts, AnswerPartKind::kArguments, has_pairs_ ? "}" : "{}");
      return ReadState::kDone;  // the mark itself is left to the parser
    } else if (marks_.begin.starts_with(text) || marks_.end.starts_with(text)) {
      return ReadState::kMore;
    }
    held_ += text.front();
    text.remove_prefix(1);
    return ReadState::kMore;
  }

  void begin_call(std::vector<AnswerPart>& parts) {
    const std::string_view name = bare_name(held_);
    if (name.empty()) return;
    has_begun_ = true;
    add_part(parts, AnswerPartKind::kToolCall, name);
    const auto found = std::find_if(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
    tool_ = found == tools_.end() ? nullptr : &*found;
    step_ = Step::kBetween;
  }

  void begin_text(std::vector<AnswerPart>& parts) {
    const std::string_view key = bare_name(held_);
    kind_ = kind_of(tool_, key);
    std::string opening = has_pairs_ ? ", \"" : "{\"";
    append_escaped(opening, key);
    opening += kind_ == TextKind::kString ? "\": \"" : "\": ";
    add_part(parts, AnswerPartKind::kArguments, opening);
    has_pairs_ = true;
    held_.clear();
    is_first_ = true;
    step_ = Step::kText;
  }

  ReadState argument_text(std::string_view& text, std::vector<AnswerPart>& parts) {
    if (is_first_ && marks_.has_lines && text.front() == '\n') text.remove_prefix(1);
    is_first_ = false;
    const size_t end = text.find(marks_.text_end);
    const size_t certain = end == std::string_view::npos ? certain_bytes(text) : end;
    take_text(text.substr(0, certain), parts);
    text.remove_prefix(certain);
    if (end == std::string_view::npos) return ReadState::kMore;
    text.remove_prefix(marks_.text_end.size());
    end_text(parts);
    return ReadState::kMore;
  }

  // Bytes before what may become the mark that ends the text.
  size_t certain_bytes(std::string_view text) const {
    const size_t longest = std::min(marks_.text_end.size() - 1, text.size());
    for (size_t size = longest; size > 0; --size) {
      if (marks_.text_end.starts_with(text.substr(text.size() - size))) return text.size() - size;
    }
    return text.size();
  }

  // held_: of a string the line break at its end, of other texts all of it.
  void take_text(std::string_view text, std::vector<AnswerPart>& parts) {
    if (text.empty()) return;
    held_ += text;
    if (kind_ != TextKind::kString) return;
    const bool holds_line = marks_.has_lines && held_.back() == '\n';
    if (holds_line) held_.pop_back();
    std::string escaped;
    append_escaped(escaped, held_);
    add_part(parts, AnswerPartKind::kArguments, escaped);
    held_ = holds_line ? "\n" : "";
  }

  void end_text(std::vector<AnswerPart>& parts) {
    step_ = Step::kBetween;
    if (kind_ == TextKind::kString) {
      held_.clear();
      return add_part(parts, AnswerPartKind::kArguments, "\"");
    }
    if (marks_.has_lines && held_.ends_with('\n')) held_.pop_back();
    const std::string_view bare = trimmed(held_);
    // Where nothing is known of the type, numbers and words stay text.
    const bool may_be_json = kind_ == TextKind::kJson || bare.starts_with('{') || bare.starts_with('[');
    if (may_be_json && is_json(bare)) {
      add_part(parts, AnswerPartKind::kArguments, bare);
    } else {
      std::string quoted = "\"";
      append_escaped(quoted, held_);
      add_part(parts, AnswerPartKind::kArguments, quoted + '"');
    }
    held_.clear();
  }

  ReadState json_arguments(std::string_view& text, std::vector<AnswerPart>& parts) {
    const size_t count = scanner_.push(text);
    add_part(parts, AnswerPartKind::kArguments, text.substr(0, count));
    text.remove_prefix(count);
    return scanner_.state();
  }

  const PairMarks marks_;
  const std::span<const Tool> tools_;
  Step step_ = Step::kName;
  std::string held_;
  bool has_begun_ = false;
  bool has_pairs_ = false;
  bool is_first_ = false;  // nothing of the text came yet
  const Tool* tool_ = nullptr;
  TextKind kind_ = TextKind::kUnknown;
  JsonScanner scanner_;
};

}  // namespace

std::unique_ptr<CallReader> make_pair_call_reader(const PairMarks& marks, std::span<const Tool> tools) {
  return std::make_unique<PairCallReader>(marks, tools);
}

}  // namespace quire
