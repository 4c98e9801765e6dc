// Norms, activations, rotation and the KV write, for vectors of kLanes floats. math.h says how the files of this folder
// are used. The operations on an element depend only on its index within the row: the tail of a row goes through the
// same vector code, with the missing lanes loaded as zero.
#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"
#include "kernels/vector/hadamard.h"
#include "kernels/vector/kv_codes.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/math.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/row_parts.h"

namespace quire::QUIRE_TABLE {
namespace {

void rms_norm(const Exec& exec, const RowNorm& norm, float* out, int64_t out_stride) {
  for_slices(exec, norm.num_rows, norm.dim, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      norm_row(norm.x + row * norm.x_stride, norm.weight, norm.eps, norm.dim, out + row * out_stride);
    }
  });
}

void add_rms_norm(const Exec& exec, const RowNorm& norm, float* x) {
  for_slices(exec, norm.num_rows, 2 * norm.dim, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float* in = norm.x + row * norm.x_stride;
      const float* weight = norm.weight;
      float* to = x + row * norm.dim;
      const Vec scale = set1(rms_scale(in, norm.eps, norm.dim));
      for_vectors(norm.dim, [=](int64_t i, int n) {
        store_some(to + i, add(load_some(to + i, n), normed(in + i, scale, weight + i, n)), n);
      });
    }
  });
}

void add_rows(const Exec& exec, float* x, const float* y, int64_t n) {
  for_slices(exec, n, 1, [=](int64_t first, int64_t last) {
    for_vectors(last - first, [=](int64_t i, int lanes) {
      float* to = x + first + i;
      store_some(to, add(load_some(to, lanes), load_some(y + first + i, lanes)), lanes);
    });
  });
}

void softcap(const Exec& exec, float* x, int64_t n, float cap) {
  for_slices(exec, n, 4, [=](int64_t first, int64_t last) {
    for_vectors(last - first, [=](int64_t i, int lanes) {
      float* to = x + first + i;
      store_some(to, mul(set1(cap), tanh(div(load_some(to, lanes), set1(cap)))), lanes);
    });
  });
}

void gated_activation(const Exec& exec, const RowGate& gate, float* out, int64_t out_stride) {
  const GateRow gate_row = gate_row_for(gate.kind);
  for_slices(exec, gate.num_rows, 2 * gate.dim, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      gate_row(gate.gate + row * gate.gate_stride, gate.up + row * gate.up_stride, gate.dim, out + row * out_stride);
    }
  });
}

inline void rotate_halves(float* x, int half_dim, const float* cosines, const float* sines) {
  for_vectors(half_dim, [=](int64_t i, int n) {
    const Vec c = load_some(cosines + i, n);
    const Vec s = load_some(sines + i, n);
    const Vec a = load_some(x + i, n);
    const Vec b = load_some(x + half_dim + i, n);
    store_some(x + i, sub(mul(a, c), mul(b, s)), n);
    store_some(x + half_dim + i, add(mul(b, c), mul(a, s)), n);
  });
}

inline void rotate_pairs(float* x, int half_dim, const float* cosines, const float* sines) {
  int i = 0;
  for (; i + kLanes / 2 <= half_dim; i += kLanes / 2) {
    const Vec pairs = load(x + 2 * i);
    store(x + 2 * i, fma_sub_add(pairs, load_twice(cosines + i), mul(swap_pairs(pairs), load_twice(sines + i))));
  }
  for (; i < half_dim; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

// Rotates one row's heads of one kind; with_norm: applies their norm first if they have one.
inline void rotate_row(const Rotation& rotation, const HeadRows& part, int64_t row, bool with_norm) {
  const auto rotate = rotation.interleaved ? rotate_pairs : rotate_halves;
  const float* cosines = rotation.cos_sin + row * 2 * rotation.half_dim;
  float* head = part.x + row * part.stride;
  for (int i = 0; i < part.num_heads; ++i, head += rotation.head_dim) {
    if (with_norm && part.norm != nullptr) norm_row(head, part.norm, part.norm_eps, rotation.head_dim, head);
    rotate(head, rotation.half_dim, cosines, cosines + rotation.half_dim);
  }
}

void rope(const Exec& exec, const HeadRows& heads, int64_t num_rows, const Rotation& rotation) {
  for_slices(exec, num_rows, int64_t{heads.num_heads} * rotation.head_dim, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) rotate_row(rotation, heads, row, false);
  });
}

void norm_rope(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, const Rotation& rotation) {
  int64_t row_floats = 0;
  for (int i = 0; i < num_parts; ++i) row_floats += int64_t{parts[i].num_heads} * rotation.head_dim;
  for_slices(exec, num_rows, row_floats, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      for (const HeadRows* part = parts; part != parts + num_parts; ++part) rotate_row(rotation, *part, row, true);
    }
  });
}

void hadamard_row(const HeadRows& heads, int64_t row, int head_dim) {
  for (int head = 0; head < heads.num_heads; ++head) {
    hadamard_head(heads.x + row * heads.stride + int64_t{head} * head_dim, head_dim);
  }
}

void hadamard_heads(const Exec& exec, const HeadRows& heads, int64_t num_rows, int head_dim) {
  for_slices(exec, num_rows, int64_t{heads.num_heads} * head_dim, [=, &heads](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) hadamard_row(heads, row, head_dim);
  });
}

