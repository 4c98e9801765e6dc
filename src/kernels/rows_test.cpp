#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"
#include "tensor/float8.h"

namespace quire {
namespace {

const int64_t kSizes[] = {1, 7, 8, 15, 17, 64, 100, 4097};

std::vector<float> random_floats(int64_t count, uint32_t seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = normal(random);
  return values;
}

bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

int64_t tile_bytes_of(Format format, int head_dim, bool is_v) {
  return (is_v ? v_tile_bytes : k_tile_bytes)(format, head_dim);
}

// By byte of a tile: the position whose store changes it; -1 for bytes of no position.
std::vector<int> positions_of_bytes(Format format, int head_dim, bool is_v) {
  const auto bytes = static_cast<size_t>(tile_bytes_of(format, head_dim, is_v));
  std::vector<int> positions(bytes, -1);
  ThreadPool pool(1);
  for (int64_t slot = 0; slot < kKvBlockSize; ++slot) {
    std::vector<std::byte> tile(bytes), other(static_cast<size_t>(tile_bytes_of(format, head_dim, !is_v)));
    for (const std::byte before : {std::byte{0x00}, std::byte{0xff}}) {
      std::ranges::fill(tile, before);
      const KvLayer kv{
          is_v ? other.data() : tile.data(), is_v ? tile.data() : other.data(), format, format, 1, head_dim};
      const std::vector<float> values = random_floats(head_dim, static_cast<uint32_t>(slot));
      reference_kernels().write_kv(make_exec(pool), {kv, values.data(), head_dim, &slot, 1}, values.data(), head_dim);
      for (size_t i = 0; i < bytes; ++i) {
        if (tile[i] != before) positions[i] = static_cast<int>(slot);
      }
    }
  }
  return positions;
}

class RowsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& table() const { return *GetParam(); }
  Exec exec() { return make_exec(pool_); }

 private:
  ThreadPool pool_{2};
};

// Layers call entries without a look at what a table has; what they do look at are its numbers.
TEST_P(RowsTest, EveryEntryIsThere) {
  const Kernels& all = table();
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    if (!weight_format(format).is_weight()) continue;
    const FormatKernels& row = all.format_kernels(format);
    EXPECT_TRUE(row.packed_bytes != nullptr && row.pack != nullptr && row.matmul != nullptr) << i;
  }
  EXPECT_TRUE(all.dense_bytes != nullptr && all.pack_dense != nullptr);
  EXPECT_TRUE(all.packed_row_bytes != nullptr && all.pack_rows != nullptr);
  EXPECT_TRUE(all.rms_norm_packed != nullptr && all.gated_activation_packed != nullptr);
  EXPECT_TRUE(all.rms_norm != nullptr && all.add_rms_norm != nullptr && all.add != nullptr);
  EXPECT_TRUE(all.gated_activation != nullptr && all.rope != nullptr && all.norm_rope != nullptr);
  EXPECT_TRUE(all.gather_rows != nullptr && all.embed_rows != nullptr && all.softcap != nullptr);
  EXPECT_TRUE(all.route_experts != nullptr && all.add_expert_rows != nullptr && all.enough_expert_rows > 0);
  EXPECT_TRUE(all.write_kv != nullptr && all.copy_kv != nullptr && all.norm_rope_write_kv != nullptr);
  EXPECT_TRUE(all.attention_workspace_bytes != nullptr && all.attention != nullptr);
  EXPECT_EQ(all.max_sampled_vocab > 0, all.sample_rows != nullptr);
}

TEST_P(RowsTest, RmsNorm) {
  for (int64_t dim : kSizes) {
    for (int64_t rows : {int64_t{1}, int64_t{9}}) {
      const int64_t stride = dim + 3;
      const std::vector<float> x = random_floats(rows * stride, 1, 5.0f);
      const std::vector<float> weight = random_floats(dim, 2);
      std::vector<float> out(static_cast<size_t>(rows * dim));
      table().rms_norm(exec(), {x.data(), stride, weight.data(), 1e-5f, rows, dim}, out.data(), dim);
      for (int64_t row = 0; row < rows; ++row) {
        double sum = 0;
        for (int64_t i = 0; i < dim; ++i) sum += std::pow(double{x[static_cast<size_t>(row * stride + i)]}, 2);
        const double scale = 1 / std::sqrt(sum / static_cast<double>(dim) + double{1e-5f});
        for (int64_t i = 0; i < dim; ++i) {
          const double want = x[static_cast<size_t>(row * stride + i)] * scale * weight[static_cast<size_t>(i)];
          ASSERT_NEAR(out[static_cast<size_t>(row * dim + i)], want, 1e-6 * std::abs(want) + 1e-12) << dim;
        }
      }
      std::vector<float> in_place = x;
      table().rms_norm(exec(), {in_place.data(), stride, weight.data(), 1e-5f, rows, dim}, in_place.data(), stride);
      for (int64_t row = 0; row < rows; ++row) {
        EXPECT_TRUE(same_bits(in_place.data() + row * stride, out.data() + row * dim, dim));
        EXPECT_TRUE(same_bits(in_place.data() + row * stride + dim, x.data() + row * stride + dim, stride - dim));
      }
    }
  }
}

