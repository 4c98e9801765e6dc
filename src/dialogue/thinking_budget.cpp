#include "dialogue/thinking_budget.h"

#include <algorithm>
#include <string>
#include <utility>

#include "dialogue/tool_formats/call_reader.h"

namespace quire {
namespace {

// What every choice of a request shares.
struct Bound {
  Tokenizer tokenizer;
  std::string_view begin, end;      // the marks
  std::vector<int32_t> end_tokens;  // of the end mark
  std::vector<int32_t> eog_ids;
  ThinkingBudget budget;
};

class BoundedThinking : public TokenConstraint {
 public:
  BoundedThinking(std::shared_ptr<const Bound> bound, std::unique_ptr<TokenConstraint> answer)
      : bound_(std::move(bound)), answer_(std::move(answer)) {
    if (bound_->budget.is_open) begin_thinking();
  }

  void fill_mask(std::span<uint64_t> mask) override {
    if (step_ == Step::kEnding) {
      std::fill(mask.begin(), mask.end(), 0);
      const auto id = static_cast<size_t>(bound_->end_tokens[num_forced_]);
      mask[id / 64] |= uint64_t{1} << (id % 64);
    } else if (answer_ != nullptr) {
      answer_->fill_mask(mask);
    } else {
      std::fill(mask.begin(), mask.end(), ~uint64_t{0});
    }
  }

  void accept(int32_t token) override {
    if (answer_ != nullptr) answer_->accept(token);
    has_ended_ =
        has_ended_ || std::find(bound_->eog_ids.begin(), bound_->eog_ids.end(), token) != bound_->eog_ids.end();
    switch (step_) {
      case Step::kBefore: return before(token);
      case Step::kThinking: return think(token);
      case Step::kEnding:
        if (++num_forced_ == bound_->end_tokens.size()) step_ = Step::kAnswer;
        return;
      case Step::kAnswer: return;
    }
  }

  bool is_complete() const override { return answer_ != nullptr ? answer_->is_complete() : has_ended_; }

  void guess(size_t limit, std::vector<int32_t>& tokens) override {
    if (step_ != Step::kEnding) {
      if (answer_ != nullptr) answer_->guess(limit, tokens);
      return;
    }
    for (size_t i = num_forced_; i < bound_->end_tokens.size() && i - num_forced_ < limit; ++i) {
      tokens.push_back(bound_->end_tokens[i]);
    }
  }

  size_t count_fitting(std::span<const int32_t> tokens) override {
    const size_t fitting = answer_ != nullptr ? answer_->count_fitting(tokens) : tokens.size();
    if (step_ != Step::kEnding) return fitting;
    const size_t num_forced = std::min(bound_->end_tokens.size() - num_forced_, tokens.size());
    const auto forced = std::span(bound_->end_tokens).subspan(num_forced_, num_forced);
    const auto same =
        static_cast<size_t>(std::mismatch(forced.begin(), forced.end(), tokens.begin()).first - forced.begin());
    return same < num_forced ? same : std::max(num_forced, fitting);
  }

 private:
  enum class Step : uint8_t {
    kBefore,  // reasoning may begin
    kThinking,
    kEnding,  // the end mark is being forced
    kAnswer,
  };

  // Reasoning begins where the text does, or never.
  void before(int32_t token) {
    text_ += bound_->tokenizer.token_bytes(token);
    const std::string_view text = trimmed(text_);
    if (text.starts_with(bound_->begin)) {
      begin_thinking();
    } else if (!bound_->begin.starts_with(text)) {
      step_ = Step::kAnswer;
    }
  }

  void begin_thinking() {
    text_.clear();
    step_ = bound_->budget.max_tokens > 0 ? Step::kThinking : Step::kEnding;
  }

  void think(int32_t token) {
    text_ += bound_->tokenizer.token_bytes(token);
    if (text_.find(bound_->end) != std::string::npos) {
      step_ = Step::kAnswer;
      return;
    }
    // Only what may be the beginning of the mark is kept.
    if (text_.size() >= bound_->end.size()) text_.erase(0, text_.size() - (bound_->end.size() - 1));
    if (++num_thought_ >= bound_->budget.max_tokens) step_ = Step::kEnding;
  }

  const std::shared_ptr<const Bound> bound_;
  const std::unique_ptr<TokenConstraint> answer_;
  Step step_ = Step::kBefore;
  std::string text_;
  int64_t num_thought_ = 0;
  size_t num_forced_ = 0;
  bool has_ended_ = false;
};

class BoundedThinkingSource : public ConstraintSource {
 public:
  BoundedThinkingSource(std::shared_ptr<const Bound> bound, std::shared_ptr<const ConstraintSource> answer)
      : bound_(std::move(bound)), answer_(std::move(answer)) {}
  std::unique_ptr<TokenConstraint> begin() const override {
    return std::make_unique<BoundedThinking>(bound_, answer_ != nullptr ? answer_->begin() : nullptr);
  }

 private:
  const std::shared_ptr<const Bound> bound_;
  const std::shared_ptr<const ConstraintSource> answer_;
};

}  // namespace

std::shared_ptr<const ConstraintSource> limit_thinking(const Tokenizer& tokenizer, const ReasoningFormat& format,
                                                       std::span<const int32_t> eog_ids, ThinkingBudget budget,
                                                       std::shared_ptr<const ConstraintSource> answer) {
  auto bound = std::make_shared<Bound>(Bound{.tokenizer = tokenizer,
                                             .begin = format.begin,
                                             .end = format.end,
                                             .end_tokens = tokenizer.encode(format.end, {.add_special_tokens = false}),
                                             .eog_ids = {eog_ids.begin(), eog_ids.end()},
                                             .budget = budget});
  return std::make_shared<BoundedThinkingSource>(std::move(bound), std::move(answer));
}

}  // namespace quire
