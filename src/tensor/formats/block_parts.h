// A block of a GGUF format before its bits are packed: what a search of scales and codes decides (compress/
// block_search.h). blocks.h says what each format makes of them. Plain data; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/format.h"

namespace quire {

struct BlockParts {
  uint16_t d = 0;         // f16; MXFP4: the exponent e
  uint16_t minimum = 0;   // f16: dmin of k-formats, m of Q4_1 and Q5_1
  int scales[16] = {};    // of each group; signed for Q3_K, Q6_K and IQ4_XS
  int minimums[16] = {};  // of each group
  int codes[256] = {};    // as stored; Q8_0: signed; IQ3_S: the number of its point, + 512 if negative
};

// Writes one block of such parts, aligned as blocks of its format are (format.h).
using PackBlock = void (*)(const BlockParts& parts, std::byte* block);

struct PackRow {
  Format format;
  PackBlock pack;
};

// Null for formats of other shapes: plain types, NVFP4 and those that no GGUF file has.
PackBlock block_packer(Format format);

}  // namespace quire
