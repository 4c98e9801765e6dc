#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"
#include "kernels/avx512/words.h"

#include "kernels/vector/loops.h"
#include "kernels/vector/math.h"

#include "kernels/vector/row_parts.h"

#include "kernels/vector/kv_codes.h"

#include "kernels/vector/rows.h"

namespace quire {

void override_rows_avx512(Kernels& table) { override_rows(table); }

}  // namespace quire
