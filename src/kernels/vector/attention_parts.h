// Functions of attention that sources of a table, and of tables over it, call from each other.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"

#ifndef QUIRE_BASE  // of a table without a base
#define QUIRE_BASE QUIRE_TABLE
#endif

namespace quire::QUIRE_BASE {

// Kernels::attention by these products, in the workspace of the table's own attention.
void attend(const Exec& exec, const AttentionArgs& args, const AttentionProducts& products);

}  // namespace quire::QUIRE_BASE

namespace quire::QUIRE_TABLE {

// Products of bf16 pairs instead of floats, after override_attention.
void override_attention_in_pairs(Kernels& table);

}  // namespace quire::QUIRE_TABLE
