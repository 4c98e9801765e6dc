#include "dialogue/tool_formats/json_calls.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 512;  // of a name with its quotes, or of a head
constexpr size_t kMaxKeyBytes = 64;    // of the keys that mean something

constexpr std::array<std::string_view, 3> kNameKeys = {"\"name\"", "\"tool_name\"", "\"function\""};
constexpr std::array<std::string_view, 3> kArgumentsKeys = {"\"arguments\"", "\"parameters\"", "\"args\""};

bool is_one_of(std::string_view key, std::span<const std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Of a JSON string with its quotes; the text itself when it is none.
std::string decoded(const std::string& quoted) {
  try {
    const json::value value = parse_json(quoted, "a string");
    return value.is_string() ? std::string(value.get_string()) : quoted;
  } catch (const Error&) {
    return quoted;
  }
}

class JsonCallReader : public CallReader {
 public:
  bool has_begun() const override { return has_name_; }

  ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) override {
    while (!text.empty()) {
      const bool is_value =
          step_ == Step::kKey || step_ == Step::kName || step_ == Step::kArguments || step_ == Step::kOther;
      if (is_value) {
        const size_t count = scanner_.push(text);
        take_value(text.substr(0, count), parts);
        text.remove_prefix(count);
        if (scanner_.state() == ReadState::kBroken) return ReadState::kBroken;
        if (scanner_.state() == ReadState::kDone && !end_value(parts)) return ReadState::kBroken;
        continue;
      }
      const char c = text.front();
      if (!is_space(c)) {
        const ReadState state = punctuation(c, parts);
        if (state == ReadState::kBroken) return state;
        if (state == ReadState::kDone) {
          text.remove_prefix(1);
          return state;
        }
        if (step_ == Step::kKey || (step_ != Step::kColon && begins_value_)) {
          begins_value_ = false;
          continue;  // the scanner takes this byte
        }
      }
      text.remove_prefix(1);
    }
    return ReadState::kMore;
  }

 private:
  enum class Step : uint8_t { kObject, kMember, kKey, kColon, kValue, kName, kArguments, kOther };

  // One character between values.
  ReadState punctuation(char c, std::vector<AnswerPart>& parts) {
    switch (step_) {
      case Step::kObject:
        if (c != '{') return ReadState::kBroken;
        step_ = Step::kMember;
        return ReadState::kMore;
      case Step::kMember:
        if (c == ',') return ReadState::kMore;
        if (c == '}') return --depth_ == 0 ? end_object(parts) : ReadState::kMore;
        if (c != '"') return ReadState::kBroken;
        begin(Step::kKey);
        return ReadState::kMore;
      case Step::kColon:
        if (c != ':') return ReadState::kBroken;
        step_ = Step::kValue;
        return ReadState::kMore;
      default: return begin_value(c);
    }
  }

  ReadState begin_value(char c) {
    if (key_ == "\"function\"" && c == '{') {
      ++depth_;
      step_ = Step::kMember;
      return ReadState::kMore;
    }
    begins_value_ = true;
    if (is_one_of(key_, kNameKeys) && !has_name_) {
      if (c != '"') return ReadState::kBroken;
      begin(Step::kName);
    } else if (is_one_of(key_, kArgumentsKeys) && !has_arguments_) {
      has_arguments_ = true;
      is_quoted_ = c == '"';
      begin(Step::kArguments);
    } else {
      begin(Step::kOther);
    }
    return ReadState::kMore;
  }

  void begin(Step step) {
    step_ = step;
    scanner_ = JsonScanner();
    value_.clear();
    value_bytes_ = 0;
  }

  void take_value(std::string_view bytes, std::vector<AnswerPart>& parts) {
    value_bytes_ += bytes.size();
    if (step_ == Step::kArguments && !is_quoted_) {
      if (has_name_ && !is_null_prefix(bytes)) {
        add_part(parts, AnswerPartKind::kArguments, early_);
        early_.clear();
        add_part(parts, AnswerPartKind::kArguments, bytes);
      } else {
        early_ += bytes;
      }
    } else if (step_ == Step::kArguments || (step_ != Step::kOther && value_.size() <= kMaxNameBytes)) {
      value_ += bytes;
    }
  }

  // Arguments that may yet be null, which means none.
  bool is_null_prefix(std::string_view bytes) const {
    const std::string so_far = early_ + std::string(bytes.substr(0, 4));
    return value_bytes_ <= 4 && std::string_view("null").starts_with(so_far);
  }

  bool end_value(std::vector<AnswerPart>& parts) {
    const Step ended = std::exchange(step_, Step::kMember);
    switch (ended) {
      case Step::kKey:
        step_ = Step::kColon;
        key_ = value_.size() <= kMaxKeyBytes ? value_ : "";
        return true;
      case Step::kName:
        if (value_.size() > kMaxNameBytes) return false;
        has_name_ = true;
        add_part(parts, AnswerPartKind::kToolCall, decoded(value_));
        if (!has_arguments_) return true;
        [[fallthrough]];
      case Step::kArguments:
        if (ended == Step::kArguments && is_quoted_) early_ = decoded(value_);
        if (!has_name_) return true;
        if (early_ == "null") early_ = "{}";
        add_part(parts, AnswerPartKind::kArguments, early_);
        early_.clear();
        return true;
      default: return true;
    }
  }

  ReadState end_object(std::vector<AnswerPart>& parts) {
    if (!has_name_) return ReadState::kBroken;
    if (!has_arguments_) add_part(parts, AnswerPartKind::kArguments, "{}");
    return ReadState::kDone;
  }

  Step step_ = Step::kObject;
  int depth_ = 1;
  bool begins_value_ = false;  // the character just seen is the value's first
  bool has_name_ = false;
  bool has_arguments_ = false;
  bool is_quoted_ = false;  // the arguments are a string that holds JSON
  JsonScanner scanner_;
  std::string key_;    // with its quotes
  std::string value_;  // of a key or a name; of quoted arguments
  size_t value_bytes_ = 0;
  std::string early_;  // arguments before the name
};

