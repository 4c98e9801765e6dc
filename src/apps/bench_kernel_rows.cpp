// Operations on rows of activations for `quire bench kernel`; a fused one is measured in turns with the operations
// that it replaces. A step reads such rows soon after it wrote them, so they stay in the caches.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "apps/bench_kernel_cases.h"
#include "apps/bench_kernel_memory.h"

namespace quire {
namespace {

constexpr float kEps = 1e-5f;

// The rows of one case.
struct RowBuffers {
  int64_t m;
  float* x;           // [2 * m, dim] random numbers
  float* out;         // [m, dim]
  std::byte* packed;  // [m, packed_row_bytes]
};

struct RowCase {
  const char* operation;
  int64_t dim;
  double floats_moved;  // per element of a row
  std::function<void(const RowBuffers& rows)> call;
  const char* against = "";
  std::function<void(const RowBuffers& rows)> against_call = {};
};

void measure_rows(const KernelRun& run, const RowCase& row) {
  for (const int64_t m : run.settings.tokens) {
    AlignedBuffer x = random_floats(2 * m * row.dim);
    AlignedBuffer out = buffer_of(static_cast<size_t>(m * row.dim) * sizeof(float));
    AlignedBuffer packed = buffer_of(run.table.packed_row_bytes((row.dim + 31) / 32 * 32) * static_cast<size_t>(m));
    const RowBuffers rows{m, floats(x), floats(out), packed.data()};
    run.measure({.operation = row.operation,
                 .shape = fmt::format("{}", row.dim),
                 .tokens = m,
                 .bytes = row.floats_moved * sizeof(float) * static_cast<double>(m * row.dim),
                 .is_from_memory = false,
                 .call = [&] { row.call(rows); },
                 .against = row.against,
                 .against_call = [&] { row.against_call(rows); }});
  }
}

// ---- norms and int8 rows ------------------------------------------------------------------------------------------

void rms_norm(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden;
  AlignedBuffer weight = random_floats(dim);
  measure_rows(run, {"rms_norm", dim, 2, [&](const RowBuffers& r) {
                       run.table.rms_norm(run.exec, {r.x, dim, floats(weight), kEps, r.m, dim}, r.out, dim);
                     }});
}

void pack_rows(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden / 32 * 32;
  measure_rows(run, {"pack_rows", dim, 1.25, [&](const RowBuffers& r) {
                       run.table.pack_rows(run.exec, {.x = r.x, .num_rows = r.m, .cols = dim}, r.packed);
                     }});
}

void rms_norm_packed(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden / 32 * 32;
  AlignedBuffer weight = random_floats(dim);
  measure_rows(run, {"rms_norm_packed", dim, 1.25,
                     [&](const RowBuffers& r) {
                       run.table.rms_norm_packed(run.exec, {r.x, dim, floats(weight), kEps, r.m, dim}, r.packed);
                     },
                     "rms_norm + pack_rows",
                     [&](const RowBuffers& r) {
                       run.table.rms_norm(run.exec, {r.x, dim, floats(weight), kEps, r.m, dim}, r.out, dim);
                       run.table.pack_rows(run.exec, {.x = r.out, .num_rows = r.m, .cols = dim}, r.packed);
                     }});
}

void add(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden;
  measure_rows(run, {"add", dim, 3, [&](const RowBuffers& r) { run.table.add(run.exec, r.out, r.x, r.m * dim); }});
}

void add_rms_norm(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden;
  AlignedBuffer weight = random_floats(dim);
  measure_rows(run, {"add_rms_norm", dim, 3,
                     [&](const RowBuffers& r) {
                       run.table.add_rms_norm(run.exec, {r.x, dim, floats(weight), kEps, r.m, dim}, r.out);
                     },
                     "rms_norm + add",
                     [&](const RowBuffers& r) {
                       float* const normed = r.x + r.m * dim;
                       run.table.rms_norm(run.exec, {r.x, dim, floats(weight), kEps, r.m, dim}, normed, dim);
                       run.table.add(run.exec, r.out, normed, r.m * dim);
                     }});
}

// ---- activations --------------------------------------------------------------------------------------------------

void gated_activation(const KernelRun& run) {
  const int64_t dim = run.settings.shape->inner;
  measure_rows(run, {"gated_activation", dim, 3, [&](const RowBuffers& r) {
                       run.table.gated_activation(
                           run.exec, {Activation::kSilu, r.x, 2 * dim, r.x + dim, 2 * dim, r.m, dim}, r.out, dim);
                     }});
}

void gated_activation_packed(const KernelRun& run) {
  const int64_t dim = run.settings.shape->inner / 32 * 32;
  measure_rows(run, {"gated_activation_packed", dim, 2.25,
                     [&](const RowBuffers& r) {
                       run.table.gated_activation_packed(
                           run.exec, {Activation::kSilu, r.x, 2 * dim, r.x + dim, 2 * dim, r.m, dim}, r.packed);
                     },
                     "gated_activation + pack_rows",
                     [&](const RowBuffers& r) {
                       run.table.gated_activation(
                           run.exec, {Activation::kSilu, r.x, 2 * dim, r.x + dim, 2 * dim, r.m, dim}, r.out, dim);
                       run.table.pack_rows(run.exec, {.x = r.out, .num_rows = r.m, .cols = dim}, r.packed);
                     }});
}

void softcap(const KernelRun& run) {
  const int64_t dim = run.settings.shape->hidden;
  measure_rows(run,
               {"softcap", dim, 2, [&](const RowBuffers& r) { run.table.softcap(run.exec, r.out, r.m * dim, 30.0f); }});
}

// ---- heads --------------------------------------------------------------------------------------------------------

// Number of rows of the longest batch.
AlignedBuffer longest_rotations(const KernelRun& run) {
  return rotations(*std::max_element(run.settings.tokens.begin(), run.settings.tokens.end()),
                   run.settings.shape->head_dim);
}

void rope(const KernelRun& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t dim = shape.heads * shape.head_dim;
  AlignedBuffer cos_sin = longest_rotations(run);
  measure_rows(run,
               {"rope", dim, 2, [&](const RowBuffers& r) {
                  run.table.rope(
                      run.exec, {.x = r.out, .stride = dim, .num_heads = static_cast<int>(shape.heads)}, r.m,
                      {floats(cos_sin), static_cast<int>(shape.head_dim), static_cast<int>(shape.head_dim / 2), false});
                }});
}

// Queries and keys, one after the other in memory.
void norm_rope(const KernelRun& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t head_dim = shape.head_dim, dim = (shape.heads + shape.kv_heads) * head_dim;
  AlignedBuffer cos_sin = longest_rotations(run);
  AlignedBuffer weight = random_floats(head_dim);
  const auto parts_of = [&](const RowBuffers& r) {
    const auto part = [&](float* x, int64_t heads) {
      return HeadRows{x, heads * head_dim, static_cast<int>(heads), floats(weight), kEps};
    };
    return std::array{part(r.x, shape.heads), part(r.x + r.m * shape.heads * head_dim, shape.kv_heads)};
  };
  measure_rows(
      run, {"norm_rope", dim, 2,
            [&](const RowBuffers& r) {
              const auto parts = parts_of(r);
              run.table.norm_rope(run.exec, parts.data(), 2, r.m,
                                  {floats(cos_sin), static_cast<int>(head_dim), static_cast<int>(head_dim / 2), false});
            },
            "rms_norm + rope",
            [&](const RowBuffers& r) {
              for (const HeadRows& part : parts_of(r)) {
                run.table.rms_norm(run.exec, {part.x, head_dim, part.norm, kEps, r.m * part.num_heads, head_dim},
                                   part.x, head_dim);
                run.table.rope(run.exec, {.x = part.x, .stride = part.stride, .num_heads = part.num_heads}, r.m,
                               {floats(cos_sin), static_cast<int>(head_dim), static_cast<int>(head_dim / 2), false});
              }
            }});
}

constexpr KernelOperation kRows[] = {{"pack_rows", pack_rows},
                                     {"rms_norm", rms_norm},
                                     {"rms_norm_packed", rms_norm_packed},
                                     {"add", add},
                                     {"add_rms_norm", add_rms_norm},
                                     {"gated_activation", gated_activation},
                                     {"gated_activation_packed", gated_activation_packed},
                                     {"softcap", softcap},
                                     {"rope", rope},
                                     {"norm_rope", norm_rope}};

}  // namespace

std::span<const KernelOperation> row_operations() { return kRows; }

}  // namespace quire