TEST_P(RowsTest, Add) {
  for (int64_t n : {int64_t{1}, int64_t{17}, int64_t{4097}, int64_t{70001}}) {
    const std::vector<float> x = random_floats(n + 1, 1);
    const std::vector<float> y = random_floats(n, 2);
    std::vector<float> out = x;
    table().add(exec(), out.data(), y.data(), n);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(out[i], x[i] + y[i]);
    EXPECT_EQ(out.back(), x.back());
  }
}

double exact(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu: return x / (1 + std::exp(-x));
    case Activation::kGeluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  }
  return 0;
}

TEST_P(RowsTest, GatedActivation) {
  for (Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (int64_t dim : kSizes) {
      const int64_t rows = 3;
      std::vector<float> gate = random_floats(rows * (dim + 5), 1, 4.0f);
      gate[0] = 0;
      gate.back() = 300.0f;
      const std::vector<float> up = random_floats(rows * (dim + 2), 2);
      std::vector<float> out(static_cast<size_t>(rows * dim));
      table().gated_activation(exec(), {kind, gate.data(), dim + 5, up.data(), dim + 2, rows, dim}, out.data(), dim);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < dim; ++i) {
          const double g = gate[static_cast<size_t>(row * (dim + 5) + i)];
          const double u = up[static_cast<size_t>(row * (dim + 2) + i)];
          // A factor of 1e-7 of the input: what the tails of erf and tanh lose against 1.
          ASSERT_NEAR(out[static_cast<size_t>(row * dim + i)], exact(kind, g) * u,
                      std::abs(u) * (3e-7 * std::abs(exact(kind, g)) + 1e-7 * std::abs(g)))
              << "kind " << static_cast<int>(kind) << ", gate " << g;
        }
      }
      std::vector<float> in_place = gate;
      table().gated_activation(exec(), {kind, in_place.data(), dim + 5, up.data(), dim + 2, rows, dim}, in_place.data(),
                               dim + 5);
      for (int64_t row = 0; row < rows; ++row) {
        EXPECT_TRUE(same_bits(in_place.data() + row * (dim + 5), out.data() + row * dim, dim));
      }
    }
  }
}

// Small values keep a small relative error (near 0 the cap changes nothing); large ones reach the cap.
TEST_P(RowsTest, Softcap) {
  std::vector<float> x;
  for (float size : {1e-30f, 1e-6f, 1e-3f, 0.1f, 1.0f, 10.0f, 18.0f, 19.0f, 50.0f, 400.0f, 1e30f}) {
    for (float step = 0.7f; step < 1.3f; step += 0.01f) x.push_back(x.size() % 2 == 0 ? size * step : -size * step);
  }
  x.push_back(0.0f);
  std::vector<float> out = x;
  table().softcap(exec(), out.data(), static_cast<int64_t>(out.size()), 30.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = 30 * std::tanh(double{x[i]} / 30);
    ASSERT_NEAR(out[i], want, 4e-7 * std::abs(want)) << x[i];
    ASSERT_LE(std::abs(out[i]), 30.0f);
  }
}

TEST_P(RowsTest, ExtremeGatesGiveNoNan) {
  for (Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    std::vector<float> gate = {-1e30f, -200.0f, -100.0f, -89.0f, -88.0f, -60.0f, 60.0f, 88.0f, 100.0f, 1e12f};
    const std::vector<float> up(gate.size(), 1.0f);
    std::vector<float> out(gate.size());
    const auto dim = static_cast<int64_t>(gate.size());
    table().gated_activation(exec(), {kind, gate.data(), dim, up.data(), dim, 1, dim}, out.data(), dim);
    for (size_t i = 0; i < gate.size(); ++i) {
      EXPECT_NEAR(out[i], gate[i] > 0 ? gate[i] : 0.0f, 1e-7f * std::min(100.0f, std::abs(gate[i])) + 1e-30f)
          << gate[i] << ", kind " << static_cast<int>(kind);
    }
  }
}

TEST_P(RowsTest, Rope) {
  for (bool interleaved : {false, true}) {
    for (const auto& [head_dim, half_dim] :
         {std::pair{8, 4}, {40, 20}, {64, 32}, {80, 40}, {96, 24}, {128, 64}, {64, 5}}) {
      const int64_t rows = 11;
      const int heads = 3;
      const int64_t stride = heads * head_dim + 7;
      const std::vector<float> x = random_floats(rows * stride, 1);
      std::vector<float> cos_sin(static_cast<size_t>(rows * 2 * half_dim));
      for (int64_t row = 0; row < rows; ++row) {
        for (int i = 0; i < half_dim; ++i) {
          const double angle = static_cast<double>(row) * std::pow(10000.0, -static_cast<double>(i) / half_dim);
          cos_sin[static_cast<size_t>(row * 2 * half_dim + i)] = static_cast<float>(std::cos(angle));
          cos_sin[static_cast<size_t>((row * 2 + 1) * half_dim + i)] = static_cast<float>(std::sin(angle));
        }
      }
      std::vector<float> out = x;
      table().rope(exec(), {.x = out.data(), .stride = stride, .num_heads = heads}, rows,
                   {cos_sin.data(), head_dim, half_dim, interleaved});
      for (int64_t row = 0; row < rows; ++row) {
        std::vector<double> want(x.begin() + row * stride, x.begin() + (row + 1) * stride);
        for (int head = 0; head < heads; ++head) {
          for (int i = 0; i < half_dim; ++i) {
            const auto a = static_cast<size_t>(head * head_dim + (interleaved ? 2 * i : i));
            const size_t b = interleaved ? a + 1 : a + static_cast<size_t>(half_dim);
            const double c = cos_sin[static_cast<size_t>(row * 2 * half_dim + i)];
            const double s = cos_sin[static_cast<size_t>((row * 2 + 1) * half_dim + i)];
            const double first = want[a] * c - want[b] * s;
            want[b] = want[b] * c + want[a] * s;
            want[a] = first;
          }
        }
        for (int64_t i = 0; i < stride; ++i) {
          ASSERT_NEAR(out[static_cast<size_t>(row * stride + i)], want[static_cast<size_t>(i)], 6e-7)
              << head_dim << " " << half_dim << " " << interleaved << " row " << row << " element " << i;
        }
      }
    }
  }
}

