// How the final hidden states of a prompt become one vector, its embedding.
#pragma once

#include <cstdint>

namespace quire {

enum class Pooling : uint8_t {
  kNone,  // no embedding: generate
  kMean,  // the mean over the prompt
  kCls,   // that of the first token
  kLast,  // that of the last token
};

// What a model's file says about its use for embeddings, or Quire's defaults.
struct EmbeddingUse {
  Pooling pooling = Pooling::kMean;
  bool normalize = true;  // the vector is scaled to length 1

  bool operator==(const EmbeddingUse&) const = default;
};

}  // namespace quire
