// The rows of the CUDA table against the reference table and, for the compact form, against its definition. Every row
// is also computed alone: it must have the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/matmul/compact_rows.h"
#include "tensor/half.h"

namespace quire {
namespace {

const Kernels& cuda() {
  static const Kernels table = [] {
    Kernels made{};
    fill_rows_cuda(made);
    fill_rope_cuda(made);
    return made;
  }();
  return table;
}

class CudaRows : public GpuTest {
 protected:
  ThreadPool pool_{1};
  Exec host_ = make_exec(pool_);
  Exec exec_ = gpu_exec();
};

std::vector<float> random_floats(int64_t count, uint32_t seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = normal(random);
  return values;
}

// Relative to the size of what was computed with; NaN is only equal to NaN.
void expect_near(const std::vector<float>& got, const std::vector<float>& want, float size, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << what << " at " << i;
    } else {
      ASSERT_NEAR(got[i], want[i], 2e-6f * (std::abs(want[i]) + size)) << what << " at " << i;
    }
  }
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

std::vector<float> slice(const std::vector<float>& values, int64_t first, int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

const int64_t kDims[] = {1, 7, 8, 31, 128, 257, 512, 516, 1024, 2064, 4097};

TEST_F(CudaRows, RmsNorm) {
  for (int64_t dim : kDims) {
    for (int64_t padding : {0, 3, 8}) {
      const int64_t rows = 5;
      const int64_t stride = dim + padding;
      const std::vector<float> x = random_floats(rows * stride, 1, 4.0f);
      const std::vector<float> weight = random_floats(dim, 2);
      std::vector<float> want(static_cast<size_t>(rows * dim));
      reference_kernels().rms_norm(host_, {x.data(), stride, weight.data(), 1e-5f, rows, dim}, want.data(), dim);

      const DeviceArray<float> from(x);
      const DeviceArray<float> device_weight(weight);
      DeviceArray<float> out(want.size());
      cuda().rms_norm(exec_, {from.data(), stride, device_weight.data(), 1e-5f, rows, dim}, out.data(), dim);
      const std::vector<float> got = out.download();
      expect_near(got, want, 0.0f, "rms_norm");

      DeviceArray<float> alone(static_cast<size_t>(dim));
      cuda().rms_norm(exec_, {from.data() + 3 * stride, stride, device_weight.data(), 1e-5f, 1, dim}, alone.data(),
                      dim);
      EXPECT_TRUE(same_bits(alone.download(), slice(got, 3 * dim, dim))) << dim;

      DeviceArray<float> in_place(x);
      cuda().rms_norm(exec_, {in_place.data(), stride, device_weight.data(), 1e-5f, rows, dim}, in_place.data(),
                      stride);
      const std::vector<float> replaced = in_place.download();
      for (int64_t row = 0; row < rows; ++row) {
        EXPECT_TRUE(same_bits(slice(replaced, row * stride, dim), slice(got, row * dim, dim)));
        EXPECT_TRUE(same_bits(slice(replaced, row * stride + dim, padding), slice(x, row * stride + dim, padding)));
      }
    }
  }
}

TEST_F(CudaRows, AddRmsNorm) {
  for (int64_t dim : kDims) {
    const int64_t rows = 3;
    const std::vector<float> x = random_floats(rows * dim, 1);
    const std::vector<float> y = random_floats(rows * dim, 2, 3.0f);
    const std::vector<float> weight = random_floats(dim, 3);
    std::vector<float> want = x;
    reference_kernels().add_rms_norm(host_, {y.data(), dim, weight.data(), 1e-6f, rows, dim}, want.data());
    DeviceArray<float> to(x);
    const DeviceArray<float> from(y);
    const DeviceArray<float> device_weight(weight);
    cuda().add_rms_norm(exec_, {from.data(), dim, device_weight.data(), 1e-6f, rows, dim}, to.data());
    expect_near(to.download(), want, 1.0f, "add_rms_norm");
  }
}

TEST_F(CudaRows, AddAndSoftcap) {
  for (int64_t n : {1, 17, 1023, 1024, 4097, 20001}) {
    const std::vector<float> x = random_floats(n + 1, 1, 30.0f);
    const std::vector<float> y = random_floats(n, 2);
    std::vector<float> want = x;
    reference_kernels().add(host_, want.data(), y.data(), n);
    DeviceArray<float> to(x);
    const DeviceArray<float> from(y);
    cuda().add(exec_, to.data(), from.data(), n);
    EXPECT_TRUE(same_bits(to.download(), want)) << n;

    reference_kernels().softcap(host_, want.data(), n, 30.0f);
    cuda().softcap(exec_, to.data(), n, 30.0f);
    expect_near(to.download(), want, 0.0f, "softcap");
  }
}

TEST_F(CudaRows, GatedActivation) {
  for (Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (int64_t dim : {int64_t{1}, int64_t{7}, int64_t{96}, int64_t{1028}, int64_t{2081}}) {
      const int64_t rows = 3;
      std::vector<float> gate = random_floats(rows * (dim + 5), 1, 4.0f);
      const float extremes[] = {-1e30f, 1e12f, -88.5f, -200.0f, 200.0f, 0.0f, -0.0f};
      for (size_t i = 0; i < std::size(extremes) && i < gate.size(); ++i) gate[i] = extremes[i];
      const std::vector<float> up = random_floats(rows * (dim + 4), 2);
      std::vector<float> want(static_cast<size_t>(rows * dim));
      reference_kernels().gated_activation(host_, {kind, gate.data(), dim + 5, up.data(), dim + 4, rows, dim},
                                           want.data(), dim);
      DeviceArray<float> device_gate(gate);
      const DeviceArray<float> device_up(up);
      DeviceArray<float> out(want.size());
      cuda().gated_activation(exec_, {kind, device_gate.data(), dim + 5, device_up.data(), dim + 4, rows, dim},
                              out.data(), dim);
      const std::vector<float> got = out.download();
      expect_near(got, want, 0.3f, "gated_activation");  // what the tails of tanh and erf lose against 1

      cuda().gated_activation(exec_, {kind, device_gate.data(), dim + 5, device_up.data(), dim + 4, rows, dim},
                              device_gate.data(), dim + 5);
      const std::vector<float> replaced = device_gate.download();
      for (int64_t row = 0; row < rows; ++row) {
        EXPECT_TRUE(same_bits(slice(replaced, row * (dim + 5), dim), slice(got, row * dim, dim)));
      }
    }
  }
}

TEST_F(CudaRows, HadamardHeadsLikeTheReference) {
  for (const int head_dim : {8, 40, 64, 96, 256, 512}) {
    const int64_t rows = 3, stride = 5 * head_dim + 4;
    std::vector<float> x = random_floats(rows * stride, 1, 2.0f);
    DeviceArray<float> device_x(x);
    reference_kernels().hadamard_heads(host_, {.x = x.data(), .stride = stride, .num_heads = 5}, rows, head_dim);
    cuda().hadamard_heads(exec_, {.x = device_x.data(), .stride = stride, .num_heads = 5}, rows, head_dim);
    EXPECT_TRUE(same_bits(device_x.download(), x)) << head_dim;
  }
}

TEST_F(CudaRows, RopeWithAndWithoutNorms) {
  const struct {
    int head_dim, half_dim;
  } shapes[] = {{8, 4}, {40, 20}, {64, 16}, {80, 40}, {128, 64}, {256, 128}, {512, 256}, {66, 5}};
  for (const auto [head_dim, half_dim] : shapes) {
    for (const bool interleaved : {false, true}) {
      for (const bool norms : {false, true}) {
        const int64_t rows = 3;
        const int heads[] = {5, 2};
        const int64_t stride = 7 * head_dim + 4;
        std::vector<float> x = random_floats(rows * stride, 1, 2.0f);
        const std::vector<float> weights = random_floats(2 * head_dim, 2);
        const std::vector<float> angles = random_floats(rows * half_dim, 3);
        std::vector<float> cos_sin;
        for (int64_t row = 0; row < rows; ++row) {
          for (int i = 0; i < half_dim; ++i)
            cos_sin.push_back(std::cos(angles[static_cast<size_t>(row * half_dim + i)]));
          for (int i = 0; i < half_dim; ++i)
            cos_sin.push_back(std::sin(angles[static_cast<size_t>(row * half_dim + i)]));
        }
        const auto parts = [&](float* values, const float* norm) {
          return std::vector<HeadRows>{
              {values, stride, heads[0], norms ? norm : nullptr, 1e-6f},
              {values + heads[0] * head_dim, stride, heads[1], norms ? norm + head_dim : nullptr, 1e-5f}};
        };
        DeviceArray<float> device_x(x);
        DeviceArray<float> steps(x);
        const DeviceArray<float> device_weights(weights);
        const DeviceArray<float> device_cos_sin(cos_sin);
        reference_kernels().norm_rope(host_, parts(x.data(), weights.data()).data(), 2, rows,
                                      {cos_sin.data(), head_dim, half_dim, interleaved});
        cuda().norm_rope(exec_, parts(device_x.data(), device_weights.data()).data(), 2, rows,
                         {device_cos_sin.data(), head_dim, half_dim, interleaved});
        const std::vector<float> got = device_x.download();
        expect_near(got, x, 2.0f, "norm_rope");

        // The same in two steps, head by head: the same bits.
        for (const HeadRows& part : parts(steps.data(), device_weights.data())) {
          for (int64_t row = 0; norms && row < rows; ++row) {
            float* const of_row = part.x + row * stride;
            cuda().rms_norm(exec_, {of_row, head_dim, part.norm, part.norm_eps, part.num_heads, head_dim}, of_row,
                            head_dim);
          }
          cuda().rope(exec_, {.x = part.x, .stride = stride, .num_heads = part.num_heads}, rows,
                      {device_cos_sin.data(), head_dim, half_dim, interleaved});
        }
        EXPECT_TRUE(same_bits(steps.download(), got)) << head_dim;
      }
    }
  }
}

// ---- the compact form
// -------------------------------------------------------------------------------------------------

// Codes and scale of up to 64 floats, as compact_rows.h has them.
void check_codes(const float* x, int64_t count, const uint8_t* group) {
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    most = std::max(most, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  const bool has_codes = finite && most >= 0x1p-100f;
  for (int64_t i = 0; i < kInt8Group; ++i) {
    const float code = has_codes && i < count ? std::nearbyint(x[i] * (127.0f / most)) : 0.0f;
    ASSERT_EQ(static_cast<int8_t>(group[i]), code) << i;
  }
  float scale = 0;
  std::memcpy(&scale, group + kInt8Group, sizeof scale);
  if (!finite) {
    ASSERT_TRUE(std::isnan(scale));
  } else {
    ASSERT_EQ(scale, has_codes ? most / 127.0f : 0.0f);
  }
}

// The definition of compact_rows.h, from floats; the padding keeps what it has.
void check_compact(const std::vector<float>& rows, int64_t dim, const std::vector<uint8_t>& got) {
  const auto row_bytes = static_cast<size_t>(compact_row_bytes(dim));
  ASSERT_EQ(got.size(), rows.size() / static_cast<size_t>(dim) * row_bytes);
  for (size_t row = 0; row * row_bytes < got.size(); ++row) {
    const uint8_t* bytes = got.data() + row * row_bytes;
    std::vector<float> rounded(static_cast<size_t>(compact_columns(dim)));
    for (size_t i = 0; i < rounded.size(); ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, bytes + 2 * i, 2);
      ASSERT_EQ(bits, i < static_cast<size_t>(dim) ? f32_to_bf16(rows[row * static_cast<size_t>(dim) + i]) : 0) << i;
      rounded[i] = bf16_to_f32(bits);
    }
    for (size_t group = 0; group < rounded.size() / kCompactGroup; ++group) {
      float sum = 0;
      std::memcpy(&sum, bytes + compact_sums_offset(dim) + 4 * static_cast<int64_t>(group), 4);
      ASSERT_EQ(sum, compact_sum<kCompactGroup>(rounded.data() + group * kCompactGroup)) << group;
    }
    for (int64_t first = 0; first < compact_columns(dim); first += kInt8Group) {
      check_codes(rows.data() + static_cast<int64_t>(row) * dim + first, std::min<int64_t>(kInt8Group, dim - first),
                  bytes + compact_int8_offset(dim) + first / kInt8Group * kInt8GroupBytes);
    }
  }
}

TEST_F(CudaRows, CodesOfNanInfinityAndTinyValues) {
  const int64_t dim = 320;
  std::vector<float> x = random_floats(dim, 4, 3.0f);
  x[7] = std::numeric_limits<float>::quiet_NaN();
  x[64] = -std::numeric_limits<float>::infinity();
  for (size_t i = 128; i < 192; ++i) x[i] *= 0x1p-110f;
  for (size_t i = 192; i < 256; ++i) x[i] = 0;
  const DeviceArray<float> from(x);
  DeviceArray<uint8_t> out(static_cast<size_t>(compact_row_bytes(dim)));
  cuda().pack_rows(exec_, {.x = from.data(), .num_rows = 1, .cols = dim}, reinterpret_cast<std::byte*>(out.data()));
  const std::vector<uint8_t> got = out.download();
  for (int64_t first = 0; first < dim; first += kInt8Group) {
    check_codes(x.data() + first, kInt8Group,
                got.data() + compact_int8_offset(dim) + first / kInt8Group * kInt8GroupBytes);
  }
}

// Bit for bit as the same floats packed plainly.
TEST_F(CudaRows, PacksRowsInTheOrderOfLists) {
  const std::vector<int32_t> first = {0, 0, 3, 4, 4, 7, 7};  // of experts; 0, 3 and 5 have no rows
  const std::vector<int32_t> rows = {2, 0, 2, 1, 4, 0, 3};
  constexpr int64_t kRows = 7;
  for (const int64_t cols : {1, 32, 300, 1056}) {
    const std::vector<float> x = random_floats(kRows * cols, 6);
    std::vector<std::vector<int32_t>> orders(2, std::vector<int32_t>(static_cast<size_t>(cols)));
    for (size_t c = 0; c < orders[0].size(); ++c) {
      orders[0][c] = static_cast<int32_t>((c * 5 + 3) % orders[0].size());
      orders[1][c] = static_cast<int32_t>(orders[0].size() - 1 - c);
    }
    const DeviceArray<int32_t> on_device[] = {DeviceArray<int32_t>(orders[0]), DeviceArray<int32_t>(orders[1])};
    const std::vector<const int32_t*> of_experts = {on_device[0].data(), on_device[0].data(), nullptr,
                                                    on_device[1].data(), on_device[1].data(), on_device[0].data()};
    const DeviceArray<const int32_t*> expert_columns(of_experts);
    const DeviceArray<int32_t> device_first(first);
    const DeviceArray<int32_t> device_rows(rows);
    const DeviceArray<float> device_x(x);
    const std::vector<uint8_t> zeros(static_cast<size_t>(kRows * compact_row_bytes(cols)));
    const auto pack = [&](const RowsToPack& what) {
      DeviceArray<uint8_t> packed(zeros);
      cuda().pack_rows(exec_, what, reinterpret_cast<std::byte*>(packed.data()));
      return packed.download();
    };
    const auto plain = [&](const auto& value) {
      std::vector<float> floats(x.size());
      for (int64_t i = 0; i < kRows * cols; ++i) floats[static_cast<size_t>(i)] = value(i / cols, i % cols);
      const DeviceArray<float> from(floats);
      return pack({.x = from.data(), .num_rows = kRows, .cols = cols});
    };
    const auto at = [&](int64_t row, int64_t column) { return x[static_cast<size_t>(row * cols + column)]; };
    EXPECT_EQ(pack({.x = device_x.data(), .num_rows = kRows, .cols = cols, .columns = on_device[0].data()}),
              plain([&](int64_t row, int64_t c) { return at(row, orders[0][static_cast<size_t>(c)]); }))
        << cols;
    EXPECT_EQ(pack({.x = device_x.data(),
                    .num_rows = kRows,
                    .cols = cols,
                    .rows = device_rows.data(),
                    .num_experts = 6,
                    .first = device_first.data(),
                    .expert_columns = expert_columns.data()}),
              plain([&](int64_t row, int64_t c) {
                const auto column = static_cast<size_t>(c);
                const int64_t from = rows[static_cast<size_t>(row)];
                return row < 3 ? at(from, orders[0][column]) : row == 3 ? at(from, c) : at(from, orders[1][column]);
              }))
        << cols;
  }
}

TEST_F(CudaRows, CompactForm) {
  for (int64_t dim : {1, 32, 33, 96, 500, 512, 544, 1023, 1024, 1025, 1056, 4096, 4127}) {
    const int64_t rows = 3;
    const std::vector<float> x = random_floats(rows * dim, 1, 3.0f);
    const DeviceArray<float> from(x);
    ASSERT_EQ(cuda().packed_row_bytes(dim), static_cast<size_t>(compact_row_bytes(dim)));
    DeviceArray<uint8_t> out(static_cast<size_t>(rows * compact_row_bytes(dim)));
    auto* const packed = reinterpret_cast<std::byte*>(out.data());
    cuda().pack_rows(exec_, {.x = from.data(), .num_rows = rows, .cols = dim}, packed);
    check_compact(x, dim, out.download());

    const DeviceArray<float> weight(random_floats(dim, 2));
    DeviceArray<float> floats(x.size());
    cuda().rms_norm(exec_, {from.data(), dim, weight.data(), 1e-5f, rows, dim}, floats.data(), dim);
    cuda().rms_norm_packed(exec_, {from.data(), dim, weight.data(), 1e-5f, rows, dim}, packed);
    check_compact(floats.download(), dim, out.download());

    const DeviceArray<float> up(random_floats(rows * dim, 3));
    for (Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
      cuda().gated_activation(exec_, {kind, from.data(), dim, up.data(), dim, rows, dim}, floats.data(), dim);
      cuda().gated_activation_packed(exec_, {kind, from.data(), dim, up.data(), dim, rows, dim}, packed);
      check_compact(floats.download(), dim, out.download());
    }
  }
}

}  // namespace
}  // namespace quire
