// Decoders turn the pieces of a token stream back into text, piece by piece: every stage passes on text that is certain
// and holds back the rest, so that decoding all tokens at once and decoding them as they arrive give the same text.
//
// A TextDecoder is an immutable description, any thread; each stream has its own DecoderChain, used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quire {

using TextSink = std::function<void(std::string)>;

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  // One token's text, or once tokens have been fused, the next part of the whole text.
  virtual void push(std::string text, const TextSink& next) = 0;
  virtual void finish(const TextSink&) {}
};

// Makes the stages of one stream.
using MakeStage = std::function<std::unique_ptr<DecoderStage>()>;

struct TextDecoder {
  std::vector<MakeStage> stages;
  // The bytes that the stages would add for one piece in the middle of a text, even if they are part of a character.
  std::function<std::string(std::string_view)> piece_bytes;
};

// From a component of tokenizer.json; nullptr is the library's default, pieces joined by spaces. Throws Error
// kUnsupported naming an unknown type.
//
// Differs from the Hugging Face library in one point: a run of byte tokens that is not UTF-8 as a whole keeps its valid
// characters and gives one U+FFFD for each other byte (as sentencepiece does), because they must be passed on before
// the run ends.
TextDecoder parse_decoder(const json::object* description);

TextDecoder make_byte_level_decoder();
// Sentencepiece's: U+2581 is a space, the first of the text is dropped when `strip_first` says so, byte pieces are
// joined to characters.
enum class StripFirst { kNo, kOne, kEachUntilText };
TextDecoder make_sentencepiece_decoder(StripFirst strip_first);

// The stages of one stream, ended by a repair of malformed UTF-8.
class DecoderChain {
 public:
  explicit DecoderChain(const TextDecoder& decoder);
  // The text that becomes certain; always whole characters.
  std::string push(std::string_view piece);
  std::string finish();

 private:
  std::vector<std::unique_ptr<DecoderStage>> stages_;
  std::vector<TextSink> sinks_;  // sinks_[i] feeds stage i; the last one appends to out_
  std::unique_ptr<std::string> out_;
};

}  // namespace quire
