#include "dialogue/choice_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace quire {
namespace {

// Long enough for a character whose bytes are one token each.
constexpr size_t kTokensBefore = 8;

}  // namespace

ChoiceText::ChoiceText(const Tokenizer& tokenizer, ChoiceTextOptions options, std::span<const int32_t> before)
    : options_(std::move(options)),
      detokenizer_(tokenizer, options_.skip_special_tokens, options_.shown_tokens),
      matcher_(options_.stops, options_.include_stop),
      num_characters_(options_.first_offset) {
  for (const int32_t id : before.last(std::min(before.size(), kTokensBefore))) detokenizer_.push(id);
}

TextPiece ChoiceText::push(SampledToken token, bool is_end, bool is_accepted_draft) {
  TextPiece piece;
  if (is_stopped()) return piece;
  ++num_tokens_;
  const int32_t id = token.id;
  if (options_.keep_tokens) {
    pending_.push_back({.token = {.token = std::move(token),
                                  .text_offset = num_characters_,
                                  .is_end = is_end,
                                  .is_accepted_draft = is_accepted_draft}});
  }
  if (!is_end || options_.include_stop) add_text(detokenizer_.push(id), piece);
  take_tokens(piece, /*all=*/is_stopped());
  return piece;
}

TextPiece ChoiceText::finish() {
  TextPiece piece;
  if (!is_stopped()) {
    add_text(detokenizer_.finish(), piece);
    piece.text += matcher_.finish();
  }
  take_tokens(piece, /*all=*/true);
  return piece;
}

void ChoiceText::add_text(std::string text, TextPiece& piece) {
  if (text.empty()) return;
  num_bytes_ += static_cast<int64_t>(text.size());
  num_characters_ += static_cast<int64_t>(count_characters(text));
  for (Pending& pending : pending_) {
    if (pending.end_byte == kUnknown) pending.end_byte = num_bytes_;
  }
  piece.text += num_tokens_ < options_.min_tokens ? std::move(text) : matcher_.push(text);
  shown_bytes_ += static_cast<int64_t>(piece.text.size());
}

void ChoiceText::take_tokens(TextPiece& piece, bool all) {
  size_t count = 0;
  while (count < pending_.size() &&
         (all || (pending_[count].end_byte != kUnknown && pending_[count].end_byte <= shown_bytes_))) {
    piece.tokens.push_back(std::move(pending_[count++].token));
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(count));
}

TextPiece echo_piece(const Tokenizer& tokenizer, std::span<const int32_t> prompt, std::vector<SampledToken> logprobs,
                     bool skip_special_tokens) {
  Detokenizer detokenizer(tokenizer, skip_special_tokens);
  TextPiece piece;
  int64_t num_characters = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (i < logprobs.size()) {
      logprobs[i].id = prompt[i];
      piece.tokens.push_back({.token = std::move(logprobs[i]), .text_offset = num_characters, .has_logprob = i > 0});
    }
    const std::string text = detokenizer.push(prompt[i]);
    num_characters += static_cast<int64_t>(count_characters(text));
    piece.text += text;
  }
  piece.text += detokenizer.finish();
  return piece;
}

}  // namespace quire
