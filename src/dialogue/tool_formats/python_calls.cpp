#include "dialogue/tool_formats/python_calls.h"

#include <cctype>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 512;
constexpr int kMaxDepth = 64;

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// A Python literal as JSON.
class Literal {
 public:
  explicit Literal(std::string_view text) : text_(trimmed(text)) {}

  // False: it is no literal that JSON can say.
  bool to_json(std::string& out) { return value(out, 0) && skip_space() && at_ == text_.size(); }

 private:
  bool skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return true;
  }
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool value(std::string& out, int depth) {
    skip_space();
    if (at_ == text_.size() || depth > kMaxDepth) return false;
    const char c = text_[at_];
    if (c == '\'' || c == '"') return string(out);
    if (c == '[' || c == '(') return list(out, c == '[' ? ']' : ')', depth);
    if (c == '{') return dictionary(out, depth);
    return word(out);
  }

  bool string(std::string& out) {
    const char quote = text_[at_++];
    std::string bytes;
    while (at_ < text_.size() && text_[at_] != quote) {
      const char c = text_[at_++];
      if (c != '\\' || at_ == text_.size()) {
        bytes += c;
        continue;
      }
      const char escaped = text_[at_++];
      switch (escaped) {
        case 'n': bytes += '\n'; break;
        case 't': bytes += '\t'; break;
        case 'r': bytes += '\r'; break;
        case '\\':
        case '\'':
        case '"': bytes += escaped; break;
        default: bytes += {'\\', escaped};
      }
    }
    if (at_ == text_.size()) return false;
    ++at_;
    out += json::serialize(json::string(bytes));
    return true;
  }

  bool list(std::string& out, char end, int depth) {
    ++at_;
    out += '[';
    for (bool is_first = true;; is_first = false) {
      if (take(end)) break;
      if (!is_first && !take(',')) return false;
      if (take(end)) break;
      if (!is_first) out += ", ";
      if (!value(out, depth + 1)) return false;
    }
    out += ']';
    return true;
  }

  bool dictionary(std::string& out, int depth) {
    ++at_;
    out += '{';
    for (bool is_first = true;; is_first = false) {
      if (take('}')) break;
      if (!is_first && !take(',')) return false;
      if (take('}')) break;
      if (!is_first) out += ", ";
      skip_space();
      if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"') || !string(out) || !take(':')) return false;
      out += ": ";
      if (!value(out, depth + 1)) return false;
    }
    out += '}';
    return true;
  }

  bool word(std::string& out) {
    const size_t begin = at_;
    while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '.' || text_[at_] == '-' || text_[at_] == '+')) {
      ++at_;
    }
    const std::string_view name = text_.substr(begin, at_ - begin);
    if (name == "True" || name == "true") {
      out += "true";
    } else if (name == "False" || name == "false") {
      out += "false";
    } else if (name == "None" || name == "null") {
      out += "null";
    } else {
      try {
        parse_json(name, "a number");
      } catch (const Error&) {
        return false;
      }
      out += name;
    }
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

class PythonCallReader : public CallReader {
 public:
  bool has_begun() const override { return has_begun_; }

  ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) override {
    while (!text.empty()) {
      const char c = text.front();
      const ReadState state = take(c, parts);
      if (state == ReadState::kBroken) return state;
      text.remove_prefix(1);
      if (state == ReadState::kDone) return state;
    }
    return ReadState::kMore;
  }

 private:
  enum class Step : uint8_t { kName, kKey, kValue };

  ReadState take(char c, std::vector<AnswerPart>& parts) {
    switch (step_) {
      case Step::kName:
        if (c == '(' && !held_.empty()) {
          has_begun_ = true;
          add_part(parts, AnswerPartKind::kToolCall, held_);
          held_.clear();
          step_ = Step::kKey;
          return ReadState::kMore;
        }
        if ((!is_word(c) && c != '.' && c != '-') || held_.size() > kMaxNameBytes) return ReadState::kBroken;
        held_ += c;
        return ReadState::kMore;
      case Step::kKey:
        if (c == ')' && trimmed(held_).empty()) return end(parts);
        if (c == '=') {
          begin_value();
        } else if (is_word(c) || is_space(c) || (c == ',' && has_pairs_ && trimmed(held_).empty())) {
          if (c != ',') held_ += c;
        } else {
          return ReadState::kBroken;
        }
        return held_.size() > kMaxNameBytes ? ReadState::kBroken : ReadState::kMore;
      default: return value(c, parts);
    }
  }

  void begin_value() {
    key_ = trimmed(held_);
    held_.clear();
    step_ = Step::kValue;
  }

  ReadState value(char c, std::vector<AnswerPart>& parts) {
    if (quote_ != 0) {
      if (is_escaped_) {
        is_escaped_ = false;
      } else if (c == '\\') {
        is_escaped_ = true;
      } else if (c == quote_) {
        quote_ = 0;
      }
    } else if (c == '\'' || c == '"') {
      quote_ = c;
    } else if (c == '[' || c == '{' || c == '(') {
      ++depth_;
    } else if (depth_ > 0 && (c == ']' || c == '}' || c == ')')) {
      --depth_;
    } else if (depth_ == 0 && (c == ',' || c == ')')) {
      end_value(parts);
      return c == ')' ? end(parts) : ReadState::kMore;
    }
    held_ += c;
    return ReadState::kMore;
  }

  void end_value(std::vector<AnswerPart>& parts) {
    std::string out = has_pairs_ ? ", " : "{";
    out += json::serialize(json::string(key_)) + ": ";
    const size_t before = out.size();
    if (!Literal(held_).to_json(out)) {
      out.resize(before);
      out += json::serialize(json::string(trimmed(held_)));
    }
    add_part(parts, AnswerPartKind::kArguments, out);
    has_pairs_ = true;
    held_.clear();
    step_ = Step::kKey;
  }

  ReadState end(std::vector<AnswerPart>& parts) const {
    add_part(parts, AnswerPartKind::kArguments, has_pairs_ ? "}" : "{}");
    return ReadState::kDone;
  }

  Step step_ = Step::kName;
  std::string held_;
  std::string key_;
  bool has_begun_ = false;
  bool has_pairs_ = false;
  char quote_ = 0;  // of the string that is open
  bool is_escaped_ = false;
  int depth_ = 0;  // of brackets within the value
};

}  // namespace

std::unique_ptr<CallReader> make_python_call_reader() { return std::make_unique<PythonCallReader>(); }

}  // namespace quire
