#include "kernels/emulated_amx/emulated_amx.h"

#include "kernels/tiles/table.h"
#include "kernels/vector_tables.h"

QUIRE_DECLARE_TILE_TABLE(emulated_amx);

namespace quire {
namespace {

const VectorTable* find_base() {
  for (const VectorTable& vector : vector_tables()) {
    if (std::string_view(vector.name) == "avx512" && runs_here(vector)) return &vector;
  }
  return nullptr;
}

std::vector<const Kernels*> list_tested() {
  std::vector<const Kernels*> tables = runnable_kernels();
  if (emulated_amx_kernels() != nullptr) tables.insert(tables.begin(), emulated_amx_kernels());
  return tables;
}

}  // namespace

const Kernels* base_of_emulated_amx() { return find_base() == nullptr ? nullptr : &select_kernels("avx512"); }

const Kernels* emulated_amx_kernels(Activations activations) {
  if (find_base() == nullptr) return nullptr;
  const auto make = [](Activations kind) {
    return make_table({.name = "emulated_amx",
                       .machine_has = [] { return true; },
                       .override_table = emulated_amx::override_table,
                       .roof_loops = emulated_amx::roof_loops,
                       .base = find_base()},
                      kind);
  };
  static const Kernels tables[kNumActivations] = {make(Activations::kInt8), make(Activations::kBf16),
                                                  make(Activations::kF32)};
  return &tables[static_cast<size_t>(activations)];
}

const std::vector<const Kernels*>& tested_kernels() {
  static const std::vector<const Kernels*> tables = list_tested();
  return tables;
}

bool emulated_tiles_are_right() { return emulated_amx::tiles_are_right(); }

}  // namespace quire
