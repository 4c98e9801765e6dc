// Checks that values stored by write_kv of the CUDA table read back bit for bit as those of the reference table, and
// that copy_kv copies every bit of the positions that it should and no other one.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/thread_pool.h"
#include "kernels/cuda/attention/attention_batch.h"
#include "kernels/cuda/cuda.h"
#include "kernels/reference/kv_tile.h"
#include "kernels/select.h"

namespace quire {
namespace {

class WriteKvCuda : public GpuTest {};

Kernels rotating_table() {
  Kernels table = {};
  fill_rope_cuda(table);
  fill_write_kv_cuda(table);
  return table;
}

constexpr int kHeads = 3;
constexpr int64_t kBlocks = 3;

std::vector<float> test_values(size_t size) {
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& x : values) x = normal(random);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[50] = std::numeric_limits<float>::infinity();
  values[120] = 1e30f;
  for (size_t i = 300; i < 400; ++i) values[i] = 0;
  for (size_t i = 400; i < 500; ++i) values[i] *= 1e-7f;
  return values;
}

int64_t tile_bytes_of(Format format, int head_dim, bool is_v) {
  return (is_v ? v_tile_bytes : k_tile_bytes)(format, head_dim);
}

void expect_same_stored(Format format, int head_dim, const std::vector<std::byte>& got,
                        const std::vector<std::byte>& want, bool is_v) {
  const int64_t tile_bytes = tile_bytes_of(format, head_dim, is_v);
  std::vector<float> expected(static_cast<size_t>(head_dim));
  for (int64_t tile = 0; tile < kBlocks * kHeads; ++tile) {
    for (int position = 0; position < kKvBlockSize; ++position) {
      (is_v ? load_v : load_k)(format, want.data() + tile * tile_bytes, head_dim, position, expected.data());
      for (int d = 0; d < head_dim; ++d) {
        const float value =
            kv_value(is_v ? format : k_codes(format), got.data() + tile * tile_bytes, head_dim, position, d);
        const float other = expected[static_cast<size_t>(d)];
        const bool same = std::isnan(value) ? std::isnan(other) : std::memcmp(&value, &other, 4) == 0;
        ASSERT_TRUE(same) << static_cast<int>(format) << " head_dim " << head_dim << " tile " << tile << " position "
                          << position << " dimension " << d << ": " << value << ", not " << other;
      }
    }
  }
}

// Codes of four bits of heads times the Hadamard matrix, as the cache has them.
KvLayer kv_layer(std::byte* k, std::byte* v, Format k_format, Format v_format, int head_dim) {
  return {.k = k,
          .v = v,
          .k_format = k_format,
          .v_format = v_format,
          .num_kv_heads = kHeads,
          .head_dim = head_dim,
          .hadamard_k = k_format == Format::kQ4_0,
          .hadamard_v = v_format == Format::kQ4_0};
}

void expect_stores_like_reference(Format k_format, Format v_format, int head_dim) {
  const auto k_bytes = static_cast<size_t>(kBlocks * kHeads * k_tile_bytes(k_format, head_dim));
  const auto v_bytes = static_cast<size_t>(kBlocks * kHeads * v_tile_bytes(v_format, head_dim));
  const std::vector<int64_t> slots = {33, -1, 0, 31, 95, -1, 64, 65, 40};
  const auto num_rows = static_cast<int64_t>(slots.size());
  const int64_t stride = int64_t{kHeads} * head_dim + 8;
  const std::vector<float> values = test_values(static_cast<size_t>(num_rows * stride) + 500);

  DeviceArray<std::byte> k(k_bytes);
  DeviceArray<std::byte> v(v_bytes);
  const DeviceArray<float> from(values);
  const DeviceArray<int64_t> at(slots);
  cuda_attention().write_kv(
      gpu_exec(),
      {kv_layer(k.data(), v.data(), k_format, v_format, head_dim), from.data() + 8, stride, at.data(), num_rows},
      from.data(), stride);

  std::vector<std::byte> host_k(k_bytes, std::byte{0xff});
  std::vector<std::byte> host_v(v_bytes, std::byte{0xff});
  const KvLayer kv = kv_layer(host_k.data(), host_v.data(), k_format, v_format, head_dim);
  ThreadPool pool(1);
  for (int64_t row = 0; row < num_rows; ++row) {
    if (slots[static_cast<size_t>(row)] < 0) continue;
    const float* k_row = values.data() + row * stride;
    reference_kernels().write_kv(make_exec(pool), {kv, k_row + 8, stride, &slots[static_cast<size_t>(row)], 1}, k_row,
                                 stride);
  }
  expect_same_stored(k_format, head_dim, k.download(), host_k, false);
  expect_same_stored(v_format, head_dim, v.download(), host_v, true);
}

TEST_F(WriteKvCuda, StoresTheBitsOfTheReference) {
  const Format formats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};
  for (int head_dim : {8, 40, 64, 80, 256}) {
    for (size_t i = 0; i < std::size(formats); ++i) {
      ASSERT_EQ(kv_stored_bytes(k_codes(formats[i]), head_dim), k_tile_bytes(formats[i], head_dim));
      ASSERT_EQ(kv_stored_bytes(formats[i], head_dim), v_tile_bytes(formats[i], head_dim));
      expect_stores_like_reference(formats[i], formats[(i + 1) % std::size(formats)], head_dim);
    }
  }
}