// Against Sylvester's definition, H[i][j] = (-1)^(bits that i and j share) / sqrt(size), and bit for bit as the
// reference; twice gives the heads back.
TEST_P(RowsTest, HadamardHeads) {
  const int heads = 3;
  const int64_t rows = 5;
  for (const int head_dim : {8, 24, 40, 64, 96, 112, 256, 512}) {
    const int size = head_dim & -head_dim;
    const int64_t width = heads * head_dim, stride = width + 3;
    const std::vector<float> x = random_floats(rows * stride, 1, 3.0f);
    std::vector<float> got = x, reference = x;
    table().hadamard_heads(exec(), {.x = got.data(), .stride = stride, .num_heads = heads}, rows, head_dim);
    reference_kernels().hadamard_heads(exec(), {.x = reference.data(), .stride = stride, .num_heads = heads}, rows,
                                       head_dim);
    ASSERT_TRUE(same_bits(got.data(), reference.data(), static_cast<int64_t>(got.size()))) << head_dim;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < stride; ++i) {
        const int64_t block = row * stride + i / size * size;
        double want = x[static_cast<size_t>(row * stride + i)];
        if (i < width) {
          want = 0;
          for (int64_t j = 0; j < size; ++j) {
            const bool minus = std::popcount(static_cast<uint64_t>(i % size & j)) % 2 == 1;
            want += (minus ? -1.0 : 1.0) * x[static_cast<size_t>(block + j)] / std::sqrt(size);
          }
        }
        ASSERT_NEAR(got[static_cast<size_t>(row * stride + i)], want, 1e-5)
            << head_dim << " row " << row << " at " << i;
      }
    }
    table().hadamard_heads(exec(), {.x = got.data(), .stride = stride, .num_heads = heads}, rows, head_dim);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], x[i], 1e-5) << head_dim;
  }
}

// Every table stores the same bits as the reference, special values included, and touches no other slot.
TEST_P(RowsTest, WriteKv) {
  const Format formats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};
  for (Format format : formats) {
    for (int head_dim : {8, 40, 64, 80, 112}) {
      const int heads = 3;
      const int64_t width = heads * head_dim;
      const int64_t num_rows = 40;
      std::vector<float> k = random_floats(num_rows * (width + 1), 1, 3.0f);
      std::vector<float> v = random_floats(num_rows * (width + 2), 2, 1e-6f);
      const float special[] = {std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN(),
                               65519.9f,
                               65520.0f,
                               1e30f,
                               6e-8f,
                               2.98023224e-8f,
                               -0.0f,
                               1.0009765625f / 2 + 0.000244140625f};
      std::memcpy(v.data(), special, sizeof(float) * 8);
      std::memcpy(k.data() + 5, special, sizeof(float) * 3);
      std::vector<int64_t> slots;
      for (int64_t row = 0; row < num_rows; ++row) slots.push_back((row * 37 + 11) % (4 * kKvBlockSize));
      const auto k_bytes = static_cast<size_t>(4 * heads * k_tile_bytes(format, head_dim));
      const auto v_bytes = static_cast<size_t>(4 * heads * v_tile_bytes(format, head_dim));
      std::vector<std::byte> got_k(k_bytes, std::byte{0x5a}), want_k(got_k);
      std::vector<std::byte> got_v(v_bytes, std::byte{0x5a}), want_v(got_v);
      for (const bool hadamard_v : {false, true}) {
        const KvLayer got{.k = got_k.data(),
                          .v = got_v.data(),
                          .k_format = format,
                          .v_format = format,
                          .num_kv_heads = heads,
                          .head_dim = head_dim,
                          .hadamard_v = hadamard_v};
        KvLayer want = got;
        want.k = want_k.data();
        want.v = want_v.data();
        table().write_kv(exec(), {got, v.data(), width + 2, slots.data(), num_rows}, k.data(), width + 1);
        reference_kernels().write_kv(exec(), {want, v.data(), width + 2, slots.data(), num_rows}, k.data(), width + 1);
        EXPECT_TRUE(got_k == want_k) << weight_format(format).name << " " << head_dim;
        EXPECT_TRUE(got_v == want_v) << weight_format(format).name << " " << head_dim << hadamard_v;
      }
    }
  }
}

