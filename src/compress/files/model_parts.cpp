#include "compress/files/model_parts.h"

#include <cstring>
#include <set>

#include "base/error.h"
#include "kernels/select.h"
#include "models/architectures/registry.h"

namespace quire {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string module_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

bool becomes_codes(const Linear& matrix) {
  const std::string_view name = matrix.name;
  // A router's products choose experts; a stack of experts is no matrix that a layout holds.
  return name.starts_with("model.layers.") && name.ends_with(kWeight) && !name.ends_with(".gate.weight");
}

Format float_format(const Checkpoint& checkpoint, const std::string& name) {
  const auto tensor = checkpoint.find_tensor(name);
  const Format format = tensor ? tensor->format : Format::kF16;
  return format == Format::kF32 || format == Format::kBF16 ? format : Format::kF16;
}

std::vector<ModelMatrix> matrices_of_layer(const Checkpoint& checkpoint, int layer) {
  WeightLoader loader(checkpoint, reference_kernels(), {.stage = LayerRange{layer, layer + 1}});
  std::vector<ModelMatrix> matrices;
  make_model(checkpoint, loader)->visit_matrices([&](const Linear& matrix) {
    if (!becomes_codes(matrix)) return;
    if (!matrices.empty() && matrices.back().name == matrix.name) {
      matrices.back().rows += matrix.weights.rows;
    } else {
      matrices.push_back({.name = matrix.name,
                          .rows = matrix.weights.rows,
                          .cols = matrix.weights.cols,
                          .format = float_format(checkpoint, matrix.name)});
    }
  });
  return matrices;
}

// The name that the file has for a module: see DirectoryCheckpoint::find_tensor.
std::string file_module(const std::set<std::string>& in_file, const std::string& hf_module) {
  const std::string inner = hf_module.substr(std::string_view("model.").size());
  for (const std::string& name : {hf_module, "language_model." + hf_module, "model.language_model." + inner, inner}) {
    if (in_file.contains(name)) return name;
  }
  return hf_module;
}

// Takes away the matrices that stay; counts for each text of `keep` how many have it.
void remove_kept(std::vector<ModelMatrix>& matrices, std::span<const std::string> keep, std::vector<int>& num_kept) {
  std::erase_if(matrices, [&](const ModelMatrix& matrix) {
    bool stays = false;
    for (size_t i = 0; i < keep.size(); ++i) {
      if (matrix.name.find(keep[i]) == std::string::npos) continue;
      ++num_kept[i];
      stays = true;
    }
    return stays;
  });
}

}  // namespace

ModelParts model_parts(const Checkpoint& checkpoint, std::span<const std::string> keep) {
  ModelParts parts;
  const std::vector<Checkpoint::NamedTensor> tensors = checkpoint.all_tensors();
  WeightLoader measuring(checkpoint, reference_kernels());
  const int num_layers = make_model(checkpoint, measuring)->info().num_layers;
  std::set<std::string> in_file, modules;
  std::vector<int> num_kept(keep.size(), 0);
  for (const auto& [name, view] : tensors) in_file.insert(module_of(name));
  for (int layer = 0; layer < num_layers; ++layer) {
    parts.layers.push_back(matrices_of_layer(checkpoint, layer));
    remove_kept(parts.layers.back(), keep, num_kept);
    for (ModelMatrix& matrix : parts.layers.back()) {
      matrix.module = file_module(in_file, module_of(matrix.name));
      modules.insert(matrix.module);
    }
  }
  for (size_t i = 0; i < keep.size(); ++i) {
    if (num_kept[i] > 0) continue;
    fail(ErrorCode::kInvalidArgument,
         "--keep: no matrix of a layer has '{}' in its name; embedding and head stay anyway", printable(keep[i]));
  }
  for (const auto& [name, view] : tensors) {
    const std::string module = module_of(name);
    if (modules.contains(module) && !name.ends_with(".bias")) continue;
    parts.plain.push_back({name, view});
    const bool is_matrix = view.rank == 2 && name.ends_with(kWeight);
    if (is_matrix && name.find("embed_tokens") == std::string::npos) parts.plain_modules.push_back(module);
    if (name.ends_with(".qweight") || name.ends_with(".weight_packed") || name.ends_with(".weight_scale")) {
      fail(ErrorCode::kUnsupported, "{}: \"{}\" is kept as codes, and this build does not make codes of it again",
           checkpoint.name(), printable(name));
    }
  }
  return parts;
}

std::vector<float> read_floats(TensorSource& source, const ModelMatrix& matrix, const Exec& exec) {
  const SourceMatrix found =
      source.matrix({.name = matrix.name, .rows = matrix.rows, .cols = matrix.cols, .format = Format::kF32});
  std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
  std::memcpy(values.data(), source.blocks(found, exec), values.size() * sizeof(float));
  return values;
}

}  // namespace quire
