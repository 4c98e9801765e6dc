// The reply of /v1/embeddings. Pure functions, any thread.
#pragma once

#include <span>
#include <string>

#include "server/apis/embedding_writer.h"

namespace quire {

std::string write_openai_embeddings(const Embeddings& embeddings);
std::string write_openai_embeddings_base64(const Embeddings& embeddings);
// Of the little-endian float32 numbers.
std::string base64_of(std::span<const float> vector);

}  // namespace quire
