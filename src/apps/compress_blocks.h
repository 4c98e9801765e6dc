// `quire compress --method kquant`: a GGUF file in the formats of a mixture, or of one that fits a size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace quire {

struct CompressBlocksOptions {
  std::string model;   // a GGUF file
  std::string output;  // a .gguf file
  std::string type;    // of block_recipes(); empty: Q4_K_M
  std::optional<uint64_t> target_bytes;
  std::string imatrix;  // a file of importance; empty: all columns alike
  bool dry_run = false;
  bool requantizes = false;
  bool replaces = false;
  int num_threads = 0;  // 0: every processor
};

// Throws Error. Says on standard output what it made, or with dry_run what it would make, tensor by tensor.
void compress_blocks(const CompressBlocksOptions& options);

}  // namespace quire
