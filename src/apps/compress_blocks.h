// `quire compress --method kquant`: a GGUF file in the formats of a mixture, or of one that fits a size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/calibration_text.h"
#include "apps/options.h"

namespace quire {

struct CompressBlocksOptions {
  ModelOptions model;  // a GGUF file
  std::string output;  // a .gguf file
  std::string type;    // of block_recipes(); empty: Q4_K_M
  std::optional<uint64_t> target_bytes;
  std::string imatrix;      // a file of importance; empty: all columns alike, unless a text is given
  CalibrationText text;     // to measure importance on; without a file and a number of tokens: not at all
  std::string imatrix_out;  // where to keep what was measured; empty: nowhere
  std::vector<std::string> keep;
  bool dry_run = false;
  bool requantizes = false;
  bool replaces = false;
};

// Throws Error. Says on standard output what it made, or with dry_run what it would make, tensor by tensor.
void compress_blocks(const CompressBlocksOptions& options);

}  // namespace quire