// Every byte of the copied positions, and no other one.
TEST_P(RowsTest, CopyKv) {
  constexpr int kHeads = 3;
  const std::vector<KvCopy> copies = {{2, 0, 0, 1},  {2, 0, 1, 2},  {0, 1, 3, 29}, {3, 1, 0, 3},
                                      {2, 4, 31, 1}, {2, 5, 0, 32}, {3, 6, 5, 7},  {0, 7, 6, 12}};
  const Format formats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};
  for (size_t f = 0; f < std::size(formats); ++f) {
    for (const int head_dim : {8, 40, 64, 80, 256}) {
      const Format k_format = formats[f], v_format = formats[(f + 1) % std::size(formats)];
      const auto random_bytes = [&](Format format, bool is_v) {
        std::mt19937 random(is_v ? 2 : 1);
        std::vector<std::byte> bytes(static_cast<size_t>(8 * kHeads * tile_bytes_of(format, head_dim, is_v)));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        return bytes;
      };
      std::vector<std::byte> k = random_bytes(k_format, false), v = random_bytes(v_format, true);
      const std::vector<std::byte> old_k = k, old_v = v;
      const KvLayer kv{k.data(), v.data(), k_format, v_format, kHeads, head_dim};
      table().copy_kv(exec(), kv, copies.data(), static_cast<int64_t>(copies.size()));
      for (const bool is_v : {false, true}) {
        const Format format = is_v ? v_format : k_format;
        const auto tile_bytes = static_cast<size_t>(tile_bytes_of(format, head_dim, is_v));
        const std::vector<int> position = positions_of_bytes(format, head_dim, is_v);
        const std::vector<std::byte>& old = is_v ? old_v : old_k;
        std::vector<std::byte> want = old;
        for (const KvCopy& copy : copies) {
          for (size_t i = 0; i < kHeads * tile_bytes; ++i) {
            const int p = position[i % tile_bytes];
            if (p < copy.first || p >= copy.first + copy.count) continue;
            const auto block_bytes = kHeads * tile_bytes;
            want[static_cast<size_t>(copy.to) * block_bytes + i] =
                old[static_cast<size_t>(copy.from) * block_bytes + i];
          }
        }
        EXPECT_TRUE((is_v ? v : k) == want) << weight_format(format).name << " " << head_dim << " " << is_v;
      }
    }
  }
}

// Every E4M3 number, the middle between it and the next one, and the floats beside that middle: values are rounded to
// nearest, ties to even; larger values become the largest number.
TEST_P(RowsTest, WriteKvRoundsToE4M3) {
  std::vector<float> values;
  for (int code = 0; code < 0x7f; ++code) {
    const float here = e4m3_to_f32(static_cast<uint8_t>(code));
    const float next = code < 0x7e ? e4m3_to_f32(static_cast<uint8_t>(code + 1)) : here + 32;
    const float middle = (here + next) / 2;
    for (const float x : {here, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, next)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  for (const float x : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 465.0f, 1e-30f,
                        std::numeric_limits<float>::denorm_min(), 1e30f, 449.0f, 448.0f}) {
    values.push_back(x);
  }
  const auto width = static_cast<int64_t>(values.size());
  constexpr int kDim = 256;
  ASSERT_EQ(width % kDim, 0);
  const int64_t tile_bytes = k_tile_bytes(Format::kF8_E4M3, kDim);
  std::vector<std::byte> k(static_cast<size_t>(width / kDim * tile_bytes)), v(k);
  const KvLayer kv{k.data(), v.data(), Format::kF8_E4M3, Format::kF8_E4M3, static_cast<int>(width / kDim), kDim};
  const int64_t slot = 3;
  table().write_kv(exec(), {kv, values.data(), width, &slot, 1}, values.data(), width);
  for (int64_t i = 0; i < width; ++i) {
    const float x = values[static_cast<size_t>(i)];
    const auto want = static_cast<std::byte>(f32_to_e4m3(x));
    const int64_t tile = i / kDim * tile_bytes;
    ASSERT_EQ(k[static_cast<size_t>(tile + i % kDim * kKvBlockSize + slot)], want) << x;
    ASSERT_EQ(v[static_cast<size_t>(tile + slot * kDim + i % kDim)], want) << x;
  }
}

TEST(ReferenceRowsTest, KvTilesHaveTheDocumentedLayout) {
  ThreadPool pool(1);
  std::vector<float> k_pool(2 * 3 * 8 * kKvBlockSize), v_pool(k_pool.size());
  const KvLayer kv{reinterpret_cast<std::byte*>(k_pool.data()),
                   reinterpret_cast<std::byte*>(v_pool.data()),
                   Format::kF32,
                   Format::kF32,
                   3,
                   8};
  std::vector<float> k(24), v(24);
  for (size_t i = 0; i < 24; ++i) k[i] = static_cast<float>(i + 1), v[i] = -static_cast<float>(i + 1);
  const int64_t slot = kKvBlockSize + 5;
  reference_kernels().write_kv(make_exec(pool), {kv, v.data(), 24, &slot, 1}, k.data(), 24);
  const size_t tile = (1 * 3 + 2) * 8 * kKvBlockSize;  // block 1, head 2
  EXPECT_EQ(k_pool[tile + 4 * kKvBlockSize + 5], 2 * 8 + 4 + 1);
  EXPECT_EQ(v_pool[tile + 5 * 8 + 4], -(2 * 8 + 4 + 1));
}

// The rows of a large call, on several threads, are the rows computed one at a time.
TEST_P(RowsTest, OneAnswer) {
  const int64_t rows = 64, dim = 1000;
  const std::vector<float> x = random_floats(rows * dim, 1);
  const std::vector<float> weight = random_floats(dim, 2);
  std::vector<float> normed(x.size()), gated(x.size()), capped(x), one(static_cast<size_t>(dim));
  table().rms_norm(exec(), {x.data(), dim, weight.data(), 1e-6f, rows, dim}, normed.data(), dim);
  table().gated_activation(exec(), {Activation::kSilu, x.data(), dim, normed.data(), dim, rows, dim}, gated.data(),
                           dim);
  table().softcap(exec(), capped.data(), rows * dim, 0.5f);
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x.data() + row * dim;
    table().rms_norm(exec(), {in, dim, weight.data(), 1e-6f, 1, dim}, one.data(), dim);
    EXPECT_TRUE(same_bits(one.data(), normed.data() + row * dim, dim));
    table().gated_activation(exec(), {Activation::kSilu, in, dim, normed.data() + row * dim, dim, 1, dim}, one.data(),
                             dim);
    EXPECT_TRUE(same_bits(one.data(), gated.data() + row * dim, dim));
    std::memcpy(one.data(), in, static_cast<size_t>(dim) * sizeof(float));
    table().softcap(exec(), one.data(), dim, 0.5f);
    EXPECT_TRUE(same_bits(one.data(), capped.data() + row * dim, dim));
  }
}

