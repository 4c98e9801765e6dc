// Products by the library, emulated or on the device, against float64: layouts, strides, biases, scales.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/matmul/dense_matmul.h"
#include "kernels/select.h"
#include "tensor/float8.h"
#include "tensor/formats/blocks.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// As the library sees them: numbers of the format, in float64.
struct Weights {
  Format format;
  int64_t rows;
  int64_t cols;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

Weights random_weights(Format format, int64_t rows, int64_t cols, uint32_t seed) {
  Weights weights{format, rows, cols, std::vector<std::byte>(weight_format(format).bytes_of(rows * cols)),
                  random_floats(rows * cols, seed)};
  // Groups differ much, so that scales in a wrong place show.
  if (format == Format::kF8_G128) {
    for (size_t i = 0; i < weights.values.size(); ++i) weights.values[i] *= static_cast<float>(1 + i / 128 % 7);
  }
  weight_format(format).quantize(weights.values.data(), weights.bytes.data(), rows * cols);
  weight_format(format).dequantize(weights.bytes.data(), weights.values.data(), rows * cols);
  return weights;
}

// A row as it is multiplied.
void round_row(Format format, float* row, int64_t cols) {
  for (int64_t i = 0; i < cols; ++i) row[i] = bf16_to_f32(f32_to_bf16(row[i]));
  if (format == Format::kBF16) return;
  for (int64_t first = 0; first < cols; first += kDenseGroup) {
    float most = 0.0f;
    for (int64_t i = first; i < first + kDenseGroup; ++i) most = std::max(most, std::abs(row[i]));
    for (int64_t i = first; i < first + kDenseGroup && most > 0; ++i) {
      row[i] = e4m3_to_f32(f32_to_e4m3(row[i] * (kE4M3Largest / most))) * (most / kE4M3Largest);
    }
  }
}

// Element `at` of the contiguous product, and the magnitudes that it is the sum of.
double product_of(const Weights& weights, const std::vector<float>& x, size_t at, double* terms = nullptr) {
  const size_t t = at / static_cast<size_t>(weights.rows);
  const size_t o = at % static_cast<size_t>(weights.rows);
  const auto cols = static_cast<size_t>(weights.cols);
  std::vector<float> row(x.begin() + static_cast<int64_t>(t * cols), x.begin() + static_cast<int64_t>((t + 1) * cols));
  round_row(weights.format, row.data(), weights.cols);
  double sum = 0;
  for (size_t k = 0; k < cols; ++k) {
    const double term = double{row[k]} * weights.values[o * cols + k];
    sum += term;
    if (terms != nullptr) *terms += std::abs(term);
  }
  return sum;
}

class CudaDense : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    try {
      kernels_ = make_cuda(/*one_answer=*/false).kernels;
      library_.emplace();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    scratch_.emplace(kernels().scratch_bytes);
    stream_ = {gpu_stream(gpu_exec()), &gpu_staging(gpu_exec()), &*library_};
    exec_ = make_exec(pool_, &stream_);
    exec_.scratch = scratch_->data();
  }

  const Kernels& kernels() const { return *kernels_; }
  bool takes(Format format) const { return kernels().dense_bytes(format, 16, 256) > 0; }

  struct Matrix {
    DeviceArray<std::byte> bytes;
    PackedMatrix matrix;
  };
  Matrix pack(const Weights& weights) {
    Matrix packed{DeviceArray<std::byte>(kernels().dense_bytes(weights.format, weights.rows, weights.cols)), {}};
    packed.matrix = {.format = weights.format, .rows = weights.rows, .cols = weights.cols};
    packed.matrix.data = packed.bytes.data();
    packed.matrix.is_dense = true;
    kernels().pack_dense(exec_, weights.format, weights.rows, weights.cols, weights.bytes.data(), packed.bytes.data());
    return packed;
  }

  // The floats of x on the device in the form that matmul takes.
  DeviceArray<std::byte> rows_of(const std::vector<float>& x, int64_t cols) {
    const auto m = static_cast<int64_t>(x.size()) / cols;
    const DeviceArray<float> floats(x);
    DeviceArray<std::byte> rows(static_cast<size_t>(m) * kernels().packed_row_bytes(cols));
    kernels().pack_rows(exec_, {.x = floats.data(), .num_rows = m, .cols = cols}, rows.data());
    return rows;  // what frees the floats waits for the kernel
  }

