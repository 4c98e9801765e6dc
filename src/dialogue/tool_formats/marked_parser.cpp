#include "dialogue/tool_formats/marked_parser.h"

#include <algorithm>
#include <utility>

namespace quire {
namespace {

enum class MarkKind : uint8_t { kNone, kBegin, kEnd, kSilent };

class MarkedParser : public OutputParser {
 public:
  MarkedParser(const CallMarks& marks, MakeCallReader make_reader, std::span<const Tool> tools)
      : marks_(marks), make_reader_(std::move(make_reader)), tools_(tools) {
    for (const auto& list : {marks_.begins, marks_.ends, marks_.silent}) {
      for (const std::string_view mark : list) {
        if (first_bytes_.find(mark.front()) == std::string::npos) first_bytes_ += mark.front();
      }
    }
  }

  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    pending_ += text;
    run(parts, /*is_end=*/false);
  }

  void finish(std::vector<AnswerPart>& parts) override {
    run(parts, /*is_end=*/true);
    // What may have been a call is none.
    if (step_ == Step::kOpening || (step_ == Step::kCall && !reader_->has_begun())) add_content(raw_, parts);
    tell_space(parts);
  }

 private:
  enum class Step : uint8_t {
    kStart,  // nothing but space yet: a call may begin without a mark
    kContent,
    kOpening,  // after a begin mark, before the call's first character
    kCall,
    kAfter,  // after a call: the next one of a list, or the end
    kSkip,   // the rest of a broken call
  };
  struct Found {
    MarkKind kind = MarkKind::kNone;
    size_t size = 0;       // of the mark
    bool is_open = false;  // the text ends within what may become a mark
  };

  void run(std::vector<AnswerPart>& parts, bool is_end) {
    std::string_view text = pending_;
    while (!text.empty() && advance(text, parts, is_end)) {
    }
    pending_.erase(0, pending_.size() - text.size());
  }

  // Takes text from the front. False: more is needed.
  bool advance(std::string_view& text, std::vector<AnswerPart>& parts, bool is_end) {
    switch (step_) {
      case Step::kStart: return start(text);
      case Step::kContent: return content(text, parts, is_end);
      case Step::kOpening: return opening(text, parts);
      case Step::kCall: return call(text, parts);
      default: return after(text, is_end);
    }
  }

  bool start(std::string_view& text) {
    const char c = text.front();
    if (is_space(c)) {
      space_ += c;
      text.remove_prefix(1);
      return true;
    }
    if (marks_.bare.find(c) == std::string_view::npos) {
      step_ = Step::kContent;
      return true;
    }
    is_marked_ = false;
    begin_opening("");
    return true;
  }

  bool content(std::string_view& text, std::vector<AnswerPart>& parts, bool is_end) {
    const size_t plain = std::min(text.find_first_of(first_bytes_), text.size());
    if (plain > 0) {
      add_content(text.substr(0, plain), parts);
      text.remove_prefix(plain);
      return true;
    }
    const Found found = mark_at(text);
    if (found.is_open && !is_end) return false;
    const std::string_view taken = text.substr(0, std::max<size_t>(found.size, 1));
    text.remove_prefix(taken.size());
    if (found.kind == MarkKind::kBegin) {
      is_marked_ = true;
      begin_opening(taken);
    } else if (found.kind == MarkKind::kNone || (found.kind == MarkKind::kEnd && !has_calls_)) {
      add_content(taken, parts);
    }
    return true;
  }

  bool opening(std::string_view& text, std::vector<AnswerPart>& parts) {
    const char c = text.front();
    if (is_space(c) || (c == '[' && !in_list_)) {
      in_list_ = in_list_ || c == '[';
      raw_ += c;
      text.remove_prefix(1);
      return true;
    }
    if (c == ']' && in_list_ && is_marked_) {  // a list without calls
      step_ = Step::kAfter;
      return true;
    }
    reader_ = make_reader_(c, in_list_, tools_);
    if (reader_ == nullptr) {
      give_up(parts);
    } else {
      step_ = Step::kCall;
    }
    return true;
  }

