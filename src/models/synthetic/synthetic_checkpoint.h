// Random weights of a published model's shape, so that speed and memory can be measured without the model. A GGUF file
// is written, read through the normal loader and removed; what it computes is noise, at the cost of the real thing.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "models/loading/checkpoint.h"
#include "models/synthetic/model_shapes.h"

namespace quire {

// `weights` is the name of a weight format, or Q4_K_M. As in files that llama.cpp makes, Q4_K_M holds some matrices in
// Q6_K, the head of formats below 6 bits is Q6_K, and a matrix whose rows are no multiple of the format's block takes a
// related format with smaller blocks. The vocabulary is made up, so that the file can be served too. Throws Error
// kInvalidArgument naming the formats.
void write_synthetic_gguf(const ModelShape& shape, std::string_view weights, const std::filesystem::path& path);

enum class SyntheticContent : uint8_t {
  kRandom,
  kHoles,  // zeros that take no room on disk, and no vocabulary: enough to plan memory
};
// In the folder for temporary files, which needs room for the weights; gone when the checkpoint is.
std::unique_ptr<Checkpoint> open_synthetic(const ModelShape& shape, std::string_view weights,
                                           SyntheticContent content = SyntheticContent::kRandom);

}  // namespace quire
