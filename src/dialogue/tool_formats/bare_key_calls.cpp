#include "dialogue/tool_formats/bare_key_calls.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "dialogue/tool_formats/json_calls.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxBareBytes = 4096;  // of a key, a number or a word
constexpr std::string_view kCall = "call:";

void append_escaped(std::string& out, std::string_view text) {
  const std::string quoted = json::serialize(json::string(text));
  out.append(quoted, 1, quoted.size() - 2);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  append_escaped(out, text);
  return out + '"';
}

// A number or a word as JSON; what is none is a string.
std::string scalar(std::string_view text) {
  try {
    const json::value value = parse_json(text, "an argument");
    if (!value.is_string()) return std::string(text);
  } catch (const Error&) {
  }
  return quoted(text);
}

class BareKeyCallReader : public CallReader {
 public:
  explicit BareKeyCallReader(std::string_view quote) : quote_(quote) {}

  bool has_begun() const override { return step_ != Step::kHead; }

  ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) override {
    ReadState state = ReadState::kMore;
    std::string out;
    while (!text.empty() && state == ReadState::kMore) {
      const size_t size = text.size();
      const Step step = step_;
      state = step_ == Step::kHead ? head(text, parts) : argument(text, out);
      if (text.size() == size && step_ == step && state == ReadState::kMore) break;
    }
    add_part(parts, AnswerPartKind::kArguments, out);
    return state;
  }

 private:
  enum class Step : uint8_t {
    kHead,
    kKey,  // or the end of an object
    kBareKey,
    kColon,
    kValue,  // or the end of a list
    kString,
    kJsonString,
    kScalar,
    kAfter,  // a value
  };

  ReadState head(std::string_view& text, std::vector<AnswerPart>& parts) {
    const size_t end = std::min(text.find('{'), text.size());
    held_ += text.substr(0, end);
    text.remove_prefix(end);
    if (held_.size() > kMaxNameBytes) return ReadState::kBroken;
    if (text.empty()) return ReadState::kMore;
    const std::string_view name = trimmed(held_);
    if (!name.starts_with(kCall) || name.size() == kCall.size()) return ReadState::kBroken;
    add_part(parts, AnswerPartKind::kToolCall, name.substr(kCall.size()));
    held_.clear();
    step_ = Step::kValue;
    return ReadState::kMore;
  }

  ReadState argument(std::string_view& text, std::string& out) {
    switch (step_) {
      case Step::kString: return string(text, out);
      case Step::kJsonString: return json_string(text, out);
      case Step::kScalar: return bare_value(text, out);
      case Step::kBareKey: return bare_key(text, out);
      default: break;
    }
    const char c = text.front();
    if (is_space(c)) {
      text.remove_prefix(1);
      return ReadState::kMore;
    }
    switch (step_) {
      case Step::kKey: return c == '}' ? close(text, out) : begin(text, out, Step::kBareKey);
      case Step::kValue:
        if (c == '{' || c == '[') return open(text, out);
        return c == ']' ? close(text, out) : begin(text, out, Step::kScalar);
      case Step::kColon:
        if (c != ':') return ReadState::kBroken;
        text.remove_prefix(1);
        out += ": ";
        step_ = Step::kValue;
        return ReadState::kMore;
      default: return after(text, out);
    }
  }

  // A key or a value that is not a list or an object. `bare`: what it is without quotes.
  ReadState begin(std::string_view& text, std::string& out, Step bare) {
    if (text.size() < quote_.size() && quote_.starts_with(text)) return ReadState::kMore;
    is_key_ = bare == Step::kBareKey;
    separate(out);
    if (text.starts_with(quote_)) {
      text.remove_prefix(quote_.size());
      out += '"';
      step_ = Step::kString;
    } else if (text.front() == '"') {
      scanner_ = JsonScanner();
      step_ = Step::kJsonString;
    } else {
      step_ = bare;
    }
    return ReadState::kMore;
  }

  ReadState open(std::string_view& text, std::string& out) {
    const char bracket = text.front();
    separate(out);
    out += bracket;
    open_ += bracket;
    text.remove_prefix(1);
    step_ = bracket == '{' ? Step::kKey : Step::kValue;
    return ReadState::kMore;
  }

  ReadState close(std::string_view& text, std::string& out) {
    if (open_.back() != (text.front() == '}' ? '{' : '[')) return ReadState::kBroken;
    out += text.front();
    text.remove_prefix(1);
    open_.pop_back();
    needs_comma_ = false;
    step_ = Step::kAfter;
    return open_.empty() ? ReadState::kDone : ReadState::kMore;
  }

  ReadState after(std::string_view& text, std::string& out) {
    const char c = text.front();
    if (c == '}' || c == ']') return close(text, out);
    if (c != ',') return ReadState::kBroken;
    text.remove_prefix(1);
    needs_comma_ = true;
    step_ = open_.back() == '{' ? Step::kKey : Step::kValue;
    return ReadState::kMore;
  }

  void separate(std::string& out) {
    if (std::exchange(needs_comma_, false)) out += ", ";
  }

  void end_quoted() { step_ = is_key_ ? Step::kColon : Step::kAfter; }

  ReadState string(std::string_view& text, std::string& out) {
    const size_t end = text.find(quote_);
    append_escaped(out, text.substr(0, end == std::string_view::npos ? certain_bytes(text) : end));
    if (end == std::string_view::npos) {
      text.remove_prefix(certain_bytes(text));
      return ReadState::kMore;
    }
    text.remove_prefix(end + quote_.size());
    out += '"';
    end_quoted();
    return ReadState::kMore;
  }

  // Bytes before what may become the mark that ends the string.
  size_t certain_bytes(std::string_view text) const {
    for (size_t size = std::min(quote_.size() - 1, text.size()); size > 0; --size) {
      if (quote_.starts_with(text.substr(text.size() - size))) return text.size() - size;
    }
    return text.size();
  }

  ReadState json_string(std::string_view& text, std::string& out) {
    const size_t count = scanner_.push(text);
    out += text.substr(0, count);
    text.remove_prefix(count);
    if (scanner_.state() != ReadState::kDone) return scanner_.state();
    end_quoted();
    return ReadState::kMore;
  }

  ReadState bare_key(std::string_view& text, std::string& out) {
    if (!hold(text, ":,{}[]")) return text.empty() ? ReadState::kMore : ReadState::kBroken;
    if (text.front() != ':') return ReadState::kBroken;
    out += quoted(trimmed(held_));
    held_.clear();
    step_ = Step::kColon;
    return ReadState::kMore;
  }

  ReadState bare_value(std::string_view& text, std::string& out) {
    if (!hold(text, ",}]")) return text.empty() ? ReadState::kMore : ReadState::kBroken;
    out += scalar(trimmed(held_));
    held_.clear();
    step_ = Step::kAfter;
    return ReadState::kMore;
  }

  // Takes what comes before one of `ends`. False: none came yet, or text is left, as too much came.
  bool hold(std::string_view& text, std::string_view ends) {
    const size_t end = std::min(text.find_first_of(ends), text.size());
    if (held_.size() + end > kMaxBareBytes) return false;
    held_ += text.substr(0, end);
    text.remove_prefix(end);
    return !text.empty();
  }

  const std::string_view quote_;
  Step step_ = Step::kHead;
  std::string held_;  // of a head, a key or a value
  std::string open_;  // brackets, outermost first
  bool is_key_ = false;
  bool needs_comma_ = false;
  JsonScanner scanner_;
};

}  // namespace

std::unique_ptr<CallReader> make_bare_key_call_reader(std::string_view quote) {
  return std::make_unique<BareKeyCallReader>(quote);
}

}  // namespace quire
