// What Gemma 2 and Gemma 3 share: norms of (1 + weight) before and after each block, embeddings scaled by
// sqrt(hidden_size), attention scaled by query_pre_attn_scalar, soft caps, tied embeddings.
#pragma once

#include "models/loading/decoder_parts.h"

namespace quire {

DecoderConfig read_gemma_config(const Checkpoint& checkpoint);
// One layer with its four norms.
DecoderLayer load_gemma_layer(WeightLoader& loader, const DecoderConfig& config, int layer,
                              const AttentionForm& attention);

}  // namespace quire
