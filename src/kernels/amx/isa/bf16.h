// Processors with AMX have AVX512_BF16 too.
#pragma once

#include "kernels/avx512_bf16/isa/bf16.h"
