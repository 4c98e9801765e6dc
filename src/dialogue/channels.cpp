#include "dialogue/channels.h"

#include <algorithm>
#include <string>
#include <utility>

#include "dialogue/tool_formats/call_reader.h"

namespace quire {
namespace {

using namespace channels;

constexpr size_t kMaxHeadBytes = 512;
constexpr std::string_view kRecipient = "to=";
constexpr std::string_view kFunctions = "functions.";
constexpr std::string_view kBetweenMessages = "\n\n";  // of one kind
constexpr std::array kHeads = {kChannel, kStart, kRecipient};
constexpr std::array kEnds = {kEnd, kCall, kReturn, kStart, kChannel};

std::string_view word_of(std::string_view text) { return text.substr(0, text.find_first_of(" <\n\r\t")); }

std::string_view channel_of(std::string_view head) {
  const size_t at = head.rfind(kChannel);
  return at == std::string_view::npos ? "" : word_of(head.substr(at + kChannel.size()));
}

// The tool that a message is for; empty for one to the user.
std::string_view tool_of(std::string_view head) {
  const size_t at = head.find(kRecipient);
  if (at == std::string_view::npos) return {};
  std::string_view name = word_of(head.substr(at + kRecipient.size()));
  if (name == "assistant" || name == "user") return {};
  if (name.starts_with(kFunctions)) name.remove_prefix(kFunctions.size());
  return name;
}

class ChannelParser : public OutputParser {
 public:
  explicit ChannelParser(std::unique_ptr<OutputParser> answer) : answer_(std::move(answer)) {}

  bool is_reasoning() const override { return step_ == Step::kBody && kind_ == Kind::kReasoning; }

  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    held_ += text;
    run(parts, /*is_end=*/false);
  }

  void finish(std::vector<AnswerPart>& parts) override {
    run(parts, /*is_end=*/true);
    if (step_ == Step::kBody) end_message(parts);
    if (answer_ != nullptr) answer_->finish(parts);
  }

 private:
  enum class Step : uint8_t {
    kStart,  // a head may begin
    kHead,
    kBody,
  };
  enum class Kind : uint8_t { kContent, kReasoning, kCall };

  void run(std::vector<AnswerPart>& parts, bool is_end) {
    std::string_view text = held_;
    while (!text.empty() && advance(text, parts, is_end)) {
    }
    held_.erase(0, held_.size() - text.size());
  }

  // Takes text from the front. False: more is needed.
  bool advance(std::string_view& text, std::vector<AnswerPart>& parts, bool is_end) {
    switch (step_) {
      case Step::kStart: return start(text, is_end);
      case Step::kHead: return head(text, parts, is_end);
      case Step::kBody: return body(text, parts, is_end);
    }
    return false;
  }

  bool start(std::string_view text, bool is_end) {
    text.remove_prefix(std::min(text.find_first_not_of(" \n\r\t"), text.size()));
    const auto begins = [&](std::string_view mark) { return text.starts_with(mark); };
    const auto may_begin = [&](std::string_view mark) { return mark.starts_with(text); };
    if (std::ranges::any_of(kHeads, begins)) {
      step_ = Step::kHead;
    } else if (!is_end && std::ranges::any_of(kHeads, may_begin)) {
      return false;
    } else {
      begin_message(Kind::kContent);
    }
    return true;
  }

  bool head(std::string_view& text, std::vector<AnswerPart>& parts, bool is_end) {
    const size_t end = text.substr(0, kMaxHeadBytes).find(kMessage);
    if (end != std::string_view::npos) {
      read_head(text.substr(0, end), parts);
      text.remove_prefix(end + kMessage.size());
      return true;
    }
    if (text.size() < kMaxHeadBytes && !is_end) return false;
    // No head. Of one that breaks off at the end of the answer nothing is told.
    begin_message(Kind::kContent);
    const size_t size = std::min(text.size(), kMaxHeadBytes);
    if (!is_end || trimmed(text).starts_with(kRecipient)) tell(text.substr(0, size), parts);
    text.remove_prefix(size);
    return true;
  }

  void read_head(std::string_view head, std::vector<AnswerPart>& parts) {
    const std::string_view tool = tool_of(head);
    if (tool.empty()) {
      return begin_message(channel_of(head) == "analysis" && answer_ != nullptr ? Kind::kReasoning : Kind::kContent);
    }
    begin_message(Kind::kCall);
    if (answer_ == nullptr) return add_part(parts, AnswerPartKind::kToolCall, tool);
    std::string written{"<|channel|>commentary to=functions."};
    written += tool;
    written += kMessage;
    answer_->push(written, parts);
  }

  bool body(std::string_view& text, std::vector<AnswerPart>& parts, bool is_end) {
    const size_t mark_at = std::min(text.find('<'), text.size());
    if (mark_at > 0) {
      tell(text.substr(0, mark_at), parts);
      text.remove_prefix(mark_at);
      return true;
    }
    for (const std::string_view mark : kEnds) {
      if (!text.starts_with(mark)) {
        if (!is_end && mark.starts_with(text)) return false;
        continue;
      }
      end_message(parts);
      const bool begins_head = mark == kStart || mark == kChannel;
      if (!begins_head) text.remove_prefix(mark.size());
      step_ = begins_head ? Step::kHead : Step::kStart;
      return true;
    }
    tell(text.substr(0, 1), parts);
    text.remove_prefix(1);
    return true;
  }

  void begin_message(Kind kind) {
    step_ = Step::kBody;
    kind_ = kind;
    has_text_ = false;
  }

  void tell(std::string_view text, std::vector<AnswerPart>& parts) {
    const bool is_first = !std::exchange(has_text_, true);
    if (kind_ == Kind::kReasoning) {
      if (is_first && std::exchange(has_reasoning_, true))
        add_part(parts, AnswerPartKind::kReasoning, kBetweenMessages);
      return add_part(parts, AnswerPartKind::kReasoning, text);
    }
    if (kind_ == Kind::kContent && is_first && std::exchange(has_content_, true)) add(kBetweenMessages, parts);
    add(text, parts);
  }

  void add(std::string_view text, std::vector<AnswerPart>& parts) {
    if (answer_ != nullptr) return answer_->push(text, parts);
    add_part(parts, kind_ == Kind::kCall ? AnswerPartKind::kArguments : AnswerPartKind::kContent, text);
  }

  void end_message(std::vector<AnswerPart>& parts) {
    if (kind_ != Kind::kCall) return;
    if (answer_ != nullptr) return answer_->push(kCall, parts);
    if (!has_text_) add_part(parts, AnswerPartKind::kArguments, "{}");
  }

  const std::unique_ptr<OutputParser> answer_;  // null: calls are told here
  Step step_ = Step::kStart;
  Kind kind_ = Kind::kContent;  // of the current message
  std::string held_;
  bool has_text_ = false;  // of the current message, something was told
  bool has_reasoning_ = false;
  bool has_content_ = false;
};

}  // namespace

std::unique_ptr<OutputParser> make_channel_reasoning_parser(std::unique_ptr<OutputParser> answer) {
  return std::make_unique<ChannelParser>(std::move(answer));
}

std::unique_ptr<OutputParser> make_channel_call_parser() { return std::make_unique<ChannelParser>(nullptr); }

}  // namespace quire
