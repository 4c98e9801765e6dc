#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"
#include "kernels/avx512/words.h"

#include "kernels/vector/loops.h"
#include "kernels/vector/math.h"

#include "kernels/vector/tile_product.h"

#include "kernels/vector/kv_codes.h"

#include "kernels/vector/code_product.h"

#include "kernels/vector/attention_job.h"

#include "kernels/vector/attention_stripe.h"

#include "kernels/vector/attention_walk.h"

#include "kernels/vector/attention.h"

namespace quire {

void override_attention_avx512(Kernels& table) { override_attention(table); }

}  // namespace quire