// Fused entries give the same bits as their compositions.

TEST_P(RowsTest, NormAndActivationIntoPackedRowsAreTheirComposition) {
  const auto expect_composition = [this](const Kernels& of, int64_t dim, int64_t rows) {
    std::vector<float> gate = random_floats(rows * dim, 1, 3.0f);
    const std::vector<float> up = random_floats(rows * dim, 2);
    const std::vector<float> weight = random_floats(dim, 3);
    if (rows > 1) gate[static_cast<size_t>(dim + 5)] = std::numeric_limits<float>::infinity();
    const size_t bytes = static_cast<size_t>(rows) * of.packed_row_bytes(dim);
    AlignedBuffer want(bytes), got(bytes);
    std::vector<float> floats(gate.size());
    const auto expect_equal = [&](const char* name) {
      of.pack_rows(exec(), {.x = floats.data(), .num_rows = rows, .cols = dim}, want.data());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), bytes), 0)
          << name << ", " << rows << " rows of " << dim << " in " << activations_name(of.activations);
    };
    of.rms_norm(exec(), {gate.data(), dim, weight.data(), 1e-5f, rows, dim}, floats.data(), dim);
    of.rms_norm_packed(exec(), {gate.data(), dim, weight.data(), 1e-5f, rows, dim}, got.data());
    expect_equal("rms_norm_packed");
    for (Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
      of.gated_activation(exec(), {kind, gate.data(), dim, up.data(), dim, rows, dim}, floats.data(), dim);
      of.gated_activation_packed(exec(), {kind, gate.data(), dim, up.data(), dim, rows, dim}, got.data());
      expect_equal("gated_activation_packed");
    }
  };
  for (const int64_t rows : {1, 19}) {
    for (const int64_t dim : {32, 64, 256, 288, 2048, 5632 + 32}) expect_composition(table(), dim, rows);
    for (const Activations kind : {Activations::kBf16, Activations::kF32}) {
      for (const int64_t dim : {8, 17, 288, 515}) expect_composition(select_kernels(table().name, kind), dim, rows);
    }
  }
}

TEST_P(RowsTest, AddRmsNormIsItsComposition) {
  for (int64_t dim : kSizes) {
    for (int64_t rows : {int64_t{1}, int64_t{9}}) {
      const std::vector<float> y = random_floats(rows * dim, 1, 5.0f);
      const std::vector<float> weight = random_floats(dim, 2);
      std::vector<float> got = random_floats(rows * dim, 3), want(got), normed(y.size());
      table().rms_norm(exec(), {y.data(), dim, weight.data(), 1e-5f, rows, dim}, normed.data(), dim);
      table().add(exec(), want.data(), normed.data(), rows * dim);
      table().add_rms_norm(exec(), {y.data(), dim, weight.data(), 1e-5f, rows, dim}, got.data());
      EXPECT_TRUE(same_bits(got.data(), want.data(), rows * dim)) << dim;
    }
  }
}

TEST_P(RowsTest, NormRopeIsItsComposition) {
  const int half_dim = 20, head_dim = 64;
  for (int64_t rows : {int64_t{1}, int64_t{70}}) {
    const std::vector<float> cos_sin = random_floats(rows * 2 * half_dim, 1);
    const std::vector<float> weight = random_floats(head_dim, 2);
    for (bool interleaved : {false, true}) {
      for (const float* norm : {static_cast<const float*>(nullptr), weight.data()}) {
        std::vector<float> q = random_floats(rows * (6 * head_dim + 3), 3), k = random_floats(rows * 2 * head_dim, 4);
        std::vector<float> want_q = q, want_k = k;
        const HeadRows parts[] = {{q.data(), 6 * head_dim + 3, 6, norm, 1e-6f},
                                  {k.data(), 2 * head_dim, 2, norm, 1e-5f}};
        table().norm_rope(exec(), parts, 2, rows, {cos_sin.data(), head_dim, half_dim, interleaved});
        const HeadRows plain[] = {{want_q.data(), 6 * head_dim + 3, 6, norm, 1e-6f},
                                  {want_k.data(), 2 * head_dim, 2, norm, 1e-5f}};
        for (const HeadRows& part : plain) {
          for (int64_t row = 0; norm != nullptr && row < rows; ++row) {
            float* heads = part.x + row * part.stride;
            table().rms_norm(exec(), {heads, head_dim, norm, part.norm_eps, part.num_heads, head_dim}, heads, head_dim);
          }
          table().rope(exec(), {.x = part.x, .stride = part.stride, .num_heads = part.num_heads}, rows,
                       {cos_sin.data(), head_dim, half_dim, interleaved});
        }
        EXPECT_TRUE(same_bits(q.data(), want_q.data(), static_cast<int64_t>(q.size()))) << rows << interleaved;
        EXPECT_TRUE(same_bits(k.data(), want_k.data(), static_cast<int64_t>(k.size()))) << rows << interleaved;
      }
    }
  }
}

