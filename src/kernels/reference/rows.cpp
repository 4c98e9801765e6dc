#include <algorithm>
#include <cmath>

#include "kernels/reference/kv_tile.h"
#include "kernels/reference/packed_rows.h"
#include "kernels/reference/reference.h"

namespace quire {
namespace {

// Calls body(row) for every row on the threads of exec.
template <typename F>
void for_each_row(const Exec& exec, int64_t num_rows, F body) {
  exec.run(
      exec.pool, num_rows, [](void* context, int64_t row, int) { (*static_cast<F*>(context))(row); }, &body);
}

float rms_scale(const float* x, float eps, int64_t dim) {
  double sum = 0;
  for (int64_t i = 0; i < dim; ++i) sum += static_cast<double>(x[i]) * x[i];
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(dim) + eps));
}

void rms_norm(const Exec& exec, const RowNorm& norm, float* out, int64_t out_stride) {
  for_each_row(exec, norm.num_rows, [=](int64_t row) {
    const float* in = norm.x + row * norm.x_stride;
    const float scale = rms_scale(in, norm.eps, norm.dim);
    for (int64_t i = 0; i < norm.dim; ++i) out[row * out_stride + i] = in[i] * scale * norm.weight[i];
  });
}

template <Activations kKind>
void rms_norm_packed(const Exec& exec, const RowNorm& norm, std::byte* packed) {
  using Rows = ReferenceRows<kKind>;
  const int64_t dim = norm.dim;
  for_each_row(exec, norm.num_rows, [=](int64_t row) {
    const float* in = norm.x + row * norm.x_stride;
    const float scale = rms_scale(in, norm.eps, dim);
    for (int64_t k = 0; k < dim; k += kPackedColumnMultiple) {
      const int64_t count = std::min(kPackedColumnMultiple, dim - k);
      float normed[kPackedColumnMultiple];
      for (int64_t i = 0; i < count; ++i) normed[i] = in[k + i] * scale * norm.weight[k + i];
      Rows::put(normed, count, dim, k, packed + static_cast<size_t>(row) * Rows::bytes(dim));
    }
  });
}

void add_rms_norm(const Exec& exec, const RowNorm& norm, float* x) {
  for_each_row(exec, norm.num_rows, [=](int64_t row) {
    const float* in = norm.x + row * norm.x_stride;
    const float scale = rms_scale(in, norm.eps, norm.dim);
    for (int64_t i = 0; i < norm.dim; ++i) x[row * norm.dim + i] += in[i] * scale * norm.weight[i];
  });
}

void add(const Exec&, float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

double activate(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu: return x / (1.0 + std::exp(-x));
    case Activation::kGeluTanh: return 0.5 * x * (1.0 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu: return 0.5 * x * std::erfc(-x * M_SQRT1_2);
  }
  return 0;
}

float gated(const RowGate& gate, int64_t row, int64_t i) {
  const double activated = activate(gate.kind, gate.gate[row * gate.gate_stride + i]);
  return static_cast<float>(activated) * gate.up[row * gate.up_stride + i];
}

void gated_activation(const Exec& exec, const RowGate& gate, float* out, int64_t out_stride) {
  for_each_row(exec, gate.num_rows, [=](int64_t row) {
    for (int64_t i = 0; i < gate.dim; ++i) out[row * out_stride + i] = gated(gate, row, i);
  });
}

template <Activations kKind>
void gated_activation_packed(const Exec& exec, const RowGate& gate, std::byte* packed) {
  using Rows = ReferenceRows<kKind>;
  for_each_row(exec, gate.num_rows, [=](int64_t row) {
    for (int64_t k = 0; k < gate.dim; k += kPackedColumnMultiple) {
      const int64_t count = std::min(kPackedColumnMultiple, gate.dim - k);
      float product[kPackedColumnMultiple];
      for (int64_t i = 0; i < count; ++i) product[i] = gated(gate, row, k + i);
      Rows::put(product, count, gate.dim, k, packed + static_cast<size_t>(row) * Rows::bytes(gate.dim));
    }
  });
}

void rope(const Exec& exec, const HeadRows& heads, int64_t num_rows, const Rotation& rotation) {
  const int half_dim = rotation.half_dim;
  for_each_row(exec, num_rows, [=](int64_t row) {
    const float* cosines = rotation.cos_sin + row * 2 * half_dim;
    const float* sines = cosines + half_dim;
    for (int head = 0; head < heads.num_heads; ++head) {
      float* values = heads.x + row * heads.stride + static_cast<int64_t>(head) * rotation.head_dim;
      for (int i = 0; i < half_dim; ++i) {
        float& first = values[rotation.interleaved ? 2 * i : i];
        float& second = values[rotation.interleaved ? 2 * i + 1 : i + half_dim];
        const float rotated = first * cosines[i] - second * sines[i];
        second = second * cosines[i] + first * sines[i];
        first = rotated;
      }
    }
  });
}

void norm_rope(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, const Rotation& rotation) {
  const int64_t head_dim = rotation.head_dim;
  for (const HeadRows* part = parts; part != parts + num_parts; ++part) {
    for (int64_t row = 0; part->norm != nullptr && row < num_rows; ++row) {
      float* heads = part->x + row * part->stride;
      rms_norm(exec,
               {.x = heads,
                .x_stride = head_dim,
                .weight = part->norm,
                .eps = part->norm_eps,
                .num_rows = part->num_heads,
                .dim = head_dim},
               heads, head_dim);
    }
    rope(exec, *part, num_rows, rotation);
  }
}

void hadamard_heads(const Exec& exec, const HeadRows& heads, int64_t num_rows, int head_dim) {
  for_each_row(exec, num_rows, [=](int64_t row) {
    for (int head = 0; head < heads.num_heads; ++head) {
      hadamard_reference(heads.x + row * heads.stride + int64_t{head} * head_dim, head_dim);
    }
  });
}

void add_expert_rows(const Exec& exec, const ExpertRows& experts, int64_t num_rows, int64_t dim, float* y) {
  for_each_row(exec, num_rows, [=, &experts](int64_t row) {
    if (experts.first == 0) std::fill_n(y + row * dim, dim, 0.0f);
    for (int64_t j = row * experts.per_row; j < (row + 1) * experts.per_row; ++j) {
      const int32_t assignment = experts.assignments[j];
      if (assignment < experts.first || assignment >= experts.last) continue;
      const float* from = experts.from + (assignment - experts.first) * dim;
      for (int64_t i = 0; i < dim; ++i) y[row * dim + i] += experts.weights[j] * from[i];
    }
  });
}

void softcap(const Exec&, float* x, int64_t n, float cap) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(cap * std::tanh(static_cast<double>(x[i]) / cap));
}

