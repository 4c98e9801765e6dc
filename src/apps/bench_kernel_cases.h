// The measurements of `quire bench kernel`: each operation of the kernel table at the sizes of a model, over memory
// that it would meet in the model. A further operation is a function in bench_kernel_cases.cpp and a row of its table.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "models/model_shapes.h"

namespace quire {

struct KernelCase {
  std::string operation = {};  // "matmul"
  std::string format = {};     // of the weights or of K / V; empty: floats
  std::string shape = {};      // "2048x2048", "32/4 x 64"
  int64_t tokens = 0;
  int64_t depth = 0;           // attention: positions before the first token
  double bytes = 0;            // that the operation has to read or write at least once
  double operations = 0;       // multiplications and additions; 0: bytes say it all
  bool is_integer = false;     // operations on int8
  bool is_from_memory = true;  // the bytes lie in no cache
  std::function<void()> call = {};

  std::string text() const;
};

struct KernelSettings {
  std::vector<std::string> operations;
  const ModelShape* shape = nullptr;
  std::vector<std::pair<int64_t, int64_t>> matrices;  // rows, columns
  std::vector<Format> formats;                        // of weights
  std::vector<std::pair<Format, Format>> kv_formats;  // K, V
  std::vector<int64_t> tokens;
  std::vector<int64_t> depths;     // attention_decode
  std::vector<int64_t> sequences;  // attention_decode
  size_t cold_bytes = 0;           // of weights, K and V that calls go through before they meet the same again
};

std::vector<std::string> kernel_operations();

// Makes the cases one after the other; a case and its memory live during its call of `measure`. Formats that the table
// cannot multiply are passed over.
void for_each_case(const KernelSettings& settings, const Kernels& table, ThreadPool& pool,
                   const std::function<void(const KernelCase&)>& measure);

}  // namespace quire
