#include "server/answers/merged_pieces.h"

#include <iterator>
#include <utility>

namespace quire {
namespace {

class MergedPieces : public AnswerWriter {
 public:
  MergedPieces(std::shared_ptr<AnswerWriter> to, int num_choices, int interval)
      : to_(std::move(to)), interval_(interval), choices_(static_cast<size_t>(num_choices)) {}

  void begin(ChoiceRange choices, std::span<const int32_t> prompt, std::span<const SampledToken> logprobs) override {
    to_->begin(choices, prompt, logprobs);
  }
  void text(int choice, TextPiece piece) override { add(choice, /*is_reasoning=*/false, std::move(piece)); }
  void reasoning(int choice, TextPiece piece) override { add(choice, /*is_reasoning=*/true, std::move(piece)); }
  void tool_call(int choice, const ToolCallPiece& piece, std::vector<PieceToken> tokens) override {
    write(choice);
    to_->tool_call(choice, piece, std::move(tokens));
  }
  void end(int choice, TextPiece rest, const ChoiceEnd& end, bool is_last) override {
    write(choice);
    to_->end(choice, std::move(rest), end, is_last);
  }
  void usage(const UsageCounts& usage) override { to_->usage(usage); }
  void timings(const AnswerTimings& timings) override { to_->timings(timings); }
  void flush() override { to_->flush(); }
  void done() override { to_->done(); }
  void fail(const ApiError& error) override { to_->fail(error); }
  bool has_room() const override { return to_->has_room(); }

 private:
  struct Choice {
    bool has_begun = false;
    bool is_reasoning = false;
    int num_pieces = 0;
    TextPiece piece;
  };

  void add(int index, bool is_reasoning, TextPiece piece) {
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (choice.is_reasoning != is_reasoning) write(index);
    choice.is_reasoning = is_reasoning;
    choice.piece.text += piece.text;
    std::ranges::move(piece.tokens, std::back_inserter(choice.piece.tokens));
    ++choice.num_pieces;
    if (choice.num_pieces >= interval_ || !std::exchange(choice.has_begun, true)) write(index);
  }

  void write(int index) {
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (std::exchange(choice.num_pieces, 0) == 0) return;
    TextPiece piece = std::exchange(choice.piece, {});
    if (choice.is_reasoning) {
      to_->reasoning(index, std::move(piece));
    } else {
      to_->text(index, std::move(piece));
    }
  }

  const std::shared_ptr<AnswerWriter> to_;
  const int interval_;
  std::vector<Choice> choices_;
};

}  // namespace

std::shared_ptr<AnswerWriter> merge_pieces(std::shared_ptr<AnswerWriter> to, int num_choices, int interval) {
  return std::make_shared<MergedPieces>(std::move(to), num_choices, interval);
}

}  // namespace quire
