#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"

#include "kernels/vector/tile_shape.h"

#include "kernels/avx512/bytes.h"

#include "kernels/vector/roofs.h"

namespace quire {
namespace {

inline Bytes dot_step(Bytes sum, Bytes factor) { return Dots<8>::add(sum, {factor}, {factor}); }

}  // namespace

RoofLoops roof_loops_avx512() { return {read_memory, multiply_add_loop, dot_loop<dot_step>}; }

}  // namespace quire