void write_kv(const Exec& exec, const KvWrite& write, const float* k, int64_t k_stride) {
  const KvLayer& kv = write.kv;
  const int64_t k_bytes = k_tile_bytes(kv.k_format, kv.head_dim);
  const int64_t v_bytes = v_tile_bytes(kv.v_format, kv.head_dim);
  for_each_row(exec, write.num_rows, [=, &write, &kv](int64_t row) {
    const int64_t slot = write.slots[row];
    const auto offset = static_cast<int>(slot % kKvBlockSize);
    for (int head = 0; head < kv.num_kv_heads; ++head) {
      const int64_t tile = slot / kKvBlockSize * kv.num_kv_heads + head;
      const int64_t column = static_cast<int64_t>(head) * kv.head_dim;
      store_k(kv.k_format, kv.k + tile * k_bytes, kv.head_dim, offset, k + row * k_stride + column);
      float v[kMaxHeadDim];
      std::copy_n(write.v + row * write.v_stride + column, kv.head_dim, v);
      if (kv.hadamard_v) hadamard_reference(v, kv.head_dim);
      store_v(kv.v_format, kv.v + tile * v_bytes, kv.head_dim, offset, v);
    }
  });
}

void copy_kv(const Exec& exec, const KvLayer& kv, const KvCopy* copies, int64_t num_copies) {
  const int64_t k_bytes = k_tile_bytes(kv.k_format, kv.head_dim);
  const int64_t v_bytes = v_tile_bytes(kv.v_format, kv.head_dim);
  for_each_row(exec, num_copies, [=, &kv](int64_t i) {
    const KvCopy& copy = copies[i];
    for (int head = 0; head < kv.num_kv_heads; ++head) {
      const int64_t from = int64_t{copy.from} * kv.num_kv_heads + head;
      const int64_t to = int64_t{copy.to} * kv.num_kv_heads + head;
      copy_k(kv.k_format, kv.k + from * k_bytes, kv.k + to * k_bytes, kv.head_dim, copy.first, copy.count);
      copy_v(kv.v_format, kv.v + from * v_bytes, kv.v + to * v_bytes, kv.head_dim, copy.first, copy.count);
    }
  });
}

void norm_rope_write_kv(const Exec& exec, const HeadRows& q, const HeadRows& k, const KvWrite& write,
                        const Rotation& rotation) {
  const HeadRows parts[] = {q, k};
  norm_rope(exec, parts, 2, write.num_rows, rotation);
  for (const HeadRows& part : parts) {
    if (write.kv.hadamard_k) hadamard_heads(exec, part, write.num_rows, rotation.head_dim);
  }
  write_kv(exec, write, k.x, k.stride);
}

}  // namespace

void hadamard_reference(float* head, int head_dim) {
  const int size = head_dim & -head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  for (float* block = head; block != head + head_dim; block += size) {
    for (int distance = size / 2; distance > 0; distance /= 2) {
      for (int i = 0; i < size; ++i) {
        if ((i & distance) != 0) continue;
        const float first = block[i];
        const float second = block[i + distance];
        block[i] = first + second;
        block[i + distance] = first - second;
      }
    }
    for (int i = 0; i < size; ++i) block[i] *= scale;
  }
}

void fill_rows_reference(Kernels& table) {
  table.rms_norm = rms_norm;
  table.add_rms_norm = add_rms_norm;
  table.add = add;
  table.gated_activation = gated_activation;
  with_activations(table.activations, [&table]<Activations kKind>() {
    table.rms_norm_packed = rms_norm_packed<kKind>;
    table.gated_activation_packed = gated_activation_packed<kKind>;
  });
  table.rope = rope;
  table.norm_rope = norm_rope;
  table.add_expert_rows = add_expert_rows;
  table.softcap = softcap;
  table.hadamard_heads = hadamard_heads;
  table.write_kv = write_kv;
  table.copy_kv = copy_kv;
  table.norm_rope_write_kv = norm_rope_write_kv;
}

}  // namespace quire
