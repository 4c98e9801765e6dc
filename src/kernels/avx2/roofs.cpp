#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

#include "kernels/vector/tile_shape.h"

#include "kernels/avx2/bytes.h"

#include "kernels/vector/roofs.h"

namespace quire {
namespace {

// The products alone, as the roof: what a sum needs beside them (Dots) is the price of having no VNNI. Each result is
// the next one's operand: a chain, as a sum would be.
inline Bytes dot_step(Bytes sum, Bytes factor) { return _mm256_maddubs_epi16(sum, factor); }

}  // namespace

RoofLoops roof_loops_avx2() { return {read_memory, multiply_add_loop, dot_loop<dot_step>}; }

}  // namespace quire