TEST_P(RowsTest, NormRopeWriteKvIsItsComposition) {
  const int half_dim = 20, head_dim = 64, q_heads = 6, kv_heads = 2;
  const int64_t q_width = q_heads * head_dim, kv_width = kv_heads * head_dim;
  const std::vector<float> weight = random_floats(head_dim, 2);
  for (const Format format :
       {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0}) {
    for (const int64_t rows : {int64_t{1}, int64_t{70}}) {
      for (const float* norm : {static_cast<const float*>(nullptr), weight.data()}) {
        const bool interleaved = norm == nullptr;
        const std::vector<float> cos_sin = random_floats(rows * 2 * half_dim, 1);
        std::vector<float> q = random_floats(rows * (q_width + 3), 3), k = random_floats(rows * kv_width, 4);
        const std::vector<float> v = random_floats(rows * (kv_width + 1), 5);
        std::vector<float> want_q = q, want_k = k;
        std::vector<int64_t> slots;
        for (int64_t row = 0; row < rows; ++row) slots.push_back((row * 37 + 11) % (3 * kKvBlockSize));
        std::vector<std::byte> got_cache[2], want_cache[2];
        const auto layer = [&](std::vector<std::byte>(&cache)[2]) {
          for (const bool is_v : {false, true}) {
            const auto bytes = static_cast<size_t>(3 * kv_heads * tile_bytes_of(format, head_dim, is_v));
            cache[is_v].assign(bytes, std::byte{0x5a});
          }
          const bool hadamard = format == Format::kQ4_0 || rows == 1;
          return KvLayer{.k = cache[0].data(),
                         .v = cache[1].data(),
                         .k_format = format,
                         .v_format = format,
                         .num_kv_heads = kv_heads,
                         .head_dim = head_dim,
                         .hadamard_k = hadamard,
                         .hadamard_v = hadamard};
        };
        const HeadRows want_parts[] = {{want_q.data(), q_width + 3, q_heads, norm, 1e-6f},
                                       {want_k.data(), kv_width, kv_heads, norm, 1e-5f}};
        table().norm_rope(exec(), want_parts, 2, rows, {cos_sin.data(), head_dim, half_dim, interleaved});
        const KvLayer want_layer = layer(want_cache);
        for (const HeadRows& part : want_parts) {
          if (want_layer.hadamard_k) table().hadamard_heads(exec(), part, rows, head_dim);
        }
        table().write_kv(exec(), {want_layer, v.data(), kv_width + 1, slots.data(), rows}, want_k.data(), kv_width);
        table().norm_rope_write_kv(exec(), {q.data(), q_width + 3, q_heads, norm, 1e-6f},
                                   {k.data(), kv_width, kv_heads, norm, 1e-5f},
                                   {layer(got_cache), v.data(), kv_width + 1, slots.data(), rows},
                                   {cos_sin.data(), head_dim, half_dim, interleaved});
        EXPECT_TRUE(same_bits(q.data(), want_q.data(), static_cast<int64_t>(q.size()))) << rows << interleaved;
        EXPECT_TRUE(got_cache[0] == want_cache[0]) << weight_format(format).name << rows << interleaved;
        EXPECT_TRUE(got_cache[1] == want_cache[1]) << weight_format(format).name << rows << interleaved;
      }
    }
  }
}

// In order, one after the other; assignments outside the part are left to another call.
TEST_P(RowsTest, AddExpertRows) {
  const int64_t rows = 21, dim = 1001;
  const int per_row = 3;
  std::vector<int32_t> assignments;
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t j = 0; j < per_row; ++j) assignments.push_back(j * 21 + (row * 5 + j) % 21);
  }
  const std::vector<float> weights = random_floats(rows * per_row, 1);
  const std::vector<float> from = random_floats(rows * per_row * dim, 2);
  std::vector<float> got = random_floats(rows * dim, 3), want(rows * dim);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t j = row * per_row; j < (row + 1) * per_row; ++j) {
      for (size_t i = 0; i < dim; ++i) {
        const float product = weights[j] * from[static_cast<size_t>(assignments[j]) * dim + i];
        want[row * dim + i] += product;
      }
    }
  }
  for (const auto& [first, last] : {std::pair{0, 30}, {30, 30}, {30, 63}}) {
    const ExpertRows part{from.data() + first * dim, first, last, assignments.data(), weights.data(), per_row};
    table().add_expert_rows(exec(), part, rows, dim, got.data());
  }
  EXPECT_TRUE(same_bits(got.data(), want.data(), rows * dim));
}