  struct ProductOptions {
    int64_t gap = 0;  // of y
    bool bias = false;
    bool accumulate = false;
    DenseScratch scratch = DenseMatmul::kScratch;
  };
  void expect_products(const Weights& weights, int64_t m, ProductOptions options);

  ThreadPool pool_{2};
  const Kernels* kernels_ = nullptr;
  std::optional<MatmulLibrary> library_;
  std::optional<DeviceArray<std::byte>> scratch_;
  GpuStream stream_;
  Exec exec_{};
};

void CudaDense::expect_products(const Weights& weights, int64_t m, ProductOptions options) {
  SCOPED_TRACE(testing::Message() << weight_format(weights.format).name << " " << weights.rows << "x" << weights.cols
                                  << ", " << m << " rows, gap " << options.gap << ", bias " << options.bias
                                  << ", accumulate " << options.accumulate);
  const Matrix packed = pack(weights);
  const std::vector<float> x = random_floats(m * weights.cols, 7);
  const DeviceArray<std::byte> rows = rows_of(x, weights.cols);
  const std::vector<float> bias = random_floats(weights.rows, 8);
  const DeviceArray<float> device_bias(bias);
  const int64_t stride = weights.rows + options.gap;
  const std::vector<float> before = random_floats(m * stride, 9);
  DeviceArray<float> y(before);
  const MatmulInput input{.num_rows = m, .cols = weights.cols, .packed = rows.data()};
  const MatmulOutput output{.weights = packed.matrix,
                            .bias = options.bias ? device_bias.data() : nullptr,
                            .y = y.data(),
                            .y_stride = stride,
                            .accumulate = options.accumulate};
  DenseMatmul(exec_, options.scratch).multiply(input, output);
  const std::vector<float> got = y.download();
  for (size_t at = 0; at < got.size(); ++at) {
    const size_t t = at / static_cast<size_t>(stride);
    const size_t o = at % static_cast<size_t>(stride);
    if (o >= static_cast<size_t>(weights.rows)) {
      ASSERT_EQ(got[at], before[at]) << "behind row " << t;
      continue;
    }
    double terms = 0;
    double want = product_of(weights, x, t * static_cast<size_t>(weights.rows) + o, &terms);
    if (options.bias) want += bias[o];
    if (options.accumulate) want += before[at];
    ASSERT_NEAR(got[at], want, 1e-5 * (terms + 1)) << "row " << t << ", output " << o;
  }
}

TEST_F(CudaDense, BF16) {
  for (const int64_t cols : {1, 8, 17, 64, 300}) {
    for (const int64_t rows : {1, 7, 16, 33}) {
      for (const int64_t m : {1, 2, 5, 16, 21}) {
        expect_products(random_weights(Format::kBF16, rows, cols, 1), m, {});
      }
    }
  }
}

TEST_F(CudaDense, F8) {
  if (!takes(Format::kF8_G128)) GTEST_SKIP() << "the library has no such kernels for this device";
  const Weights weights = random_weights(Format::kF8_G128, 36, 384, 2);
  for (const int64_t m : {1, 2, 3, 4, 5, 8, 63, 64, 65, 66, 70, 131}) expect_products(weights, m, {});
}

TEST_F(CudaDense, BiasAccumulationAndStrides) {
  for (const Format format : {Format::kBF16, Format::kF8_G128}) {
    if (!takes(format)) continue;
    const Weights weights = random_weights(format, 20, 256, 3);
    for (const int64_t m : {4, 6, 66}) {
      for (const int64_t gap : {0, 3, 4}) {
        for (const bool bias : {false, true}) {
          for (const bool accumulate : {false, true})
            expect_products(weights, m, {.gap = gap, .bias = bias, .accumulate = accumulate});
        }
      }
    }
  }
}

// More rows than there is room for codes: 12 at a time.
TEST_F(CudaDense, ManyF8RowsInSeveralPieces) {
  if (!takes(Format::kF8_G128)) GTEST_SKIP() << "the library has no such kernels for this device";
  const Weights weights = random_weights(Format::kF8_G128, 24, 256, 4);
  const DenseScratch small = {.codes_bytes = 14 * (256 + 8), .results_bytes = size_t{1} << 20};
  for (const int64_t m : {11, 12, 13, 24, 67})
    expect_products(weights, m, {.bias = true, .accumulate = true, .scratch = small});
}

