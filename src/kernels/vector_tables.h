// The vector tables of this build: select.cpp has a row for every instruction set. vector/table.h declares the
// functions that a row needs.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

struct VectorTable {
  const char* name;
  bool (*machine_has)();  // what the table needs beyond its base
  // Call these two only on a machine that has the instruction set. The first replaces entries of a copy of the base, by
  // its activations.
  void (*override_table)(Kernels& table);
  RoofLoops (*roof_loops)();
  const VectorTable* base = nullptr;     // null: the reference
  std::optional<Activations> only = {};  // what it is better than its base for; it does not exist for others
  bool multiplies_bf16 = false;          // by an instruction for it
  // RoofLoops::dot with operands from the second-level cache, which limits tiles; null: the same as from registers.
  double (*cached_dot)(int64_t num_steps) = nullptr;
  // Why a processor that has the instructions does not run the table; empty: it does, or has none. Null: no such
  // reason. Call it only where the base runs.
  const std::string& (*refusal)() = nullptr;
};

// Best first.
std::span<const VectorTable> vector_tables();

bool runs_here(const VectorTable& vector);
// Only where it runs: what fills a table in is compiled for its instruction set too.
Kernels make_table(const VectorTable& vector, Activations activations);

}  // namespace quire
