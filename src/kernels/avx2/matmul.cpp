#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

#include "kernels/vector/tile_shape.h"

#include "kernels/avx2/bytes.h"

#include "kernels/block_codes.h"
#include "tensor/formats/blocks.h"

#include "kernels/vector/loops.h"
#include "kernels/vector/math.h"

#include "kernels/vector/row_parts.h"

#include "kernels/vector/matmul_layout.h"

#include "kernels/vector/matmul_pack.h"

#include "kernels/vector/matmul_decode.h"

#include "kernels/vector/matmul_q8.h"

#include "kernels/vector/matmul_float.h"

#include "kernels/vector/matmul.h"

#include "kernels/vector/packed_rows.h"

namespace quire {

void override_matmul_avx2(Kernels& table) {
  override_matmul(table);
  override_packed_rows(table);
}

}  // namespace quire
