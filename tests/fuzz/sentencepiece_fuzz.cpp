// Any bytes as a sentencepiece model: it is refused with an Error, or it encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire;
  try {
    const Tokenizer tokenizer = load_sentencepiece(std::as_bytes(std::span(data, size)), nullptr);
    const auto ids = tokenizer.encode("The 12 fo\xCC\x81x, ﬁ <s>\xF0\x9F\x91\xA8\n  isn't \xE4\xBD");
    tokenizer.decode(ids, false);
    for (const int32_t id : ids) tokenizer.token_bytes(id);
  } catch (const Error&) {
  }
  return 0;
}
