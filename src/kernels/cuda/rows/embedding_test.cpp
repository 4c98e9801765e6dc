// Compares rows of packed matrices of every format with the dequantised blocks.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/matmul/pack.h"

namespace quire {
namespace {

class CudaEmbedding : public GpuTest {
 protected:
  // A matrix of this format, both packed and as in files.
  struct Matrix {
    std::vector<std::byte> rows;
    DeviceArray<std::byte> packed;
    PackedMatrix on_host;
    PackedMatrix on_device;
  };

  CudaEmbedding() { fill_matmul_cuda(cuda_); }

  Matrix make(Format format, int64_t rows, int64_t cols) {
    std::normal_distribution<float> normal(0.0f, 2.0f);
    std::vector<float> values(static_cast<size_t>(rows * cols));
    for (float& x : values) x = normal(random_);
    Matrix matrix{.rows = std::vector<std::byte>(weight_format(format).bytes_of(rows * cols)),
                  .packed = DeviceArray<std::byte>(cuda_.packed_bytes(format, rows, cols)),
                  .on_host = {.format = format, .rows = rows, .cols = cols},
                  .on_device = {.format = format, .rows = rows, .cols = cols}};
    weight_format(format).quantize(values.data(), matrix.rows.data(), rows * cols);
    cuda_.pack(exec_, format, rows, cols, matrix.rows.data(), matrix.packed.data());
    matrix.on_host.data = matrix.rows.data();
    matrix.on_device.data = matrix.packed.data();
    return matrix;
  }

  ThreadPool pool_{1};
  Exec host_ = make_exec(pool_);
  Exec exec_ = gpu_exec();
  Kernels cuda_{};
  std::mt19937 random_{5};
};

TEST_F(CudaEmbedding, AllFormats) {
  const std::vector<int32_t> ids = {0, 36, 15, 16, 36, 7, 8, 31};
  const DeviceArray<int32_t> device_ids(ids);
  const auto num_rows = static_cast<int64_t>(ids.size());
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    const int block = weight_format(format).block_elements;
    if (cuda_.packed_bytes(format, 1, block) == 0) continue;
    for (int64_t cols :
         block == 1 ? std::vector<int64_t>{1, 6, 32, 100, 515} : std::vector<int64_t>{block, 3 * block}) {
      const Matrix matrix = make(format, 37, cols);
      std::vector<float> want(ids.size() * static_cast<size_t>(cols));
      reference_kernels().embed_rows(host_, matrix.on_host, {.ids = ids.data()}, num_rows, 3.5f, want.data());
      DeviceArray<float> out(want.size());
      embed_rows(exec_, matrix.on_device, {.ids = device_ids.data()}, num_rows, 3.5f, out.data());
      EXPECT_EQ(out.download(), want) << weight_format(format).name << " " << cols;
    }
  }
}

TEST_F(CudaEmbedding, TokensChosenOnTheDevice) {
  const Matrix matrix = make(Format::kF16, 20, 64);
  const std::vector<int32_t> chosen = {5, -1, 19};
  const std::vector<int32_t> ids = {-3, 7, -1, -2};  // stand for 19, 7, 5 and a row without a usable token
  std::vector<float> want(4 * 64);
  reference_kernels().embed_rows(host_, matrix.on_host, {.ids = ids.data(), .chosen = chosen.data()}, 4, 1.0f,
                                 want.data());
  const DeviceArray<int32_t> device_ids(ids);
  const DeviceArray<int32_t> device_chosen(chosen);
  DeviceArray<float> out(want.size());
  embed_rows(exec_, matrix.on_device, {.ids = device_ids.data(), .chosen = device_chosen.data()}, 4, 1.0f, out.data());
  EXPECT_EQ(out.download(), want);
}

}  // namespace
}  // namespace quire
