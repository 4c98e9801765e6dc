// Reads how a model makes embeddings: the modules of sentence-transformers beside a Hugging Face model (modules.json,
// 1_Pooling/config.json), or GGUF's `<architecture>.pooling_type`.
#pragma once

#include "models/loading/checkpoint.h"
#include "models/pooling.h"

namespace quire {

// Throws Error kUnsupported for what would give another vector and is not built: a reranker's score, several ways of
// pooling in one vector, further layers behind the pooling.
EmbeddingUse read_embedding_use(const Checkpoint& checkpoint);

}  // namespace quire