// The choices of one row of logits, as (expert, weight).
std::vector<std::pair<int32_t, float>> choices(const Kernels& table, const Exec& exec, std::vector<float> logits,
                                               int per_row, bool normalize) {
  std::vector<int32_t> assignments(static_cast<size_t>(per_row)), rows(assignments.size()), first(logits.size() + 1);
  std::vector<float> weights(assignments.size());
  table.route_experts(exec, {static_cast<int>(logits.size()), per_row, normalize}, logits.data(), 1,
                      {assignments.data(), weights.data(), rows.data(), first.data()});
  std::vector<std::pair<int32_t, float>> chosen;
  for (size_t e = 0; e + 1 < first.size(); ++e) {
    EXPECT_LE(first[e + 1] - first[e], 1);
    if (first[e + 1] > first[e]) chosen.emplace_back(static_cast<int32_t>(e), weights[static_cast<size_t>(first[e])]);
  }
  return chosen;
}

TEST_P(RowsTest, RoutingPicksTheLargestAndWeighsThem) {
  const std::vector<float> logits = {0.0f, 3.0f, 1.0f, 2.0f};
  const auto normalized = choices(table(), exec(), logits, 2, true);
  ASSERT_EQ(normalized.size(), 2u);
  EXPECT_EQ(normalized[0].first, 1);
  EXPECT_EQ(normalized[1].first, 3);
  EXPECT_NEAR(normalized[0].second, 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(normalized[0].second + normalized[1].second, 1.0, 1e-6);
  const auto plain = choices(table(), exec(), logits, 2, false);
  const double sum = 1 + std::exp(3.0) + std::exp(1.0) + std::exp(2.0);
  EXPECT_NEAR(plain[0].second, std::exp(3.0) / sum, 1e-6);
  EXPECT_NEAR(plain[1].second, std::exp(2.0) / sum, 1e-6);
}

TEST_P(RowsTest, RoutingOfTiesAndNaNGivesDistinctExperts) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float logit : {1.0f, nan}) {
    const auto chosen = choices(table(), exec(), std::vector(4, logit), 3, true);
    ASSERT_EQ(chosen.size(), 3u);
    for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(chosen[static_cast<size_t>(i)].first, i);
  }
}

// Every row has its experts and every expert its rows in ascending order; assignments lead from rows to experts and
// back.
TEST_P(RowsTest, RoutingSortsAssignmentsByExpert) {
  const int64_t rows = 37;
  const Routing routing{.num_experts = 9, .per_row = 4, .normalize = true};
  std::vector<float> logits = random_floats(rows * routing.num_experts, 4);
  std::vector<int32_t> assignments(rows * 4), row_of(rows * 4), first(10);
  std::vector<float> weights(rows * 4);
  table().route_experts(exec(), routing, logits.data(), rows,
                        {assignments.data(), weights.data(), row_of.data(), first.data()});
  EXPECT_EQ(first.front(), 0);
  EXPECT_EQ(first.back(), rows * 4);
  for (size_t e = 0; e < 9; ++e) {
    for (int32_t assignment = first[e]; assignment < first[e + 1]; ++assignment) {
      if (assignment == first[e]) continue;
      EXPECT_LT(row_of[static_cast<size_t>(assignment) - 1], row_of[static_cast<size_t>(assignment)]);
    }
  }
  for (size_t i = 0; i < assignments.size(); ++i) {
    EXPECT_EQ(row_of[static_cast<size_t>(assignments[i])], static_cast<int32_t>(i / 4));
    if (i % 4 == 0) continue;
    EXPECT_LT(assignments[i - 1], assignments[i]);
  }
}

TEST_P(RowsTest, GatherRows) {
  const int64_t cols = 21;
  const std::vector<float> from = random_floats(50 * cols, 5);
  std::vector<int32_t> rows;
  for (int32_t i = 0; i < 33; ++i) rows.push_back(i * 7 % 50);
  std::vector<float> picked(33 * cols);
  table().gather_rows(exec(), reinterpret_cast<const std::byte*>(from.data()), cols * sizeof(float), rows.data(), 33,
                      reinterpret_cast<std::byte*>(picked.data()));
  for (size_t i = 0; i < picked.size(); ++i) {
    EXPECT_EQ(picked[i], from[static_cast<size_t>(rows[i / cols]) * cols + i % cols]);
  }
}

