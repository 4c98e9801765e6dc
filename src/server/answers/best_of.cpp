#include "server/answers/best_of.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace quire {
namespace {

class BestOf : public AnswerWriter {
 public:
  BestOf(std::shared_ptr<AnswerWriter> to, int num_prompts, int num_made, int num_wanted)
      : to_(std::move(to)),
        num_made_(num_made),
        num_wanted_(num_wanted),
        choices_(static_cast<size_t>(num_prompts) * static_cast<size_t>(num_made)) {}

  void begin(ChoiceRange choices, std::span<const int32_t> prompt, std::span<const SampledToken> logprobs) override {
    to_->begin({.first = choices.first / num_made_ * num_wanted_, .count = num_wanted_}, prompt, logprobs);
  }
  void text(int choice, TextPiece piece) override { add(choice, Kind::kText, std::move(piece)); }
  void reasoning(int choice, TextPiece piece) override { add(choice, Kind::kReasoning, std::move(piece)); }
  void tool_call(int choice, const ToolCallPiece& call, std::vector<PieceToken> tokens) override {
    add(choice, Kind::kToolCall, {.text = {}, .tokens = std::move(tokens)});
    choices_[static_cast<size_t>(choice)].parts.back().call = call;
  }
  void end(int index, TextPiece rest, const ChoiceEnd& end, bool is_last) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    for (const PieceToken& token : rest.tokens) choice.logprob += static_cast<double>(token.token.logprob);
    choice.rest = std::move(rest);
    choice.end = end;
    if (is_last) write_best();
  }
  void usage(const UsageCounts& usage) override { to_->usage(usage); }
  void timings(const AnswerTimings& timings) override { to_->timings(timings); }
  void flush() override { to_->flush(); }
  void done() override { to_->done(); }
  void fail(const ApiError& error) override { to_->fail(error); }
  bool has_room() const override { return to_->has_room(); }

 private:
  enum class Kind : uint8_t { kText, kReasoning, kToolCall };
  struct Part {
    Kind kind = Kind::kText;
    TextPiece piece;
    ToolCallPiece call = {};
  };
  struct Choice {
    std::vector<Part> parts;
    TextPiece rest;
    ChoiceEnd end;
    double logprob = 0.0;
  };

  void add(int index, Kind kind, TextPiece piece) {
    Choice& choice = choices_[static_cast<size_t>(index)];
    for (const PieceToken& token : piece.tokens) {
      // Those of an echoed prompt are the same for all.
      if (token.has_logprob) choice.logprob += static_cast<double>(token.token.logprob);
    }
    choice.parts.push_back({.kind = kind, .piece = std::move(piece)});
  }

  void write_best() {
    const size_t num_prompts = choices_.size() / static_cast<size_t>(num_made_);
    for (size_t prompt = 0; prompt < num_prompts; ++prompt) {
      std::vector<size_t> order(static_cast<size_t>(num_made_));
      std::iota(order.begin(), order.end(), prompt * order.size());
      std::ranges::stable_sort(order, std::ranges::greater(), [this](size_t i) { return choices_[i].logprob; });
      for (int i = 0; i < num_wanted_; ++i) {
        const bool is_last = prompt + 1 == num_prompts && i + 1 == num_wanted_;
        write(static_cast<int>(prompt) * num_wanted_ + i, choices_[order[static_cast<size_t>(i)]], is_last);
      }
    }
  }

  void write(int index, Choice& choice, bool is_last) {
    for (Part& part : choice.parts) {
      switch (part.kind) {
        case Kind::kText: to_->text(index, std::move(part.piece)); break;
        case Kind::kReasoning: to_->reasoning(index, std::move(part.piece)); break;
        case Kind::kToolCall: to_->tool_call(index, part.call, std::move(part.piece.tokens)); break;
      }
    }
    to_->end(index, std::move(choice.rest), choice.end, is_last);
  }

  const std::shared_ptr<AnswerWriter> to_;
  const int num_made_;
  const int num_wanted_;
  std::vector<Choice> choices_;
};

}  // namespace

std::shared_ptr<AnswerWriter> best_of(std::shared_ptr<AnswerWriter> to, int num_prompts, int num_made, int num_wanted) {
  return std::make_shared<BestOf>(std::move(to), num_prompts, num_made, num_wanted);
}

}  // namespace quire
