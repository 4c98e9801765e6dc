// A table of kernels on tiles over a vector table. The sources of this folder are compiled once for every vocabulary of
// tiles, <name>/isa/tiles.h (quire_isa in kernels/CMakeLists.txt), with the flags, the vocabulary and the functions of
// the vector table that is its base: QUIRE_TABLE is the table's name, QUIRE_BASE the base's. vector/math.h says how a
// source is written.
#pragma once

#include "kernels/vector/table.h"

// override_table replaces entries of a copy of the base's table. tiles_are_right multiplies small matrices on the tiles
// and compares the products with plain C++. cached_dot_loop: VectorTable::cached_dot. All may run only on machines that
// have the instructions.
#define QUIRE_DECLARE_TILE_TABLE(table)      \
  QUIRE_DECLARE_VECTOR_TABLE(table);         \
  namespace quire::table {                   \
  bool tiles_are_right();                    \
  double cached_dot_loop(int64_t num_steps); \
  }                                          \
  static_assert(true, "ends the declaration with a semicolon")
