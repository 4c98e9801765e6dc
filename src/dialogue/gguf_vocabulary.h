// Reads the vocabulary of a GGUF file for the tokenizer: src/tensor and src/text do not include each other.
#pragma once

#include "tensor/files/gguf.h"
#include "text/tokenizer.h"

namespace quire {

// Throws Error naming the key when tokenizer.ggml.* is absent or of the wrong type.
GgufVocabulary read_gguf_vocabulary(const GgufFile& gguf);

}  // namespace quire
