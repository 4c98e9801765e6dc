// Attention by products of bf16 pairs. A table over another one compiles this source alone: the walk over positions is
// that of its base.
#include "kernels/kernels.h"
#include "kernels/vector/attention_parts.h"
#include "kernels/vector/pair_product.h"

namespace quire::QUIRE_TABLE {
namespace {

constexpr AttentionProducts kPairProducts = {.row_tile = kRowTile,
                                             .column_step = kPairColumns,
                                             .keeps_f32 = false,
                                             .narrow = narrow_to_bf16,
                                             .widen = widen_to_pairs,
                                             .multiply = multiply_pairs};

void attention_in_pairs(const Exec& exec, const AttentionArgs& args) { QUIRE_BASE::attend(exec, args, kPairProducts); }

}  // namespace

void override_attention_in_pairs(Kernels& table) { table.attention = attention_in_pairs; }

}  // namespace quire::QUIRE_TABLE