// Through the table: outputs that share rows, one with rows of its own, one in tiles.
TEST_F(CudaDense, DenseAndTiledOutputsInOneCall) {
  const Format format = takes(Format::kF8_G128) ? Format::kF8_G128 : Format::kBF16;
  const Weights weights[] = {random_weights(format, 16, 256, 11), random_weights(Format::kBF16, 12, 256, 12),
                             random_weights(format, 8, 256, 13), random_weights(format, 8, 256, 14)};
  const Matrix first = pack(weights[0]);
  const Matrix second = pack(weights[1]);
  const Matrix own = pack(weights[3]);
  DeviceArray<std::byte> tiles(kernels().packed_bytes(format, 8, 256));
  kernels().pack(exec_, format, 8, 256, weights[2].bytes.data(), tiles.data());
  const PackedMatrix in_tiles{.format = format, .rows = 8, .cols = 256, .data = tiles.data()};
  const std::vector<float> x[] = {random_floats(5 * 256, 15), random_floats(9 * 256, 16)};
  const DeviceArray<std::byte> rows[] = {rows_of(x[0], 256), rows_of(x[1], 256)};
  const MatmulInput input{.num_rows = 5, .cols = 256, .packed = rows[0].data()};
  const MatmulInput other{.num_rows = 9, .cols = 256, .packed = rows[1].data()};
  DeviceArray<float> y[] = {DeviceArray<float>(5 * 16), DeviceArray<float>(5 * 12), DeviceArray<float>(5 * 8),
                            DeviceArray<float>(9 * 8)};
  const MatmulOutput outputs[] = {{.weights = first.matrix, .y = y[0].data(), .y_stride = 16},
                                  {.weights = second.matrix, .y = y[1].data(), .y_stride = 12},
                                  {.weights = in_tiles, .y = y[2].data(), .y_stride = 8},
                                  {.weights = own.matrix, .y = y[3].data(), .y_stride = 8, .input = &other}};
  kernels().matmul(exec_, input, outputs, 4);
  for (size_t i = 0; i < 4; ++i) {
    const std::vector<float> got = y[i].download();
    const std::vector<float>& from = x[i == 3 ? 1 : 0];
    Weights as_multiplied = weights[i];
    if (i == 2) as_multiplied.format = Format::kBF16;
    for (size_t at = 0; at < got.size(); ++at) {
      ASSERT_NEAR(got[at], product_of(as_multiplied, from, at), 1e-3) << "output " << i << ", element " << at;
    }
  }
}

TEST_F(CudaDense, NanAffectsOnlyItsOwnRow) {
  for (const Format format : {Format::kBF16, Format::kF8_G128}) {
    if (!takes(format)) continue;
    const Matrix packed = pack(random_weights(format, 16, 256, 21));
    std::vector<float> x = random_floats(3 * 256, 22);
    x[256 + 200] = kNan;
    const DeviceArray<std::byte> rows = rows_of(x, 256);
    DeviceArray<float> y(3 * 16);
    const MatmulInput input{.num_rows = 3, .cols = 256, .packed = rows.data()};
    const MatmulOutput output{.weights = packed.matrix, .y = y.data(), .y_stride = 16};
    kernels().matmul(exec_, input, &output, 1);
    const std::vector<float> got = y.download();
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(std::isnan(got[i]), i / 16 == 1) << i;
  }
}

TEST_F(CudaDense, RowsOfZerosAndTinyOnes) {
  if (!takes(Format::kF8_G128)) GTEST_SKIP() << "the library has no such kernels for this device";
  const Matrix packed = pack(random_weights(Format::kF8_G128, 16, 256, 23));
  std::vector<float> x(4 * 256, 0.0f);
  for (size_t k = 0; k < 256; ++k) x[256 + k] = 1e-38f;
  const DeviceArray<std::byte> rows = rows_of(x, 256);
  DeviceArray<float> y(4 * 16);
  const MatmulInput input{.num_rows = 4, .cols = 256, .packed = rows.data()};
  const MatmulOutput output{.weights = packed.matrix, .y = y.data(), .y_stride = 16};
  kernels().matmul(exec_, input, &output, 1);
  for (const float value : y.download()) ASSERT_EQ(value, 0.0f);
}

