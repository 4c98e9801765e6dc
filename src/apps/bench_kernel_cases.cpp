#include "apps/bench_kernel_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "kernels/select.h"
#include "models/kv_cache.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

struct Run {
  const KernelSettings& settings;
  const Kernels& table;
  Exec exec;
  const std::function<void(const KernelCase&)>& measure;
};

// On huge pages, as the engine's workspace is.
AlignedBuffer buffer_of(size_t bytes) { return AlignedBuffer(std::max(bytes, AlignedBuffer::kHugePageBytes)); }

AlignedBuffer random_floats(int64_t count, float deviation = 1.0f) {
  AlignedBuffer buffer = buffer_of(static_cast<size_t>(count) * sizeof(float));
  std::minstd_rand random(1);
  for (float& value : buffer.as<float>().first(static_cast<size_t>(count))) {
    value = deviation * (static_cast<float>(random() % 4001) / 1000.0f - 2.0f);
  }
  return buffer;
}

float* floats(AlignedBuffer& buffer) { return buffer.as<float>().data(); }

// ---- matmul -------------------------------------------------------------------------------------------------------

// Copies of a packed matrix, as many as no cache holds; calls go through them as steps go through layers.
class PackedCopies {
 public:
  PackedCopies(const Run& run, Format format, int64_t rows, int64_t cols)
      : stride_((run.table.packed_bytes(format, rows, cols) + 4095) / 4096 * 4096),
        num_copies_(std::max<size_t>(1, run.settings.cold_bytes / stride_)),
        memory_(stride_ * num_copies_) {
    const WeightFormat& info = weight_format(format);
    const size_t row_bytes = info.bytes_of(cols);
    AlignedBuffer row = random_floats(cols, 0.01f);
    std::vector<std::byte> file(row_bytes * static_cast<size_t>(rows));
    info.quantize(floats(row), file.data(), cols);
    for (size_t at = row_bytes; at < file.size(); at += row_bytes) std::memcpy(&file[at], file.data(), row_bytes);
    run.table.pack(run.exec, format, rows, cols, file.data(), memory_.data());
    for (size_t i = 1; i < num_copies_; ++i) std::memcpy(memory_.data() + i * stride_, memory_.data(), stride_);
  }
  const std::byte* next() { return memory_.data() + stride_ * (next_++ % num_copies_); }

 private:
  size_t stride_;
  size_t num_copies_;
  AlignedBuffer memory_;
  size_t next_ = 0;
};

void matmul_of(const Run& run, Format format, int64_t rows, int64_t cols) {
  const Kernels& table = run.table;
  PackedCopies copies(run, format, rows, cols);
  const bool is_integer = table.takes_q8(format);
  for (const int64_t m : run.settings.tokens) {
    AlignedBuffer x = random_floats(m * cols);
    AlignedBuffer q8 = buffer_of(is_integer ? table.q8_row_bytes(cols) * static_cast<size_t>(m) : 1);
    if (is_integer) table.quantize_q8(run.exec, floats(x), m, cols, q8.data());
    AlignedBuffer y = buffer_of(static_cast<size_t>(m * rows) * sizeof(float));
    const MatmulInput input{.num_rows = m, .cols = cols, .f32 = floats(x), .q8 = q8.data()};
    run.measure(
        {.operation = "matmul",
         .format = weight_format(format).name,
         .shape = fmt::format("{}x{}", rows, cols),
         .tokens = m,
         .bytes = static_cast<double>(table.packed_bytes(format, rows, cols)),
         .operations = 2.0 * static_cast<double>(m * rows * cols),
         .is_integer = is_integer,
         .call = [&] {
           const MatmulOutput output{.weights = {format, rows, cols, copies.next()}, .y = floats(y), .y_stride = rows};
           table.matmul(run.exec, input, &output, 1);
         }});
  }
}

void matmul(const Run& run) {
  for (const Format format : run.settings.formats) {
    for (const auto& [rows, cols] : run.settings.matrices) {
      if (cols % weight_format(format).block_elements != 0) continue;
      if (run.table.packed_bytes(format, rows, cols) > 0) matmul_of(run, format, rows, cols);
    }
  }
}

// ---- attention ----------------------------------------------------------------------------------------------------

// Layers of K and V, as many as no cache holds, full of numbers; calls go through them.
class Layers {
 public:
  Layers(const Run& run, std::pair<Format, Format> formats, int64_t num_positions)
      : cache_(shape_for(run, formats, num_positions), blocks_for(num_positions)) {
    constexpr int64_t kRows = 256;
    const ModelShape& shape = *run.settings.shape;
    const int64_t width = shape.kv_heads * shape.head_dim;
    AlignedBuffer values = random_floats(kRows * width);
    std::vector<int64_t> slots(kRows);
    for (int layer = 0; layer < cache_.shape().num_layers; ++layer) {
      const int64_t num_slots = cache_.num_blocks() * kKvBlockSize;
      for (int64_t at = 0; at < num_slots; at += kRows) {
        const int64_t count = std::min(kRows, num_slots - at);
        for (int64_t i = 0; i < count; ++i) slots[static_cast<size_t>(i)] = at + i;
        run.table.write_kv(run.exec, cache_.layer(layer), floats(values), width, floats(values), width, slots.data(),
                           count);
      }
    }
  }

