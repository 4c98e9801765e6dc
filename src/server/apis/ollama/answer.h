// What several of Ollama's answers have. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/apis/embedding_writer.h"

namespace quire {

// "2026-11-30T12:00:00Z", of Unix time.
std::string utc_time(int64_t seconds);
// How Ollama's clients know a model: with a tag.
std::string tagged_name(std::string_view model);
// The whole answer to a request without a prompt.
std::string ollama_loaded(std::string_view model, int64_t created, bool is_chat, bool unloads);

std::string write_ollama_embed(const Embeddings& embeddings);       // /api/embed
std::string write_ollama_embeddings(const Embeddings& embeddings);  // /api/embeddings

}  // namespace quire