// Positions of random tiles, whose values are read before and after.
TEST_F(WriteKvCuda, CopiesPositions) {
  const Format formats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};
  const std::vector<KvCopy> copies = {{0, 1, 0, 5}, {0, 2, 31, 1}, {0, 1, 5, 20}, {1, 2, 27, 3}};
  const auto source_of = [&](int64_t block, int position) {
    for (const KvCopy& copy : copies) {
      if (copy.to == block && position >= copy.first && position < copy.first + copy.count) return int64_t{copy.from};
    }
    return block;
  };
  for (const int head_dim : {8, 40, 64, 80}) {
    for (size_t f = 0; f < std::size(formats); ++f) {
      const Format format[2] = {formats[f], formats[(f + 1) % std::size(formats)]};
      std::vector<std::byte> before[2];
      for (const int is_v : {0, 1}) {
        before[is_v].resize(static_cast<size_t>(kBlocks * kHeads * tile_bytes_of(format[is_v], head_dim, is_v != 0)));
        std::mt19937 random(static_cast<uint32_t>(is_v));
        for (std::byte& byte : before[is_v]) byte = static_cast<std::byte>(random());
      }
      DeviceArray<std::byte> k(before[0]);
      DeviceArray<std::byte> v(before[1]);
      const DeviceArray<KvCopy> list(copies);
      cuda_attention().copy_kv(gpu_exec(), kv_layer(k.data(), v.data(), format[0], format[1], head_dim), list.data(),
                               static_cast<int64_t>(copies.size()));
      const std::vector<std::byte> after[2] = {k.download(), v.download()};
      for (const int is_v : {0, 1}) {
        const int64_t tile_bytes = tile_bytes_of(format[is_v], head_dim, is_v != 0);
        const Format codes = is_v != 0 ? format[is_v] : k_codes(format[is_v]);
        for (int64_t tile = 0; tile < kBlocks * kHeads; ++tile) {
          for (int position = 0; position < kKvBlockSize; ++position) {
            const int64_t source = source_of(tile / kHeads, position) * kHeads + tile % kHeads;
            for (int d = 0; d < head_dim; ++d) {
              const std::byte* from = before[is_v].data() + source * tile_bytes;
              const float want = kv_value(codes, from, head_dim, position, d);
              const float got = kv_value(codes, after[is_v].data() + tile * tile_bytes, head_dim, position, d);
              ASSERT_EQ(std::memcmp(&got, &want, sizeof got), 0)
                  << static_cast<int>(format[is_v]) << " head_dim " << head_dim << " tile " << tile << " position "
                  << position << " dimension " << d;
            }
          }
        }
      }
    }
  }
}

// One kernel rotates and stores the same bits as two, for heads with and without norms and a row of padding.
TEST_F(WriteKvCuda, RotatesAndStoresInOneKernel) {
  constexpr int kDim = 72, kHalf = 20, kQueryHeads = 5;
  const std::vector<int64_t> slots = {33, -1, 0, 95};
  const auto num_rows = static_cast<int64_t>(slots.size());
  constexpr int64_t kQ = kQueryHeads * kDim, kK = kHeads * kDim;
  const DeviceArray<float> cos_sin(test_values(static_cast<size_t>(num_rows * 2 * kHalf) + 500));
  const DeviceArray<float> v(test_values(static_cast<size_t>(num_rows * kK) + 500));
  const DeviceArray<int64_t> at(slots);
  for (const Format format : {Format::kF16, Format::kQ8_0, Format::kQ4_0}) {
    for (const float* norm : {static_cast<const float*>(nullptr), cos_sin.data()}) {
      const auto bytes = [&](bool is_v) {
        return static_cast<size_t>(kBlocks * kHeads * tile_bytes_of(format, kDim, is_v));
      };
      std::vector<float> downloaded[2];
      std::vector<std::byte> stored[2][2];
      for (const bool fused : {false, true}) {
        DeviceArray<float> x(test_values(static_cast<size_t>(num_rows * (kQ + kK)) + 500));
        DeviceArray<std::byte> k_tiles(std::vector<std::byte>(bytes(false), std::byte{0}));
        DeviceArray<std::byte> v_tiles(std::vector<std::byte>(bytes(true), std::byte{0}));
        const KvLayer kv = kv_layer(k_tiles.data(), v_tiles.data(), format, format, kDim);
        const HeadRows parts[] = {{x.data(), kQ + kK, kQueryHeads, norm, 1e-6f},
                                  {x.data() + kQ, kQ + kK, kHeads, norm, 1e-5f}};
        const Kernels table = rotating_table();
        if (fused) {
          table.norm_rope_write_kv(gpu_exec(), parts[0], parts[1], {kv, v.data(), kK, at.data(), num_rows},
                                   {cos_sin.data(), kDim, kHalf, true});
        } else {
          table.norm_rope(gpu_exec(), parts, 2, num_rows, {cos_sin.data(), kDim, kHalf, true});
          for (const HeadRows& part : parts) {
            if (kv.hadamard_k) table.hadamard_heads(gpu_exec(), part, num_rows, kDim);
          }
          table.write_kv(gpu_exec(), {kv, v.data(), kK, at.data(), num_rows}, parts[1].x, kQ + kK);
        }
        downloaded[fused] = x.download();
        stored[fused][0] = k_tiles.download();
        stored[fused][1] = v_tiles.download();
      }
      EXPECT_EQ(std::memcmp(downloaded[0].data(), downloaded[1].data(), downloaded[0].size() * sizeof(float)), 0);
      EXPECT_TRUE(stored[0][0] == stored[1][0]) << static_cast<int>(format);
      EXPECT_TRUE(stored[0][1] == stored[1][1]) << static_cast<int>(format);
    }
  }
}

}  // namespace
}  // namespace quire
