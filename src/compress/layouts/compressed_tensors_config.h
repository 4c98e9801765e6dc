// The quantization_config that all forms of compressed-tensors share.
#pragma once

#include <span>
#include <string>

#include "compress/layouts/layout.h"

namespace quire {

struct CompressedTensorsRecipe {
  const char* format;       // "pack-quantized"
  json::object weights;     // how weights are quantised
  json::value activations;  // and rows of activations; null: not at all
  std::span<const std::string> plain_modules;
};
json::object compressed_tensors_config(CompressedTensorsRecipe recipe);

// `weights` of whole numbers.
json::object integer_weights(const MatrixForm& form);

}  // namespace quire