TEST_F(CudaDense, Embeddings) {
  const std::vector<int32_t> ids = {0, 35, -2, 7, -1};
  const std::vector<int32_t> chosen = {-1, 20};
  const DeviceArray<int32_t> device_ids(ids);
  const DeviceArray<int32_t> device_chosen(chosen);
  for (const Format format : {Format::kBF16, Format::kF8_G128}) {
    if (!takes(format)) continue;
    for (const int64_t cols : format == Format::kBF16 ? std::vector<int64_t>{1, 100, 515} : std::vector<int64_t>{384}) {
      const Weights weights = random_weights(format, 36, cols, 31);
      const Matrix packed = pack(weights);
      DeviceArray<float> out(ids.size() * static_cast<size_t>(cols));
      kernels().embed_rows(exec_, packed.matrix, {.ids = device_ids.data(), .chosen = device_chosen.data()}, 5, 3.5f,
                           out.data());
      const std::vector<float> got = out.download();
      const int64_t tokens[] = {0, 35, 20, 7, 0};
      for (size_t i = 0; i < got.size(); ++i) {
        const auto at = tokens[i / static_cast<size_t>(cols)] * cols + static_cast<int64_t>(i) % cols;
        ASSERT_EQ(got[i], 3.5f * weights.values[static_cast<size_t>(at)]) << weight_format(format).name << " " << i;
      }
    }
  }
}

TEST_F(CudaDense, OtherFormatsKeepTheirTiles) {
  EXPECT_EQ(kernels().dense_bytes(Format::kF16, 16, 256), 0u);
  EXPECT_EQ(kernels().dense_bytes(Format::kQ4_0, 16, 256), 0u);
  EXPECT_EQ(kernels().dense_bytes(Format::kF8_G128, 18, 256), 0u);  // rows go by the four
  EXPECT_EQ(make_cuda(/*one_answer=*/true).kernels->dense_bytes(Format::kBF16, 16, 256), 0u);
  EXPECT_EQ(make_cuda(/*one_answer=*/true).kernels->scratch_bytes, 0u);
}

// Steps are recorded: the same calls again, over other contents.
TEST_F(CudaDense, CanBeRecorded) {
  const Backend backend = make_cuda(/*one_answer=*/false);
  Device& device = *backend.device;
  const Format format = takes(Format::kF8_G128) ? Format::kF8_G128 : Format::kBF16;
  const Weights weights = random_weights(format, 16, 256, 51);
  DeviceBuffer packed(device, kernels().dense_bytes(format, 16, 256));
  DeviceBuffer rows(device, 2 * kernels().packed_row_bytes(256));
  DeviceBuffer y(device, 2 * 16 * sizeof(float));
  DeviceBuffer room(device, kernels().scratch_bytes);
  Exec exec = make_exec(pool_, device.stream());
  exec.scratch = room.data();
  kernels().pack_dense(exec, format, 16, 256, weights.bytes.data(), packed.data());
  const MatmulInput input{.num_rows = 2, .cols = 256, .packed = rows.data()};
  const PackedMatrix matrix{
      .format = format, .rows = 16, .cols = 256, .data = packed.data(), .tuning = {}, .is_dense = true};
  const MatmulOutput output{.weights = matrix, .y = reinterpret_cast<float*>(y.data()), .y_stride = 16};
  for (uint32_t run = 0; run < 4; ++run) {
    const std::vector<float> x = random_floats(2 * 256, 60 + run);
    const std::vector<std::byte> compact = rows_of(x, 256).download();
    device.upload(rows.data(), compact.data(), compact.size());
    device.run(9, [&] { kernels().matmul(exec, input, &output, 1); });
    std::vector<float> got(2 * 16);
    device.download(reinterpret_cast<std::byte*>(got.data()), y.data(), got.size() * sizeof(float));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], product_of(weights, x, i), 1e-3) << "run " << run;
  }
}

#ifdef QUIRE_GPU_EMULATED
TEST_F(CudaDense, AlgorithmsAreAskedForWhenWeightsAreLoaded) {
  const Matrix packed = pack(random_weights(Format::kBF16, 24, 64, 41));
  const DeviceArray<std::byte> rows = rows_of(random_floats(40 * 64, 42), 64);
  DeviceArray<float> y(40 * 24);
  const int asked = emulated::num_algorithms_asked();
  for (int64_t m = 1; m <= 40; ++m) {
    const MatmulInput input{.num_rows = m, .cols = 64, .packed = rows.data()};
    const MatmulOutput output{.weights = packed.matrix, .y = y.data(), .y_stride = 24};
    kernels().matmul(exec_, input, &output, 1);
  }
  y.download();
  EXPECT_EQ(emulated::num_algorithms_asked(), asked);
}
#endif

}  // namespace
}  // namespace quire