  KvLayer next() { return cache_.layer(next_++ % cache_.shape().num_layers); }
  double bytes_per_position() const {
    return static_cast<double>(cache_.shape().token_bytes()) / cache_.shape().num_layers;
  }

 private:
  static int64_t blocks_for(int64_t num_positions) { return (num_positions + kKvBlockSize - 1) / kKvBlockSize; }
  static KvShape shape_for(const Run& run, std::pair<Format, Format> formats, int64_t num_positions) {
    const ModelShape& model = *run.settings.shape;
    KvShape shape{.num_layers = 1,
                  .num_kv_heads = static_cast<int>(model.kv_heads),
                  .head_dim = static_cast<int>(model.head_dim),
                  .k_format = formats.first,
                  .v_format = formats.second};
    const uint64_t layer_bytes = shape.block_bytes() * static_cast<uint64_t>(blocks_for(num_positions));
    shape.num_layers = static_cast<int>(std::max<uint64_t>(1, run.settings.cold_bytes / layer_bytes));
    return shape;
  }

  KvCache cache_;
  int next_ = 0;
};

// `num_sequences` sequences, each of `num_rows` tokens behind `depth` positions.
void attention_of(const Run& run, const char* operation, std::pair<Format, Format> formats, int64_t num_sequences,
                  int64_t num_rows, int64_t depth) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t length = depth + num_rows;
  const int64_t blocks = (length + kKvBlockSize - 1) / kKvBlockSize;
  Layers layers(run, formats, blocks * kKvBlockSize * num_sequences);
  const int64_t width = shape.heads * shape.head_dim;
  AlignedBuffer q = random_floats(num_sequences * num_rows * width);
  AlignedBuffer out = buffer_of(q.size_bytes());
  std::vector<int32_t> blocks_of_all(static_cast<size_t>(num_sequences * blocks));
  for (size_t i = 0; i < blocks_of_all.size(); ++i) blocks_of_all[i] = static_cast<int32_t>(i);
  std::vector<AttentionSequence> sequences;
  for (int64_t s = 0; s < num_sequences; ++s) {
    sequences.push_back({s * num_rows, num_rows, depth, blocks_of_all.data() + s * blocks});
  }
  AlignedBuffer workspace =
      buffer_of(run.table.attention_workspace_bytes({.num_threads = run.exec.num_threads,
                                                     .max_rows = num_sequences * num_rows,
                                                     .max_sequences = num_sequences,
                                                     .max_context = length,
                                                     .num_heads = static_cast<int>(shape.heads),
                                                     .num_kv_heads = static_cast<int>(shape.kv_heads),
                                                     .head_dim = static_cast<int>(shape.head_dim)}));
  const double pairs = static_cast<double>(num_sequences * num_rows) *
                       (static_cast<double>(depth) + static_cast<double>(num_rows + 1) / 2);
  const std::string k = weight_format(formats.first).name, v = weight_format(formats.second).name;
  run.measure({.operation = operation,
               .format = k == v ? k : k + "/" + v,
               .shape = fmt::format("{}/{} x {}", shape.heads, shape.kv_heads, shape.head_dim),
               .tokens = num_sequences * num_rows,
               .depth = depth,
               .bytes = layers.bytes_per_position() * static_cast<double>(num_sequences * length),
               .operations = 4.0 * pairs * static_cast<double>(width),
               .call = [&] {
                 AttentionArgs args;
                 args.q = floats(q);
                 args.q_stride = width;
                 args.out = floats(out);
                 args.kv = layers.next();
                 args.sequences = sequences.data();
                 args.num_sequences = num_sequences;
                 args.num_heads = static_cast<int>(shape.heads);
                 args.scale = 0.1f;
                 args.workspace = workspace.data();
                 run.table.attention(run.exec, args);
               }});
}

void attention_decode(const Run& run) {
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t depth : run.settings.depths) {
      for (const int64_t count : run.settings.sequences) {
        attention_of(run, "attention_decode", formats, count, 1, depth - 1);
      }
    }
  }
}

void attention_prefill(const Run& run) {
  constexpr int64_t kLeast = 64;  // tokens of a prompt worth the name
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      if (m >= kLeast) attention_of(run, "attention_prefill", formats, 1, m, 0);
    }
  }
}

void write_kv(const Run& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t width = shape.kv_heads * shape.head_dim;
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      Layers layers(run, formats, m);
      AlignedBuffer values = random_floats(m * width);
      std::vector<int64_t> slots;
      for (int64_t i = 0; i < m; ++i) slots.push_back(i);
      run.measure({.operation = "write_kv",
                   .format = weight_format(formats.first).name,
                   .shape = fmt::format("{} x {}", shape.kv_heads, shape.head_dim),
                   .tokens = m,
                   .bytes = layers.bytes_per_position() * static_cast<double>(m),
                   .is_from_memory = false,  // written, not read: the read roof says nothing
                   .call = [&] {
                     run.table.write_kv(run.exec, layers.next(), floats(values), width, floats(values), width,
                                        slots.data(), m);
                   }});
    }
  }
}

