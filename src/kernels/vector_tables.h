// The vector tables of this build: a row in select.cpp for every instruction set. See vector/table.h for what it
// brings.
#pragma once

#include <span>

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

struct VectorTable {
  const char* name;
  bool (*runs_here)();
  // These two only where it runs.
  void (*override_table)(Kernels& table);
  RoofLoops (*roof_loops)();
};

// Best first.
std::span<const VectorTable> vector_tables();

}  // namespace quire