// Products are rounded before they are added, as in the reference.
void add_expert_rows(const Exec& exec, const ExpertRows& experts, int64_t num_rows, int64_t dim, float* y) {
  for_slices(exec, num_rows, (experts.per_row + 1) * dim, [=, &experts](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int32_t* assignments = experts.assignments + row * experts.per_row;
      const float* weights = experts.weights + row * experts.per_row;
      int begin = 0;
      while (begin < experts.per_row && assignments[begin] < experts.first) ++begin;
      int end = begin;
      while (end < experts.per_row && assignments[end] < experts.last) ++end;
      for_vectors(dim, [&](int64_t i, int n) {
        Vec sum = experts.first == 0 ? set1(0.0f) : load_some(y + row * dim + i, n);
        for (int j = begin; j < end; ++j) {
          sum =
              add(sum, mul(set1(weights[j]), load_some(experts.from + (assignments[j] - experts.first) * dim + i, n)));
        }
        store_some(y + row * dim + i, sum, n);
      });
    }
  });
}

// Converts `count` floats, a multiple of 8, to `format` and stores them at to[0], to[stride], ...: the dimensions of
// one position lie one row apart in a K tile. The conversion goes through a buffer on the stack.
inline void store_strided(const float* from, int count, Format format, std::byte* to, int64_t index, int64_t stride) {
  for_vectors(count, [=](int64_t i, int n) {
    const Vec x = load_some(from + i, n);
    if (format == Format::kF32) {
      float strip[kLanes];
      store(strip, x);
      for (int j = 0; j < n; ++j) reinterpret_cast<float*>(to)[index + (i + j) * stride] = strip[j];
    } else if (format == Format::kF8_E4M3) {
      float strip[kLanes];
      store(strip, x);
      for (int j = 0; j < n; ++j) to[index + (i + j) * stride] = static_cast<std::byte>(e4m3_code(strip[j]));
    } else {
      uint16_t strip[kLanes];
      format == Format::kF16 ? store_f16(strip, x) : store_bf16(strip, x);
      for (int j = 0; j < n; ++j) reinterpret_cast<uint16_t*>(to)[index + (i + j) * stride] = strip[j];
    }
  });
}

// Stores the position `offset` of a tile.
inline void store_kv(Format format, const float* from, int head_dim, std::byte* tile, int64_t offset, bool is_v) {
  if (is_quantised(format)) return store_position(format, from, head_dim, tile, offset, is_v);
  store_strided(from, head_dim, format, tile, is_v ? offset * head_dim : offset, is_v ? 1 : kKvBlockSize);
}

// Stores one row of K and V.
inline void store_row(const KvLayer& kv, const float* k, const float* v, int64_t slot) {
  const int64_t k_bytes = k_tile_bytes(kv.k_format, kv.head_dim);
  const int64_t v_bytes = v_tile_bytes(kv.v_format, kv.head_dim);
  const int64_t offset = slot % kKvBlockSize;
  for (int head = 0; head < kv.num_kv_heads; ++head) {
    const int64_t tile = slot / kKvBlockSize * kv.num_kv_heads + head;
    const int64_t column = static_cast<int64_t>(head) * kv.head_dim;
    store_kv(kv.k_format, k + column, kv.head_dim, kv.k + tile * k_bytes, offset, false);
    if (!kv.hadamard_v) {
      store_kv(kv.v_format, v + column, kv.head_dim, kv.v + tile * v_bytes, offset, true);
      continue;
    }
    alignas(64) float head_v[kMaxHeadDim];
    __builtin_memcpy(head_v, v + column, static_cast<size_t>(kv.head_dim) * sizeof(float));
    hadamard_head(head_v, kv.head_dim);
    store_kv(kv.v_format, head_v, kv.head_dim, kv.v + tile * v_bytes, offset, true);
  }
}

void write_kv(const Exec& exec, const KvWrite& write, const float* k, int64_t k_stride) {
  const KvLayer& kv = write.kv;
  for_slices(exec, write.num_rows, int64_t{4} * kv.num_kv_heads * kv.head_dim,
             [=, &write](int64_t first, int64_t last) {
               for (int64_t row = first; row < last; ++row) {
                 store_row(write.kv, k + row * k_stride, write.v + row * write.v_stride, write.slots[row]);
               }
             });
}

void norm_rope_write_kv(const Exec& exec, const HeadRows& q, const HeadRows& k, const KvWrite& write,
                        const Rotation& rotation) {
  const int64_t row_floats = (q.num_heads + int64_t{5} * k.num_heads) * write.kv.head_dim;
  for_slices(exec, write.num_rows, row_floats, [=, &q, &k, &write](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      rotate_row(rotation, q, row, true);
      rotate_row(rotation, k, row, true);
      if (write.kv.hadamard_k) {
        hadamard_row(q, row, rotation.head_dim);
        hadamard_row(k, row, rotation.head_dim);
      }
      store_row(write.kv, k.x + row * k.stride, write.v + row * write.v_stride, write.slots[row]);
    }
  });
}

}  // namespace

void override_rows(Kernels& table) {
  table.rms_norm = rms_norm;
  table.add_rms_norm = add_rms_norm;
  table.add = add_rows;
  table.gated_activation = gated_activation;
  table.rope = rope;
  table.norm_rope = norm_rope;
  table.add_expert_rows = add_expert_rows;
  table.softcap = softcap;
  table.hadamard_heads = hadamard_heads;
  table.write_kv = write_kv;
  table.norm_rope_write_kv = norm_rope_write_kv;
}

}  // namespace quire::QUIRE_TABLE