// ---- rows ---------------------------------------------------------------------------------------------------------

// Operations on rows of activations, which a step has just written and reads soon: they stay in the caches.
struct RowCase {
  const char* operation;
  int64_t dim;
  double floats_moved;  // per element of a row
  std::function<void(int64_t m, float* x, float* out)> call;
};

void measure_rows(const Run& run, const RowCase& row) {
  for (const int64_t m : run.settings.tokens) {
    AlignedBuffer x = random_floats(2 * m * row.dim);
    AlignedBuffer out = buffer_of(static_cast<size_t>(m * row.dim) * sizeof(float));
    run.measure({.operation = row.operation,
                 .shape = fmt::format("{}", row.dim),
                 .tokens = m,
                 .bytes = row.floats_moved * sizeof(float) * static_cast<double>(m * row.dim),
                 .is_from_memory = false,
                 .call = [&] { row.call(m, floats(x), floats(out)); }});
  }
}

void rms_norm(const Run& run) {
  const int64_t dim = run.settings.shape->hidden;
  AlignedBuffer weight = random_floats(dim);
  measure_rows(run, {"rms_norm", dim, 2, [&](int64_t m, float* x, float* out) {
                       run.table.rms_norm(run.exec, x, dim, floats(weight), 1e-5f, m, dim, out, dim);
                     }});
}

void quantize_q8(const Run& run) {
  const int64_t dim = run.settings.shape->hidden / 32 * 32;
  AlignedBuffer q8;
  measure_rows(run, {"quantize_q8", dim, 1.25, [&](int64_t m, float* x, float*) {
                       const size_t bytes = run.table.q8_row_bytes(dim) * static_cast<size_t>(m);
                       if (q8.size_bytes() < bytes) q8 = buffer_of(bytes);
                       run.table.quantize_q8(run.exec, x, m, dim, q8.data());
                     }});
}

void gated_activation(const Run& run) {
  const int64_t dim = run.settings.shape->inner;
  measure_rows(run, {"gated_activation", dim, 3, [&](int64_t m, float* x, float* out) {
                       run.table.gated_activation(run.exec, Activation::kSilu, x, 2 * dim, x + dim, 2 * dim, m, dim,
                                                  out, dim);
                     }});
}

void add(const Run& run) {
  const int64_t dim = run.settings.shape->hidden;
  measure_rows(run,
               {"add", dim, 3, [&](int64_t m, float* x, float* out) { run.table.add(run.exec, out, x, m * dim); }});
}

void softcap(const Run& run) {
  const int64_t dim = run.settings.shape->hidden;
  measure_rows(run, {"softcap", dim, 2,
                     [&](int64_t m, float*, float* out) { run.table.softcap(run.exec, out, m * dim, 30.0f); }});
}

void rope(const Run& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t dim = shape.heads * shape.head_dim;
  const int64_t most = *std::max_element(run.settings.tokens.begin(), run.settings.tokens.end());
  AlignedBuffer cos_sin = random_floats(most * shape.head_dim);
  for (int64_t i = 0; i < most * shape.head_dim; ++i) {  // a rotation, so that values neither grow nor vanish
    floats(cos_sin)[i] = i % shape.head_dim < shape.head_dim / 2 ? 0.6f : 0.8f;
  }
  measure_rows(run, {"rope", dim, 2, [&](int64_t m, float*, float* out) {
                       run.table.rope(run.exec, out, dim, m, static_cast<int>(shape.heads),
                                      static_cast<int>(shape.head_dim), static_cast<int>(shape.head_dim / 2),
                                      floats(cos_sin), false);
                     }});
}

constexpr struct {
  const char* name;
  void (*run)(const Run& run);
} kOperations[] = {{"matmul", matmul},
                   {"attention_decode", attention_decode},
                   {"attention_prefill", attention_prefill},
                   {"write_kv", write_kv},
                   {"quantize_q8", quantize_q8},
                   {"rms_norm", rms_norm},
                   {"gated_activation", gated_activation},
                   {"rope", rope},
                   {"add", add},
                   {"softcap", softcap}};

}  // namespace

std::string KernelCase::text() const {
  std::string out = operation;
  if (!format.empty()) out += " " + format;
  out += fmt::format(" {}, {} {}", shape, tokens, tokens == 1 ? "token" : "tokens");
  return depth > 0 ? out + fmt::format(" @ {}", depth) : out;
}

std::vector<std::string> kernel_operations() {
  std::vector<std::string> names;
  for (const auto& operation : kOperations) names.emplace_back(operation.name);
  return names;
}

void for_each_case(const KernelSettings& settings, const Kernels& table, ThreadPool& pool,
                   const std::function<void(const KernelCase&)>& measure) {
  const Run run{settings, table, make_exec(pool), measure};
  for (const auto& operation : kOperations) {
    const auto& wanted = settings.operations;
    if (std::find(wanted.begin(), wanted.end(), operation.name) != wanted.end()) operation.run(run);
  }
}

}  // namespace quire
