// Turns the tokens of one choice into text: detokenises, looks for stop strings, and keeps each token's log
// probabilities with its text.
//
// One object per choice, used on the exchange's executor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "decoding/sampler.h"
#include "dialogue/stop_matcher.h"
#include "text/detokenizer.h"

namespace quire {

struct PieceToken {
  SampledToken token;
  int64_t text_offset = 0;  // in characters of the choice's whole text
  bool has_logprob = true;  // not the first of a prompt
  bool is_end = false;      // ended the generation and is no part of the text
  bool is_accepted_draft = false;
};

// Text that may be shown, with the tokens that became it.
struct TextPiece {
  std::string text;
  std::vector<PieceToken> tokens;

  bool empty() const { return text.empty() && tokens.empty(); }
};

struct ChoiceTextOptions {
  std::vector<std::string> stops = {};
  bool include_stop = false;
  bool skip_special_tokens = true;
  std::vector<int32_t> shown_tokens = {};  // special tokens that are not skipped
  int64_t min_tokens = 0;                  // no stop string counts before this many
  bool keep_tokens = false;                // fills TextPiece::tokens
  int64_t first_offset = 0;                // characters of an echoed prompt
};

class ChoiceText {
 public:
  // `before`: what the text continues. A tokenizer may write the first piece of a text differently.
  ChoiceText(const Tokenizer& tokenizer, ChoiceTextOptions options, std::span<const int32_t> before = {});

  // Text whose end may still belong to a stop string or an incomplete character is held back, with its tokens. After a
  // stop string nothing more is returned.
  TextPiece push(SampledToken token, bool is_end, bool is_accepted_draft = false);
  // The choice ends: returns everything that is still held back.
  TextPiece finish();

  bool is_stopped() const { return matcher_.is_matched(); }
  const std::string& stop_string() const { return matcher_.matched(); }
  int64_t num_tokens() const { return num_tokens_; }

 private:
  static constexpr int64_t kUnknown = -1;
  struct Pending {
    PieceToken token;
    int64_t end_byte = kUnknown;  // of the detokenised text, once it includes this token
  };

  void add_text(std::string text, TextPiece& piece);
  void take_tokens(TextPiece& piece, bool all);

  ChoiceTextOptions options_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::vector<Pending> pending_;
  int64_t num_tokens_ = 0;
  int64_t num_characters_ = 0;
  int64_t num_bytes_ = 0;  // of detokenised text
  int64_t shown_bytes_ = 0;
};

// A prompt as the text of an echo: each token with the numbers the engine gave for it (`logprobs` may be empty).
TextPiece echo_piece(const Tokenizer& tokenizer, std::span<const int32_t> prompt, std::vector<SampledToken> logprobs,
                     bool skip_special_tokens);

}  // namespace quire
