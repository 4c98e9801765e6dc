// What the machine can do at most, measured beside a kernel in the same run so that a benchmark can print shares. For
// benchmark programs only.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace quire {

// Seconds since an arbitrary start.
double now_s();

// Bytes per second of reading `memory` once, on all threads of the pool: several streams per thread, prefetched.
double measure_read_roof(ThreadPool& pool, std::span<const std::byte> memory);

// FP32 multiply-adds from registers, on all threads, in flop/s (two per multiply-add), at the widest vector there is.
double measure_fma_roof(ThreadPool& pool);

// The same with bytes, four products and additions per word (VNNI; vpmaddubsw where there is none).
double measure_dot_roof(ThreadPool& pool);

}  // namespace quire
