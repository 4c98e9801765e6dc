// Times of the CUDA table's entries against the device's roofs, measured in the same run: reading memory and bf16
// products of the tensor cores (mma.sync, which reaches about two thirds of what wgmma does on Hopper). Prints a line
// of JSON per measurement. Arrays hold random numbers of magnitudes below 2, in every format; weights are read from
// several copies that together exceed the L2 cache. Where cuBLASLt is installed, its products of dense matrices are
// timed beside our own ("by": "cublaslt").
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/bench/bench_loops.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/matmul/dense_matmul.h"
#include "kernels/cuda/rows/sampling.h"

namespace quire {
namespace {

constexpr int kRounds = 7;
constexpr size_t kMoreThanCaches = size_t{256} << 20;

template <typename T>
DeviceArray<T> random_array(size_t count) {
  DeviceArray<T> array((count * sizeof(T) + 15) / 16 * 16 / sizeof(T));
  fill_random(gpu_stream(gpu_exec()), reinterpret_cast<uint32_t*>(array.data()), array.size() * sizeof(T) / 4);
  return array;
}

// Seconds of one call, the median over rounds; body(i) is called for i = 0, 1, 2 ...
double seconds_of(const std::function<void(int)>& body) {
  const Stream stream = gpu_stream(gpu_exec());
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  check_gpu(cudaEventCreate(&begin), "making an event");
  check_gpu(cudaEventCreate(&end), "making an event");
  int calls = 1;
  int next = 0;
  const auto run = [&] {
    check_gpu(cudaEventRecord(begin, stream), "timing");
    for (int i = 0; i < calls; ++i) body(next++);
    check_gpu(cudaEventRecord(end, stream), "timing");
    check_gpu(cudaEventSynchronize(end), "timing");
    float ms = 0.0f;
    check_gpu(cudaEventElapsedTime(&ms, begin, end), "timing");
    return ms * 1e-3 / calls;
  };
  run();
  calls = std::clamp(static_cast<int>(5e-3 / run()), 1, 1000);  // rounds of about 5 ms
  std::vector<double> rounds(kRounds);
  for (double& seconds : rounds) seconds = run();
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::ranges::nth_element(rounds, rounds.begin() + kRounds / 2);
  return rounds[kRounds / 2];
}

struct Roofs {
  double bytes_per_s = 0;
  double bf16_per_s = 0;  // operations: two per product
};

Roofs measure_roofs() {
  const Stream stream = gpu_stream(gpu_exec());
  int processors = 0;
  check_gpu(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0), "counting multiprocessors");
  DeviceArray<uint32_t> nothing(1);
  const size_t words = size_t{1} << 28;
  const auto memory = random_array<uint32_t>(words);
  Roofs roofs;
  const double read = seconds_of([&](int) { read_all(stream, processors, memory.data(), words, nothing.data()); });
  roofs.bytes_per_s = words * sizeof(uint32_t) / read;
  const int steps = 20000;
  double operations = 0;
  const double multiplied =
      seconds_of([&](int) { operations = multiply_bf16(stream, processors, steps, nothing.data()); });
  roofs.bf16_per_s = operations / multiplied;
  fmt::print("{{\"bench\": \"roof\", \"read_gb_per_s\": {:.0f}, \"bf16_tflop_per_s\": {:.1f}}}\n",
             roofs.bytes_per_s / 1e9, roofs.bf16_per_s / 1e12);
  return roofs;
}

// `operations` 0: only the memory roof applies.
void report(const Roofs& roofs, const std::string& what, double seconds, double bytes, double operations = 0) {
  fmt::print("{{\"bench\": \"cuda\", {}, \"us\": {:.2f}, \"gb_per_s\": {:.0f}, \"of_read_roof\": {:.3f}", what,
             seconds * 1e6, bytes / seconds / 1e9, bytes / seconds / roofs.bytes_per_s);
  if (operations > 0) {
    fmt::print(", \"tflop_per_s\": {:.1f}, \"of_bf16_roof\": {:.3f}", operations / seconds / 1e12,
               operations / seconds / roofs.bf16_per_s);
  }
  fmt::print("}}\n");
}

// By our tiles or, with is_dense, by the library.
void bench_matmul(const Kernels& table, const Exec& exec, bool is_dense, const Roofs& roofs) {
  const int64_t rows = 14336;
  const int64_t cols = 4096;
  for (Format format : {Format::kBF16, Format::kF16, Format::kQ8_0, Format::kQ4_0, Format::kQ4_K, Format::kQ6_K,
                        Format::kI4_G128, Format::kI8_G128, Format::kF8_G128}) {
    const size_t bytes = is_dense ? table.dense_bytes(format, rows, cols) : table.packed_bytes(format, rows, cols);
    if (bytes == 0) continue;
    const auto copies = static_cast<int>(kMoreThanCaches / bytes + 1);
    const size_t stride = (bytes + 255) / 256 * 256;
    const auto weights = random_array<std::byte>(stride * static_cast<size_t>(copies));
    for (int64_t m : {1, 4, 16, 32, 64, 256, 2048}) {
      const auto x = random_array<float>(static_cast<size_t>(m * cols));
      auto packed = random_array<std::byte>(static_cast<size_t>(m) * table.packed_row_bytes(cols));
      auto y = random_array<float>(static_cast<size_t>(m * rows));
      const MatmulInput input{.num_rows = m, .cols = cols, .f32 = x.data(), .packed = packed.data()};
      const double seconds = seconds_of([&](int i) {
        PackedMatrix matrix{.format = format, .rows = rows, .cols = cols};
        matrix.data = weights.data() + stride * static_cast<size_t>(i % copies);
        matrix.is_dense = is_dense;
        const MatmulOutput output{.weights = matrix, .y = y.data(), .y_stride = rows};
        table.matmul(exec, input, &output, 1);
      });
      report(roofs,
             fmt::format("\"op\": \"matmul\", \"by\": \"{}\", \"format\": \"{}\", \"rows\": {}, \"matrix\": \"{}x{}\"",
                         is_dense ? "cublaslt" : "tiles", weight_format(format).name, m, rows, cols),
             seconds, static_cast<double>(bytes), 2.0 * static_cast<double>(m * rows * cols));
    }
  }
}

void bench_library(const Roofs& roofs) {
  try {
    const Backend backend = make_cuda(/*one_answer=*/false);
    MatmulLibrary library;
    GpuStream stream{gpu_stream(gpu_exec()), &gpu_staging(gpu_exec()), &library};
    DeviceArray<std::byte> scratch(backend.kernels->scratch_bytes);
    Exec exec = gpu_exec();
    exec.stream = &stream;
    exec.scratch = scratch.data();
    bench_matmul(*backend.kernels, exec, /*is_dense=*/true, roofs);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
}

struct AttentionCase {
  Format format;
  int64_t num_sequences;
  int64_t num_rows;  // of each sequence, the last of its positions
  int64_t context;
};

void bench_attention_case(const Kernels& table, const Roofs& roofs, const AttentionCase& c) {
  const int heads = 32;
  const int kv_heads = 8;
  const int head_dim = 128;
  const int64_t blocks = ceil_div(c.context, kKvBlockSize);
  const auto num_tiles = static_cast<size_t>(c.num_sequences * blocks * kv_heads);
  const size_t k_bytes = num_tiles * static_cast<size_t>(k_tile_bytes(c.format, head_dim));
  const size_t v_bytes = num_tiles * static_cast<size_t>(v_tile_bytes(c.format, head_dim));
  auto k = random_array<std::byte>(k_bytes);
  auto v = random_array<std::byte>(v_bytes);
  std::vector<int32_t> ids(static_cast<size_t>(c.num_sequences * blocks));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  const DeviceArray<int32_t> tables(ids);
  std::vector<AttentionSequence> sequences;
  for (int64_t i = 0; i < c.num_sequences; ++i) {
    sequences.push_back({i * c.num_rows, c.num_rows, c.context - c.num_rows, tables.data() + i * blocks});
  }
  const DeviceArray<AttentionSequence> device_sequences(sequences);
  const int64_t rows = c.num_sequences * c.num_rows;
  const auto q = random_array<float>(static_cast<size_t>(rows * heads * head_dim));
  auto out = random_array<float>(q.size());
  auto workspace = random_array<std::byte>(table.attention_workspace_bytes({.max_rows = rows,
                                                                            .max_sequences = c.num_sequences,
                                                                            .max_context = c.context,
                                                                            .num_heads = heads,
                                                                            .num_kv_heads = kv_heads,
                                                                            .head_dim = head_dim}));
  AttentionArgs args{.q = q.data(),
                     .q_stride = heads * head_dim,
                     .out = out.data(),
                     .kv = {k.data(), v.data(), c.format, c.format, kv_heads, head_dim}};
  args.sequences = device_sequences.data();
  args.num_sequences = c.num_sequences;
  args.num_rows = rows;
  args.max_rows = c.num_rows;
  args.max_context = c.context;
  args.num_heads = heads;
  args.scale = 0.0884f;
  args.workspace = workspace.data();
  const double seconds = seconds_of([&](int) { table.attention(gpu_exec(), args); });
  const double pairs = static_cast<double>(rows) * static_cast<double>(c.context - c.num_rows / 2);
  report(roofs,
         fmt::format("\"op\": \"attention\", \"kv\": \"{}\", \"sequences\": {}, \"rows\": {}, \"context\": {}",
                     weight_format(c.format).name, c.num_sequences, c.num_rows, c.context),
         seconds, static_cast<double>(k_bytes + v_bytes), 4.0 * pairs * heads * head_dim);
}

void bench_attention(const Kernels& table, const Roofs& roofs) {
  if (table.attention == nullptr) return;
  for (Format format : {Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0}) {
    if (k_tile_bytes(format, 128) == 0) continue;
    for (int64_t sequences : {1, 16, 64}) bench_attention_case(table, roofs, {format, sequences, 1, 4096});
    bench_attention_case(table, roofs, {format, 1, 1, 65536});
    bench_attention_case(table, roofs, {format, 1, 2048, 2048});
    bench_attention_case(table, roofs, {format, 1, 16384, 16384});
  }
}

void bench_rows(const Kernels& table, const Roofs& roofs) {
  const int64_t dim = 4096;
  const int64_t inner = 14336;
  for (int64_t rows : {1, 16, 64, 2048}) {
    const auto bytes = static_cast<double>(rows * dim) * sizeof(float);
    const auto x = random_array<float>(static_cast<size_t>(rows * inner));
    const auto up = random_array<float>(static_cast<size_t>(rows * inner));
    const auto cos_sin = random_array<float>(static_cast<size_t>(rows * 128));
    auto heads = random_array<float>(static_cast<size_t>(rows * dim));
    auto packed = random_array<std::byte>(static_cast<size_t>(rows) * table.packed_row_bytes(inner));
    const auto time = [&](const char* op, double moved, const std::function<void(int)>& body) {
      report(roofs, fmt::format("\"op\": \"{}\", \"rows\": {}", op, rows), seconds_of(body), moved);
    };
    time("rms_norm_packed", 1.875 * bytes, [&](int) {
      table.rms_norm_packed(gpu_exec(), {x.data(), dim, up.data(), 1e-5f, rows, dim}, packed.data());
    });
    time("gated_activation_packed", 2.875 * bytes * inner / dim, [&](int) {
      table.gated_activation_packed(gpu_exec(), {Activation::kSilu, x.data(), inner, up.data(), inner, rows, inner},
                                    packed.data());
    });
    time("rope", 2.0 * bytes, [&](int) {
      table.rope(gpu_exec(), {.x = heads.data(), .stride = dim, .num_heads = 32}, rows,
                 {cos_sin.data(), 128, 64, false});
    });
    time("add", 3.0 * bytes, [&](int) { table.add(gpu_exec(), heads.data(), x.data(), rows * dim); });
  }
}

void bench_sampling(const Roofs& roofs) {
  constexpr int kVocab = 128256;
  struct SamplingCase {
    const char* name;
    float temperature;
    int32_t top_k;
    float top_p;
  };
  const SamplingCase cases[] = {{"greedy", 0, 0, 1}, {"temperature", 1, 0, 1}, {"top_k 50, top_p 0.9", 1, 50, 0.9f}};
  for (int64_t rows : {1, 64}) {
    const auto logits = random_array<float>(static_cast<size_t>(rows * kVocab));
    DeviceArray<int32_t> tokens(static_cast<size_t>(rows));
    for (const SamplingCase& sampling : cases) {
      std::vector<SamplingRow> same(static_cast<size_t>(rows));
      for (SamplingRow& row : same) {
        row.random = 0.3;
        row.temperature = sampling.temperature;
        row.top_k = sampling.top_k;
        row.top_p = sampling.top_p;
      }
      const DeviceArray<SamplingRow> wanted(same);
      const double seconds =
          seconds_of([&](int) { sample_rows(gpu_exec(), logits.data(), rows, kVocab, wanted.data(), tokens.data()); });
      report(roofs, fmt::format("\"op\": \"sample_rows\", \"how\": \"{}\", \"rows\": {}", sampling.name, rows), seconds,
             static_cast<double>(rows * kVocab) * sizeof(float));
    }
  }
}

int run() {
  if (!gpu_present()) {
    fmt::print("no CUDA device on this machine\n");
    return 0;
  }
  const Backend backend = make_cuda(/*one_answer=*/true);
  fmt::print("{{\"bench\": \"device\", \"device\": \"{}\"}}\n", backend.device->description());
  const Roofs roofs = measure_roofs();
  bench_rows(*backend.kernels, roofs);
  bench_matmul(*backend.kernels, gpu_exec(), /*is_dense=*/false, roofs);
  bench_library(roofs);
  bench_attention(*backend.kernels, roofs);
  bench_sampling(roofs);
  return 0;
}

}  // namespace
}  // namespace quire

int main() {
  try {
    return quire::run();
  } catch (const quire::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
