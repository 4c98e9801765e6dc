// The answers of /tokenize. Their form depends on the request's key: llama-server's for `content`, vLLM's for the
// others. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "server/apis/openai/wire.h"

namespace quire {

// llama-server's: ids, or objects of id and piece.
std::string token_pieces(const TokenNames& names, std::span<const int32_t> ids, bool with_pieces);
// vLLM's.
std::string token_count(const TokenNames& names, std::span<const int32_t> ids, int64_t max_model_len,
                        bool with_strings);

}  // namespace quire
