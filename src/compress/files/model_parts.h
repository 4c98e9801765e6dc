// The tensors of a Hugging Face directory as compression sees them: the matrices of each layer, which can become codes,
// and the rest. Views into the checkpoint. Plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/loading/checkpoint.h"
#include "models/loading/tensor_source.h"

namespace quire {

struct ModelMatrix {
  std::string name = {};    // Hugging Face's, "<module>.weight"
  std::string module = {};  // what it is called in the file, without ".weight"
  int64_t rows = 0;
  int64_t cols = 0;
  Format format = Format::kF16;  // of the file's floats; F16 where it has codes
};

struct ModelParts {
  std::vector<std::vector<ModelMatrix>> layers;  // without routers and stacks of experts
  // All that is not of these matrices: with the names of the file.
  std::vector<Checkpoint::NamedTensor> plain;
  std::vector<std::string> plain_modules;  // matrices among them
};

// Matrices whose name contains a text of `keep` count among the rest. Reads headers. Throws Error: kUnsupported where a
// matrix that stays is kept as codes, kInvalidArgument for a text that no matrix has.
ModelParts model_parts(const Checkpoint& checkpoint, std::span<const std::string> keep = {});

// A tensor's values as floats, [rows, cols].
std::vector<float> read_floats(TensorSource& source, const ModelMatrix& matrix, const Exec& exec);

}  // namespace quire
