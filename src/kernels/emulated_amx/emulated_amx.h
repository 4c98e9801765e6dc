// The table amx over tiles in plain C++ (isa/tiles.h), for tests on machines without AMX.
#pragma once

#include <vector>

#include "kernels/select.h"

namespace quire {

// Null where the machine lacks the base.
const Kernels* emulated_amx_kernels(Activations activations = kUsualActivations);
// The table that it replaces entries of; null likewise.
const Kernels* base_of_emulated_amx();
// runnable_kernels() and this one.
const std::vector<const Kernels*>& tested_kernels();

// See tiles/table.h. Only where the machine has the base.
bool emulated_tiles_are_right();

}  // namespace quire
