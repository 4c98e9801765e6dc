// The vector tables of this build: select.cpp has a row for every instruction set. vector/table.h declares the
// functions that a row needs.
#pragma once

#include <span>

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

struct VectorTable {
  const char* name;
  bool (*runs_here)();
  // Call these two only on a machine that has the instruction set.
  void (*override_table)(Kernels& table);
  RoofLoops (*roof_loops)();
};

// Best first.
std::span<const VectorTable> vector_tables();

}  // namespace quire