  bool call(std::string_view& text, std::vector<AnswerPart>& parts) {
    const std::string_view before = text;
    const size_t num_parts = parts.size();
    const ReadState state = reader_->push(text, parts);
    if (!reader_->has_begun()) {
      raw_ += before.substr(0, before.size() - text.size());
    } else if (!std::exchange(is_named_, true)) {
      // Without a mark, only the name tells a call from an answer in JSON.
      if (!is_marked_ && !is_known(parts[num_parts].text)) {
        parts.resize(num_parts);
        raw_ += before.substr(0, before.size() - text.size());
        give_up(parts);
        return true;
      }
      has_calls_ = true;
      follows_call_ = true;
      space_.clear();  // between the content and the call
    }
    if (state == ReadState::kMore) return false;
    if (state == ReadState::kBroken && !reader_->has_begun()) {
      give_up(parts);
    } else {
      step_ = state == ReadState::kDone || marks_.ends.empty() ? Step::kAfter : Step::kSkip;
      reader_.reset();
      raw_.clear();
      is_named_ = false;
    }
    return true;
  }

  bool after(std::string_view& text, bool is_end) {
    const char c = text.front();
    const Found found = mark_at(text);
    if (found.is_open && !is_end) return false;
    if (found.kind != MarkKind::kNone) {
      const std::string_view mark = text.substr(0, found.size);
      text.remove_prefix(found.size);
      if (found.kind == MarkKind::kBegin) {
        is_marked_ = true;
        begin_opening(mark);
      } else if (found.kind == MarkKind::kEnd) {
        step_ = Step::kContent;
      }
      return true;
    }
    if (step_ == Step::kAfter && !is_space(c) && (in_list_ || c == '{')) {
      reader_ = make_reader_(c, in_list_, tools_);
      if (reader_ != nullptr) {
        step_ = Step::kCall;
        return true;
      }
    }
    if (marks_.ends.empty() || !is_marked_) {
      const bool is_between = is_space(c) || c == ',' || c == ';' || (c == ']' && in_list_);
      if (!is_between) {
        step_ = Step::kContent;
        return true;
      }
      in_list_ = in_list_ && c != ']';
    }
    text.remove_prefix(1);
    return true;
  }

  void begin_opening(std::string_view mark) {
    step_ = Step::kOpening;
    raw_ = mark;
    in_list_ = false;
    is_named_ = false;
  }

  // What looked like a call is content.
  void give_up(std::vector<AnswerPart>& parts) {
    reader_.reset();
    is_named_ = false;
    step_ = Step::kContent;
    add_content(std::exchange(raw_, {}), parts);
  }

  // Space at its end waits: between content and calls it belongs to neither.
  void add_content(std::string_view text, std::vector<AnswerPart>& parts) {
    if (follows_call_) text.remove_prefix(std::min(text.find_first_not_of(" \n\r\t"), text.size()));
    size_t end = text.size();
    while (end > 0 && is_space(text[end - 1])) --end;
    if (end > 0) {
      tell_space(parts);
      follows_call_ = false;
      add_part(parts, AnswerPartKind::kContent, text.substr(0, end));
    }
    space_ += text.substr(end);
  }

  void tell_space(std::vector<AnswerPart>& parts) {
    if (!follows_call_) add_part(parts, AnswerPartKind::kContent, space_);
    space_.clear();
  }

  bool is_known(std::string_view name) const {
    return std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
  }

  // The longest mark that `text` begins with.
  Found mark_at(std::string_view text) const {
    Found found;
    const auto look = [&](std::span<const std::string_view> marks, MarkKind kind) {
      for (const std::string_view mark : marks) {
        if (text.starts_with(mark)) {
          if (mark.size() > found.size) found = {.kind = kind, .size = mark.size(), .is_open = found.is_open};
        } else if (mark.starts_with(text)) {
          found.is_open = true;
        }
      }
    };
    look(marks_.begins, MarkKind::kBegin);
    look(marks_.ends, MarkKind::kEnd);
    look(marks_.silent, MarkKind::kSilent);
    return found;
  }

  const CallMarks marks_;
  const MakeCallReader make_reader_;
  const std::span<const Tool> tools_;
  std::string first_bytes_;  // of all marks

  Step step_ = Step::kStart;
  std::string pending_;
  std::string space_;  // at the end of the content
  std::string raw_;    // since the begin mark, while it may still be content
  std::unique_ptr<CallReader> reader_;
  bool is_marked_ = false;
  bool in_list_ = false;
  bool is_named_ = false;  // the current call's name was told
  bool has_calls_ = false;
  bool follows_call_ = false;  // no content was told since the last call
};

}  // namespace

std::unique_ptr<OutputParser> make_marked_parser(const CallMarks& marks, MakeCallReader make_reader,
                                                 std::span<const Tool> tools) {
  return std::make_unique<MarkedParser>(marks, std::move(make_reader), tools);
}

}  // namespace quire
