#include "compress/layouts/compressed_tensors_config.h"

#include <utility>

namespace quire {

json::object compressed_tensors_config(CompressedTensorsRecipe recipe) {
  json::object group{{"targets", json::array{"Linear"}},
                     {"weights", std::move(recipe.weights)},
                     {"input_activations", std::move(recipe.activations)},
                     {"output_activations", nullptr},
                     {"format", recipe.format}};
  return {{"quant_method", "compressed-tensors"},        {"format", recipe.format},
          {"quantization_status", "compressed"},         {"config_groups", {{"group_0", std::move(group)}}},
          {"ignore", names_array(recipe.plain_modules)}, {"kv_cache_scheme", nullptr}};
}

json::object integer_weights(const MatrixForm& form) {
  const GroupGrid& grid = form.grid;
  json::object weights{{"num_bits", grid.bits},       {"type", "int"},
                       {"symmetric", grid.symmetric}, {"strategy", grid.group == 0 ? "channel" : "group"},
                       {"group_size", nullptr},       {"dynamic", false},
                       {"actorder", nullptr}};
  if (grid.group != 0) weights["group_size"] = grid.group;
  if (form.has_order) weights["actorder"] = "group";
  return weights;
}

}  // namespace quire
