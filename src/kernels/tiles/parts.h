// The functions that the sources of a table on tiles call from each other, and those of its base that they call.
#pragma once

#include "kernels/tiles/table.h"
#include "kernels/vector/parts.h"

QUIRE_DECLARE_TILE_TABLE(QUIRE_TABLE);
QUIRE_DECLARE_VECTOR_TABLE(QUIRE_BASE);

namespace quire::QUIRE_BASE {

QUIRE_TABLE::MultiplyPanels multiply_panels_for(Format format);  // vector/matmul_tasks.h

}  // namespace quire::QUIRE_BASE

namespace quire::QUIRE_TABLE {

// Each function replaces its entries of the table.
void override_tile_matmul(Kernels& table);

// Products of bf16 instead of floats.
void override_attention_on_tiles(Kernels& table);

// The functions of the formats that are multiplied in integers; null for others.
MultiplyPanels code_tile_panels(Format format);

}  // namespace quire::QUIRE_TABLE
