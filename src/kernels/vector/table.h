// A table of vector kernels. The sources of this folder are compiled once for every instruction set (quire_isa in
// kernels/CMakeLists.txt) with its flags and QUIRE_TABLE, the name of the table; what others call of them lies in a
// namespace of that name, everything else in unnamed ones. See math.h for how a source of this folder is written.
#pragma once

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

// override_table replaces the entries of a copy of the reference table. Both may run only on machines that have the
// instruction set.
#define QUIRE_DECLARE_VECTOR_TABLE(table) \
  namespace quire::table {                \
  void override_table(Kernels& kernels);  \
  RoofLoops roof_loops();                 \
  }                                       \
  static_assert(true, "ends the declaration with a semicolon")