class HeadedCallReader : public CallReader {
 public:
  explicit HeadedCallReader(NameOfHead name_of) : name_of_(name_of) {}

  bool has_begun() const override { return has_begun_; }

  ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) override {
    if (!has_begun_) {
      const size_t end = std::min(text.find('{'), text.size());
      head_ += text.substr(0, end);
      text.remove_prefix(end);
      if (head_.size() > kMaxNameBytes) return ReadState::kBroken;
      if (text.empty()) return ReadState::kMore;
      const std::string_view name = name_of_(head_);
      if (name.empty()) return ReadState::kBroken;
      has_begun_ = true;
      add_part(parts, AnswerPartKind::kToolCall, name);
    }
    const size_t count = scanner_.push(text);
    add_part(parts, AnswerPartKind::kArguments, text.substr(0, count));
    text.remove_prefix(count);
    return scanner_.state();
  }

 private:
  const NameOfHead name_of_;
  std::string head_;
  bool has_begun_ = false;
  JsonScanner scanner_;
};

}  // namespace

size_t JsonScanner::push(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && state_ == ReadState::kMore && take(text[count])) ++count;
  return count;
}

bool JsonScanner::take(char c) {
  if (in_string_) {
    if (is_escaped_) {
      is_escaped_ = false;
    } else if (c == '\\') {
      is_escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      if (open_.empty()) state_ = ReadState::kDone;
    }
    return true;
  }
  constexpr std::string_view kScalar = "+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  if (open_.empty() && has_begun_ && kScalar.find(c) == std::string_view::npos) {
    state_ = ReadState::kDone;  // a number or a word ends before what cannot belong to it
    return false;
  }
  has_begun_ = true;
  switch (c) {
    case '"': in_string_ = true; return true;
    case '{':
    case '[': open_ += c; return true;
    case '}':
    case ']':
      if (open_.empty() || open_.back() != (c == '}' ? '{' : '[')) break;
      open_.pop_back();
      if (open_.empty()) state_ = ReadState::kDone;
      return true;
    case ',':
    case ':':
      if (open_.empty()) break;
      return true;
    default:
      if (!is_space(c) && kScalar.find(c) == std::string_view::npos) break;
      return true;
  }
  state_ = ReadState::kBroken;
  return false;
}

std::unique_ptr<CallReader> make_json_call_reader() { return std::make_unique<JsonCallReader>(); }
std::unique_ptr<CallReader> make_headed_call_reader(NameOfHead name_of) {
  return std::make_unique<HeadedCallReader>(name_of);
}

}  // namespace quire
