// A GGUF file with its matrices in other formats: a mixture by name, or one that fits a size. All else of the file, its
// vocabulary and template too, stays as it is. A Hugging Face directory is converted to GGUF first (convert.h).
//
// One thread, with those of `pool`; memory is that of the largest tensor as floats and as blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compress/blocks/block_recipe.h"
#include "compress/blocks/imatrix.h"
#include "tensor/files/gguf.h"

namespace quire {

struct BlockOptions {
  std::string recipe = "Q4_K_M";               // of block_recipes()
  uint64_t target_bytes = 0;                   // most bytes of the file, instead of a recipe
  const ImportanceFile* importance = nullptr;  // all columns alike without it
  bool requantizes = false;                    // takes a source that is in blocks already
  std::vector<std::string> keep = {};          // matrices whose name contains one of these stay as they are
};

struct PlannedTensor {
  std::string name;
  TensorView source;
  Format format = Format::kF32;  // in the file that is made
  bool is_quantised = false;     // otherwise as it is in the source
  uint64_t bytes = 0;
  double error = 0;  // with a target: the part of the output's energy that the format costs (mixed.h)
};

struct BlockPlan {
  std::optional<uint32_t> file_type;  // general.file_type, of a recipe
  std::vector<PlannedTensor> tensors;
  uint64_t file_bytes = 0;
};

using BlockProgress = std::function<void(uint64_t done, uint64_t all)>;  // elements

// Decides the format of each tensor; with a target it measures every matrix in every format first. Throws Error
// kInvalidArgument for a source in blocks without `requantizes`, kLimit for a target that is too small.
BlockPlan plan_blocks(const GgufFile& source, const BlockOptions& options, ThreadPool& pool,
                      const BlockProgress& progress);

// Writes the file beside `path` and renames it. Throws Error kIo.
void write_blocks(const GgufFile& source, const BlockPlan& plan, const BlockOptions& options,
                  const std::filesystem::path& path, ThreadPool& pool, const BlockProgress& progress);

}  // namespace quire
