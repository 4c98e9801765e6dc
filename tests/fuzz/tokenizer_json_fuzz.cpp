// Any bytes as a tokenizer.json: it is refused with an Error, or it encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire;
  try {
    const json::value description = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const Tokenizer tokenizer = load_tokenizer_json(description, &description);
    const auto ids = tokenizer.encode("The 12 fo\xCC\x81x, ﬁ <s>\xF0\x9F\x91\xA8\n  isn't \xE4\xBD");
    tokenizer.decode(ids, false);
    for (const int32_t id : ids) tokenizer.token_bytes(id);
  } catch (const Error&) {
  }
  return 0;
}
