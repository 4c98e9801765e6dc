// The measurements of `quire bench kernel`: each operation of the kernel table at the sizes of a model, over
// memory laid out as in the model. A further operation is a function in bench_kernel_rows.cpp or a file beside it, and
// a row of the table at its end.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "models/synthetic/model_shapes.h"

namespace quire {

struct KernelCase {
  std::string operation = {};  // "matmul"
  std::string format = {};     // of the weights or of K / V; empty: floats
  std::string shape = {};      // "2048x2048", "32/4 x 64"
  int64_t tokens = 0;
  int64_t depth = 0;           // attention: positions before the first token
  int64_t shared = 0;          // attention: positions that all sequences begin with
  double bytes = 0;            // that the operation has to read or write at least once
  double operations = 0;       // multiplications and additions; 0: only bytes count
  bool is_integer = false;     // operations on int8
  bool is_from_memory = true;  // no cache holds the bytes
  std::function<void()> call = {};
  // Another way to the same result, measured in turns with it.
  std::string against = {};  // "rms_norm + pack_rows"; empty: none
  std::function<void()> against_call = {};

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
  int64_t shared_prefix = 0;       // attention_decode: positions whose blocks all sequences share
  size_t cold_bytes = 0;           // of weights, K and V that calls use before they use the same again
};

std::vector<std::string> kernel_operations();

// The memory that operations are measured over, and the lists of cases.
struct KernelRun {
  const KernelSettings& settings;
  const Kernels& table;
  Exec exec;
  const std::function<void(const KernelCase&)>& measure;
};
struct KernelOperation {
  const char* name;
  void (*run)(const KernelRun& run);
};
std::span<const KernelOperation> matmul_operations();
std::span<const KernelOperation> attention_operations();
std::span<const KernelOperation> row_operations();

// Makes the cases one after the other; a case and its memory live during its call of `measure`. Formats that the table
// cannot multiply are left out.
void for_each_case(const KernelSettings& settings, const Kernels& table, ThreadPool& pool,
                   const std::function<void(const KernelCase&)>& measure);

}  // namespace quire
