// The tensors of a Hugging Face directory as compression sees them: the matrices of each layer, which can become codes,
// and the rest. Views into the checkpoint. Plain data.
#pragma once

#include <cstdint>
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
};

struct ModelParts {
  std::vector<std::vector<ModelMatrix>> layers;  // without routers and stacks of experts
  // All that is not of these matrices: with the names of the file.
  std::vector<Checkpoint::NamedTensor> plain;
  std::vector<std::string> plain_modules;  // matrices among them
};

// Reads headers. Throws Error kUnsupported where a matrix that stays is kept as codes.
ModelParts model_parts(const Checkpoint& checkpoint);

// A tensor's values as floats, [rows, cols].
std::vector<float> read_floats(TensorSource& source, const ModelMatrix& matrix, const Exec& exec);

}  // namespace quire