// Rows and columns that lists pick, bit for bit as the same floats packed plainly.
TEST_P(RowsTest, PacksRowsInTheOrderOfLists) {
  const std::vector<int32_t> rows = {2, 0, 2, 1, 4, 0, 3};
  const std::vector<int32_t> first = {5, 5, 8, 9, 9, 12, 12};  // of experts; 0, 3 and 5 have no rows
  constexpr int64_t kRows = 7;
  for (const int64_t cols : {32, 256, 288, 1056}) {
    const std::vector<float> x = random_floats(kRows * cols, 5);
    std::vector<std::vector<int32_t>> orders(2, std::vector<int32_t>(static_cast<size_t>(cols)));
    for (size_t c = 0; c < orders[0].size(); ++c) {
      orders[0][c] = static_cast<int32_t>((c * 5 + 3) % orders[0].size());
      orders[1][c] = static_cast<int32_t>(orders[0].size() - 1 - c);
    }
    const int32_t* const of_experts[] = {orders[1].data(), orders[0].data(), nullptr,
                                         orders[0].data(), orders[1].data(), orders[0].data()};
    const int32_t* const of_rows[] = {of_experts[1], of_experts[1], of_experts[1], nullptr,
                                      of_experts[4], of_experts[4], of_experts[4]};
    const auto expect_packed = [&](const RowsToPack& lists, const auto& value) {
      std::vector<float> floats(x.size());
      for (int64_t i = 0; i < kRows * cols; ++i) floats[static_cast<size_t>(i)] = value(i / cols, i % cols);
      const size_t bytes = kRows * table().packed_row_bytes(cols);
      AlignedBuffer want(bytes), got(bytes);
      table().pack_rows(exec(), {.x = floats.data(), .num_rows = kRows, .cols = cols}, want.data());
      table().pack_rows(exec(), lists, got.data());
      EXPECT_EQ(std::memcmp(got.data(), want.data(), bytes), 0) << cols << " columns";
    };
    const auto at = [&](int64_t row, int64_t column) { return x[static_cast<size_t>(row * cols + column)]; };
    RowsToPack lists{.x = x.data(), .num_rows = kRows, .cols = cols, .columns = orders[0].data()};
    expect_packed(lists, [&](int64_t row, int64_t c) { return at(row, orders[0][static_cast<size_t>(c)]); });
    lists = {.x = x.data(),
             .num_rows = kRows,
             .cols = cols,
             .rows = rows.data(),
             .num_experts = 6,
             .first = first.data(),
             .expert_columns = of_experts};
    expect_packed(lists, [&](int64_t row, int64_t c) {
      const int32_t* const columns = of_rows[row];
      return at(rows[static_cast<size_t>(row)], columns != nullptr ? columns[c] : c);
    });
  }
}

// Of rows as they lie in a file, for the tables of the host.
TEST_P(RowsTest, EmbedRows) {
  const std::vector<float> values = random_floats(40 * 64, 3);
  for (const Format name : {Format::kF32, Format::kBF16, Format::kQ5_1}) {
    const WeightFormat& format = weight_format(name);
    std::vector<std::byte> rows(format.bytes_of(40 * 64));
    format.quantize(values.data(), rows.data(), 40 * 64);
    std::vector<float> all(40 * 64);
    format.dequantize(rows.data(), all.data(), 40 * 64);
    const std::vector<int32_t> chosen = {39, -1};
    std::vector<int32_t> ids, tokens;
    for (int32_t i = 0; i < 33; ++i) ids.push_back(i % 11 == 4 ? -1 - i % 2 : i * 7 % 40);
    for (const int32_t id : ids) tokens.push_back(id >= 0 ? id : id == -1 ? 39 : 0);
    std::vector<float> out(33 * 64);
    table().embed_rows(exec(), {.format = name, .rows = 40, .cols = 64, .data = rows.data()},
                       {.ids = ids.data(), .chosen = chosen.data()}, 33, 0.5f, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], all[static_cast<size_t>(tokens[i / 64]) * 64 + i % 64] * 0.5f);
    }
  }
}

TEST(SelectTest, SelectsByNameAndRefusesUnknownNames) {
  for (const Kernels* table : runnable_kernels()) EXPECT_EQ(&select_kernels(table->name), table);
  EXPECT_EQ(runnable_kernels().back(), &reference_kernels());
  try {
    select_kernels("mmx");
    FAIL() << "an unknown table was selected";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("reference"), std::string::npos) << error.what();
  }
  EXPECT_EQ(&select_kernels(""), runnable_kernels().front());
}

TEST(SelectTest, ActivationsChooseTheRowsOfIntegerFormats) {
  for (const Activations kind : {Activations::kInt8, Activations::kBf16, Activations::kF32}) {
    EXPECT_EQ(find_activations(activations_name(kind)), kind);
    EXPECT_EQ(runnable_kernels(kind).back(), &reference_kernels(kind));
    for (const Kernels* table : runnable_kernels(kind)) {
      EXPECT_EQ(table->activations, kind);
      EXPECT_TRUE(table->takes_packed(Format::kQ4_K)) << table->name;
      EXPECT_EQ(table->takes_packed(Format::kF16), kind == Activations::kBf16) << table->name;
      EXPECT_FALSE(table->takes_packed(Format::kF32)) << table->name;
      EXPECT_EQ(select_backend({.device = "cpu", .isa = table->name, .activations = kind}, {}).kernels, table);
    }
  }
  EXPECT_EQ(find_activations("int4"), std::nullopt);
}

// A GPU has one kind for each format; asking for another one must not compute something else.
TEST(SelectTest, ADeviceRefusesOtherActivations) {
  const BackendFactory device{.make =
                                  [](bool, int) {
                                    return Backend{&reference_kernels(), make_host_device()};
                                  },
                              .is_preferred = true};
  for (const std::string_view name : {"cuda", ""}) {
    EXPECT_EQ(select_backend({.device = name}, device).kernels, &reference_kernels());
    try {
      select_backend({.device = name, .activations = Activations::kF32}, device);
      FAIL() << "unusual activations were accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("activations \"f32\""), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("--device cpu"), std::string::npos) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, RowsTest, testing::ValuesIn(runnable_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace quire
