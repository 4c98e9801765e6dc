#include "dialogue/reasoning.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dialogue/channels.h"
#include "dialogue/tool_formats/call_reader.h"

namespace quire {
namespace {

using namespace std::string_view_literals;

constexpr std::array kThinkAliases = {"deepseek_r1"sv, "deepseek_v3"sv,  "glm45"sv,       "granite"sv,
                                      "holo2"sv,       "hunyuan_a13b"sv, "nemotron_v3"sv, "step3"sv,
                                      "minimax_m2"sv,  "kimi_k2"sv,      "qwq"sv,         "qwen3"sv};

constexpr std::array kHarmonyAliases = {"openai_gptoss"sv, "gpt_oss"sv};

constexpr std::array kFormats = {
    ReasoningFormat{.name = "harmony",
                    .aliases = kHarmonyAliases,
                    .begin = "<|channel|>analysis<|message|>",
                    .end = channels::kEnd,
                    .has_channels = true,
                    .next = channels::kNextMessage,
                    .opening = channels::kFinal},
    ReasoningFormat{"gemma4", {}, "<|channel>thought", "<channel|>"},
    ReasoningFormat{"mistral", {}, "[THINK]", "[/THINK]"},
    ReasoningFormat{"seed_oss", {}, "<seed:think>", "</seed:think>"},
    ReasoningFormat{"cohere", {}, "<|START_THINKING|>", "<|END_THINKING|>"},
    ReasoningFormat{"think", kThinkAliases, "<think>", "</think>"},
};

class PlainParser : public OutputParser {
 public:
  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    add_part(parts, AnswerPartKind::kContent, text);
  }
  void finish(std::vector<AnswerPart>&) override {}
};

class ReasoningParser : public OutputParser {
 public:
  ReasoningParser(const ReasoningFormat& format, bool is_open, std::unique_ptr<OutputParser> answer)
      : format_(format), answer_(std::move(answer)), step_(is_open ? Step::kReasoning : Step::kStart) {}

  bool is_reasoning() const override { return step_ == Step::kReasoning; }

  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    if (step_ == Step::kAnswer) return answer_->push(text, parts);
    held_ += text;
    if (step_ == Step::kStart) start(parts);
    if (step_ == Step::kReasoning) reason(parts);
    if (step_ == Step::kBehind) behind(parts);
  }

  void finish(std::vector<AnswerPart>& parts) override {
    if (step_ == Step::kReasoning) add_part(parts, AnswerPartKind::kReasoning, trimmed_end(held_));
    if (step_ == Step::kStart) answer_->push(held_, parts);
    held_.clear();
    answer_->finish(parts);
  }

 private:
  enum class Step : uint8_t {
    kStart,  // reasoning may begin
    kReasoning,
    kBehind,  // space between reasoning and the answer
    kAnswer,
  };

  static std::string_view trimmed_end(std::string_view text) {
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
  }

  void start(std::vector<AnswerPart>& parts) {
    const size_t first = std::min(held_.find_first_not_of(" \n\r\t"), held_.size());
    const std::string_view text = std::string_view(held_).substr(first);
    if (text.starts_with(format_.begin)) {
      held_.erase(0, first + format_.begin.size());
      step_ = Step::kReasoning;
    } else if (!format_.begin.starts_with(text)) {
      step_ = Step::kAnswer;
      answer_->push(std::exchange(held_, {}), parts);
    }
  }

  // Tells what is certain to be reasoning: not the space before the end mark, nor what may become that mark. What was
  // searched for the mark is not searched again.
  void reason(std::vector<AnswerPart>& parts) {
    if (!has_text_) held_.erase(0, std::min(held_.find_first_not_of(" \n\r\t"), held_.size()));
    const size_t end = held_.find(format_.end, searched_);
    if (end != std::string::npos) {
      add_part(parts, AnswerPartKind::kReasoning, trimmed_end(std::string_view(held_).substr(0, end)));
      held_.erase(0, end + format_.end.size());
      step_ = Step::kBehind;
      return;
    }
    size_t certain = held_.size();
    for (size_t size = std::min(format_.end.size() - 1, held_.size()); size > 0; --size) {
      if (format_.end.starts_with(std::string_view(held_).substr(held_.size() - size))) {
        certain = held_.size() - size;
        break;
      }
    }
    const std::string_view told = trimmed_end(std::string_view(held_).substr(0, certain));
    has_text_ = has_text_ || !told.empty();
    searched_ = certain - told.size();
    add_part(parts, AnswerPartKind::kReasoning, told);
    held_.erase(0, told.size());
  }

  void behind(std::vector<AnswerPart>& parts) {
    held_.erase(0, std::min(held_.find_first_not_of(" \n\r\t"), held_.size()));
    if (held_.empty()) return;
    step_ = Step::kAnswer;
    answer_->push(std::exchange(held_, {}), parts);
  }

  const ReasoningFormat& format_;
  const std::unique_ptr<OutputParser> answer_;
  Step step_;
  std::string held_;
  size_t searched_ = 0;    // bytes of held_ in which no end mark begins
  bool has_text_ = false;  // some reasoning was told
};

}  // namespace

std::span<const ReasoningFormat> reasoning_formats() { return kFormats; }

const ReasoningFormat* find_reasoning_format(std::string_view name) {
  for (const ReasoningFormat& format : kFormats) {
    const bool is_alias = std::find(format.aliases.begin(), format.aliases.end(), name) != format.aliases.end();
    if (format.name == name || is_alias) return &format;
  }
  return nullptr;
}

const ReasoningFormat* detect_reasoning_format(std::string_view chat_template) {
  for (const ReasoningFormat& format : kFormats) {
    // The end of a channel is also that of messages in other formats.
    if (chat_template.find(format.begin) != std::string_view::npos ||
        (!format.has_channels && chat_template.find(format.end) != std::string_view::npos)) {
      return &format;
    }
  }
  return nullptr;
}

std::string reasoning_format_names() {
  std::string out;
  for (const ReasoningFormat& format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format.name);
  return out;
}

bool opens_reasoning(const ReasoningFormat& format, std::string_view prompt_end) {
  while (!prompt_end.empty() && is_space(prompt_end.back())) prompt_end.remove_suffix(1);
  return prompt_end.ends_with(format.begin);
}

std::unique_ptr<OutputParser> make_reasoning_parser(const ReasoningFormat& format, bool is_open,
                                                    std::unique_ptr<OutputParser> answer) {
  if (format.has_channels) return make_channel_reasoning_parser(std::move(answer));
  return std::make_unique<ReasoningParser>(format, is_open, std::move(answer));
}

std::unique_ptr<OutputParser> make_plain_parser() { return std::make_unique<PlainParser>(); }

}  // namespace quire
