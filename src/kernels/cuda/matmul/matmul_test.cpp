// Matmul of CUDA: every format and every shape of blocks against float64 of the plain weights, and bit against bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/matmul/matmul_launch.h"
#include "kernels/cuda/matmul/pack.h"
#include "kernels/select.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Rows of weights as files hold them.
struct Weights {
  Format format;
  int64_t rows;
  int64_t cols;
  std::vector<std::byte> bytes;

  size_t row_bytes() const { return weight_format(format).bytes_of(cols); }
  std::vector<float> row(int64_t index) const {
    std::vector<float> out(static_cast<size_t>(cols));
    weight_format(format).dequantize(bytes.data() + static_cast<size_t>(index) * row_bytes(), out.data(), cols);
    return out;
  }
};

std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<int> f16_fields(Format format) {
  switch (format) {
    case Format::kMXFP4:
    case Format::kF8_G128: return {};
    case Format::kQ4_1:
    case Format::kQ5_1:
    case Format::kQ4_K:
    case Format::kQ5_K: return {0, 2};
    case Format::kQ2_K: return {80, 82};
    case Format::kQ3_K: return {108};
    case Format::kQ6_K: return {208};
    default: return {0};
  }
}

// Floats at random; blocks of random bits, which hold every code there is, with scales up to 0.01.
Weights random_weights(Format format, int64_t rows, int64_t cols, uint32_t seed) {
  const WeightFormat& info = weight_format(format);
  Weights weights{format, rows, cols, std::vector<std::byte>(info.bytes_of(rows * cols))};
  if (info.block_elements == 1) {
    info.quantize(random_floats(rows * cols, seed).data(), weights.bytes.data(), rows * cols);
    return weights;
  }
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> factor(-0.01f, 0.01f);
  for (std::byte& byte : weights.bytes) byte = static_cast<std::byte>(random());
  for (size_t at = 0; at < weights.bytes.size(); at += static_cast<size_t>(info.block_bytes)) {
    std::byte* block = weights.bytes.data() + at;
    for (const int field : f16_fields(format)) {
      const uint16_t half = f32_to_f16(factor(random));
      std::memcpy(block + field, &half, sizeof half);
    }
    if (format == Format::kMXFP4) block[0] = static_cast<std::byte>(118 + random() % 4);
    if (format == Format::kI4_G32 || format == Format::kI4_G128) block[2] = static_cast<std::byte>(random() % 17);
    if (format != Format::kF8_G128) continue;
    const float d = factor(random);
    std::memcpy(block, &d, sizeof d);
    for (int i = 4; i < 132; ++i) {
      if ((block[i] & std::byte{0x7f}) == std::byte{0x7f}) block[i] = std::byte{0x7e};
    }
  }
  return weights;
}

bool in_integers(Format format) { return tile_format(format).has_value() && reads_int8_rows(*tile_format(format)); }

// Codes of kInt8Group floats, and their scale.
struct Int8Group {
  int8_t codes[kInt8Group] = {};
  float scale = 0.0f;
};
Int8Group int8_group(const float* x, int64_t count) {
  Int8Group group;
  float most = 0;
  for (int64_t i = 0; i < count; ++i) {
    most = std::max(most, std::abs(x[i]));
    if (!std::isfinite(x[i])) group.scale = kNan;
  }
  if (most == 0 || std::isnan(group.scale)) return group;
  for (int64_t i = 0; i < count; ++i) group.codes[i] = static_cast<int8_t>(std::nearbyint(x[i] * (127.0f / most)));
  group.scale = most / 127.0f;
  return group;
}

// The compact form of rows; paddings stay as they were.
std::vector<std::byte> compact_rows(const std::vector<float>& x, int64_t cols) {
  const auto m = static_cast<int64_t>(x.size()) / cols;
  std::vector<std::byte> rows(static_cast<size_t>(m * compact_row_bytes(cols)), std::byte{0xff});
  for (int64_t t = 0; t < m; ++t) {
    std::byte* row = rows.data() + t * compact_row_bytes(cols);
    for (int64_t first = 0; first < compact_columns(cols); first += kCompactGroup) {
      float rounded[kCompactGroup];
      for (int64_t k = first; k < first + kCompactGroup; ++k) {
        const uint16_t bits = k < cols ? f32_to_bf16(x[static_cast<size_t>(t * cols + k)]) : uint16_t{0};
        rounded[k - first] = bf16_to_f32(bits);
        std::memcpy(row + 2 * k, &bits, sizeof bits);
      }
      const float sum = compact_sum<kCompactGroup>(rounded);
      std::memcpy(row + compact_sums_offset(cols) + first / kCompactGroup * 4, &sum, sizeof sum);
    }
    for (int64_t first = 0; first < compact_columns(cols); first += kInt8Group) {
      const Int8Group group = int8_group(x.data() + t * cols + first, std::min<int64_t>(kInt8Group, cols - first));
      std::byte* to = row + compact_int8_offset(cols) + first / kInt8Group * kInt8GroupBytes;
      std::memcpy(to, group.codes, sizeof group.codes);
      std::memcpy(to + kInt8Group, &group.scale, sizeof group.scale);
    }
  }
  return rows;
}

const Kernels& table() {
  static const Kernels kernels = [] {
    Kernels filled = {};
    fill_matmul_cuda(filled);
    return filled;
  }();
  return kernels;
}

// gpu_exec() with threads.
Exec threads_exec() {
  static ThreadPool pool(2);
  return make_exec(pool, gpu_exec().stream);
}

class DeviceMatrix {
 public:
  explicit DeviceMatrix(const Weights& weights)
      : bytes_(table().packed_bytes(weights.format, weights.rows, weights.cols)),
        matrix_{.format = weights.format, .rows = weights.rows, .cols = weights.cols, .data = bytes_.data()} {
    table().pack(threads_exec(), weights.format, weights.rows, weights.cols, weights.bytes.data(), bytes_.data());
  }
  const PackedMatrix& matrix() const { return matrix_; }

 private:
  DeviceArray<std::byte> bytes_;
  PackedMatrix matrix_;
};

// Rows in the form that a format takes.
class DeviceRows {
 public:
  DeviceRows(Format format, const std::vector<float>& x, int64_t cols)
      : floats_(x), compact_(table().takes_packed(format) ? compact_rows(x, cols) : std::vector<std::byte>(1)) {
    input_ = {.num_rows = static_cast<int64_t>(x.size()) / cols, .cols = cols};
    if (table().takes_packed(format)) {
      input_.packed = compact_.data();
    } else {
      input_.f32 = floats_.data();
    }
  }
  const MatmulInput& input() const { return input_; }

 private:
  DeviceArray<float> floats_;
  DeviceArray<std::byte> compact_;
  MatmulInput input_;
};

std::vector<float> part_of(const std::vector<float>& x, int64_t cols, int64_t first, int64_t count) {
  return {x.begin() + first * cols, x.begin() + (first + count) * cols};
}

std::vector<float> product(const DeviceMatrix& weights, const std::vector<float>& x) {
  const PackedMatrix& matrix = weights.matrix();
  const DeviceRows rows(matrix.format, x, matrix.cols);
  DeviceArray<float> y(static_cast<size_t>(rows.input().num_rows * matrix.rows));
  const MatmulOutput output{.weights = matrix, .y = y.data(), .y_stride = matrix.rows};
  table().matmul(gpu_exec(), rows.input(), &output, 1);
  return y.download();
}

bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

// The largest magnitudes that a sum of this output passes through: with minimums and zero points, terms cancel.
double magnitude(Format format, const std::vector<float>& weights, const float* x) {
  double sum = 1e-30;
  for (size_t k = 0; k < weights.size(); ++k) {
    const bool has_min = tile_format(format).has_value() && tile_format(format)->has_min;
    sum += (std::abs(double{weights[k]}) + (has_min ? 0.7 : 0.0)) * std::abs(double{x[k]});
  }
  return sum;
}

// What the format's products see of a number, and how far from it that may be.
struct Seen {
  double value = 0;
  double step = 0;
};
std::vector<Seen> as_multiplied(Format format, const float* x, int64_t cols) {
  std::vector<Seen> seen;
  for (int64_t k = 0; k < cols; ++k) {
    const double value = x[k];
    if (in_integers(format)) {
      const int64_t first = k / kInt8Group * kInt8Group;
      const Int8Group group = int8_group(x + first, std::min<int64_t>(kInt8Group, cols - first));
      seen.push_back({double{group.scale} * group.codes[k - first], 0.5001 * double{group.scale}});
    } else if (table().takes_packed(format)) {
      seen.push_back({bf16_to_f32(f32_to_bf16(x[k])), 0x1p-8 * std::abs(value)});  // half a step of bf16
    } else {
      seen.push_back({value, 0});
    }
  }
  return seen;
}

void expect_near_float64(const Weights& weights, const std::vector<float>& x) {
  const DeviceMatrix matrix(weights);
  const std::vector<float> y = product(matrix, x);
  const int64_t m = static_cast<int64_t>(x.size()) / weights.cols;
  std::vector<std::vector<Seen>> seen;
  for (int64_t t = 0; t < m; ++t)
    seen.push_back(as_multiplied(weights.format, x.data() + t * weights.cols, weights.cols));
  for (int64_t o = 0; o < weights.rows; ++o) {
    const std::vector<float> row = weights.row(o);
    for (int64_t t = 0; t < m; ++t) {
      const float* of_token = x.data() + t * weights.cols;
      double rounded = 0;
      double exact = 0;
      double lost = 0;  // at most, by what the products see
      for (size_t k = 0; k < row.size(); ++k) {
        const auto& [value, step] = seen[static_cast<size_t>(t)][k];
        ASSERT_LE(std::abs(value - double{of_token[k]}), step);
        rounded += double{row[k]} * value;
        exact += double{row[k]} * double{of_token[k]};
        lost += std::abs(double{row[k]}) * step;
      }
      const double terms = magnitude(weights.format, row, of_token);
      const float got = y[static_cast<size_t>(t * weights.rows + o)];
      ASSERT_NEAR(got, rounded, 1e-6 * terms)
          << weights.rows << " x " << weights.cols << ", token " << t << " of " << m << ", output " << o;
      ASSERT_NEAR(got, exact, lost + 1e-6 * terms) << "token " << t << ", output " << o;
    }
  }
}

class CudaMatmul : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    if (!gpu_present()) GTEST_SKIP() << "no CUDA device on this machine";
  }
  static Format format() { return GetParam(); }
  // With and without whole tiles and whole spans.
  static std::vector<int64_t> widths() {
    switch (weight_format(format()).block_elements) {
      case 256: return {256, 768};
      case 128: return {128, 640};
      case 32: return {32, 96, 544};
      default: return {1, 17, 96, 300};
    }
  }
};

TEST_P(CudaMatmul, AgreesWithFloat64) {
  uint32_t seed = 1;
  for (const int64_t cols : widths()) {
    for (const int64_t rows : {1, 7, 16, 17, 100}) {
      expect_near_float64(random_weights(format(), rows, cols, seed), random_floats(3 * cols, seed + 1));
      seed += 2;
    }
    for (const int64_t m : {1, 8, 9, 16, 20}) {
      expect_near_float64(random_weights(format(), 33, cols, seed), random_floats(m * cols, seed + 1));
      seed += 2;
    }
  }
}

TEST_P(CudaMatmul, OneAnswerInAnyBatch) {
  const int64_t cols = weight_format(format()).block_elements == 1 ? 301 : 768;
  const int64_t rows = 37;
  const DeviceMatrix matrix(random_weights(format(), rows, cols, 21));
  const std::vector<float> x = random_floats(70 * cols, 22);
  const std::vector<float> together = product(matrix, x);
  for (const int64_t count : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33}) {
    for (const int64_t first : {int64_t{0}, int64_t{5}, 70 - count}) {
      const std::vector<float> some = product(matrix, part_of(x, cols, first, count));
      ASSERT_TRUE(same_bits(some.data(), together.data() + first * rows, count * rows)) << count << " from " << first;
    }
  }
}

TEST_P(CudaMatmul, SeveralOutputsBiasAndAccumulation) {
  const int64_t cols = 256;
  const int64_t m = 5;
  const int64_t gap = 3;
  const std::vector<float> x = random_floats(m * cols, 41);
  const DeviceRows rows(format(), x, cols);
  const std::vector<float> bias = random_floats(100, 45);
  const DeviceArray<float> device_bias(bias);
  std::vector<std::unique_ptr<DeviceMatrix>> matrices;
  std::vector<std::unique_ptr<DeviceArray<float>>> y;
  std::vector<std::vector<float>> plain, before;
  std::vector<MatmulOutput> outputs;
  for (const int64_t num_rows : {70, 9, 100}) {
    const size_t i = matrices.size();
    matrices.push_back(
        std::make_unique<DeviceMatrix>(random_weights(format(), num_rows, cols, 42 + static_cast<uint32_t>(i))));
    plain.push_back(product(*matrices[i], x));
    before.push_back(random_floats(m * (num_rows + gap), 46));
    y.push_back(std::make_unique<DeviceArray<float>>(before[i]));
    outputs.push_back({.weights = matrices[i]->matrix(),
                       .bias = i == 1 ? nullptr : device_bias.data(),
                       .y = y[i]->data(),
                       .y_stride = num_rows + gap,
                       .accumulate = i > 0});
  }
  table().matmul(gpu_exec(), rows.input(), outputs.data(), 3);
  for (size_t i = 0; i < 3; ++i) {
    const std::vector<float> got = y[i]->download();
    for (size_t at = 0; at < got.size(); ++at) {
      const auto stride = static_cast<size_t>(outputs[i].y_stride);
      const size_t column = at % stride;
      float want = before[i][at];
      if (column < stride - gap) {
        want = plain[i][at / stride * (stride - gap) + column];
        if (i != 1) want += bias[column];
        if (i > 0) want += before[i][at];
      }
      ASSERT_EQ(got[at], want) << "output " << i << " element " << at;
    }
  }
}

TEST_P(CudaMatmul, OutputsWithSeparateInputRows) {
  const int64_t cols = 256;
  const int64_t rows = 18;
  const DeviceMatrix matrix(random_weights(format(), rows, cols, 51));
  const std::vector<float> x[] = {random_floats(4 * cols, 52), random_floats(11 * cols, 53)};
  const DeviceRows inputs[] = {{format(), x[0], cols}, {format(), x[1], cols}};
  DeviceArray<float> first(4 * rows);
  DeviceArray<float> second(11 * rows);
  const MatmulInput own = inputs[1].input();
  const MatmulOutput outputs[] = {
      {.weights = matrix.matrix(), .y = first.data(), .y_stride = rows},
      {.weights = matrix.matrix(), .y = second.data(), .y_stride = rows, .input = &own},
  };
  table().matmul(gpu_exec(), inputs[0].input(), outputs, 2);
  EXPECT_EQ(first.download(), product(matrix, x[0]));
  EXPECT_EQ(second.download(), product(matrix, x[1]));
}

TEST_P(CudaMatmul, ExpertsGiveTheBitsOfTheirOwnProducts) {
  const int64_t cols = weight_format(format()).block_elements == 1 ? 61 : 256;
  const int64_t rows = 40;
  const std::vector<int32_t> counts = {3, 0, 17, 1, 0, 20, 0};  // and none of the 33 others
  const int num_experts = 40;
  std::vector<int32_t> first(num_experts + 1, 0);
  for (int e = 0; e < num_experts; ++e) {
    const auto index = static_cast<size_t>(e);
    first[index + 1] = first[index] + (e < 6 ? counts[index] : e == 38 ? 9 : 0);
  }
  const int64_t m = first.back();
  const std::vector<float> x = random_floats(m * cols, 71);
  const DeviceRows input(format(), x, cols);
  std::vector<std::unique_ptr<DeviceMatrix>> matrices;
  std::vector<PackedMatrix> packed;
  for (uint32_t e = 0; e < num_experts; ++e) {
    matrices.push_back(std::make_unique<DeviceMatrix>(random_weights(format(), rows, cols, 72 + e)));
    packed.push_back(matrices.back()->matrix());
  }
  const DeviceArray<PackedMatrix> device_packed(packed);
  const DeviceArray<int32_t> device_first(first);
  DeviceArray<float> y(static_cast<size_t>(m * rows));
  DeviceArray<float> again(static_cast<size_t>(m * rows));
  const ExpertMatrices experts[] = {{.like = packed[0], .experts = device_packed.data(), .y = y.data()},
                                    {.like = packed[0], .experts = device_packed.data(), .y = again.data()}};
  table().matmul_experts(gpu_exec(), input.input(), device_first.data(), num_experts, experts, 2);
  const std::vector<float> got = y.download();
  ASSERT_TRUE(same_bits(got.data(), again.download().data(), m * rows));
  for (size_t e = 0; e < num_experts; ++e) {
    const int64_t count = first[e + 1] - first[e];
    if (count == 0) continue;
    const std::vector<float> want = product(*matrices[e], part_of(x, cols, first[e], count));
    ASSERT_TRUE(same_bits(got.data() + first[e] * rows, want.data(), count * rows)) << "expert " << e;
  }
}

TEST_P(CudaMatmul, NanAffectsOnlyItsOwnToken) {
  const int64_t cols = 256;
  const int64_t rows = 20;
  const int64_t m = 9;
  const DeviceMatrix matrix(random_weights(format(), rows, cols, 61));
  const std::vector<float> x = random_floats(m * cols, 62);
  const std::vector<float> clean = product(matrix, x);
  for (const float bad : {kNan, std::numeric_limits<float>::infinity()}) {
    std::vector<float> broken = x;
    broken[4 * cols + 77] = bad;
    const std::vector<float> y = product(matrix, broken);
    ASSERT_TRUE(same_bits(y.data(), clean.data(), 4 * rows));
    ASSERT_TRUE(same_bits(y.data() + 5 * rows, clean.data() + 5 * rows, 4 * rows));
    for (int64_t o = 0; o < rows; ++o) ASSERT_FALSE(std::isfinite(y[static_cast<size_t>(4 * rows + o)])) << bad;
  }
}

TEST_P(CudaMatmul, PackingDeterminesEveryByte) {
  if (format() == Format::kF32) return;
  const Weights weights = random_weights(format(), 5, 256, 31);
  const size_t size = packed_tile_row_bytes(format(), 256);
  std::vector<std::byte> a(size, std::byte{0});
  std::vector<std::byte> b(size, std::byte{0xff});
  pack_tile_row(format(), 5, 256, weights.bytes.data(), a.data());
  pack_tile_row(format(), 5, 256, weights.bytes.data(), b.data());
  EXPECT_EQ(a, b);
}

// What the table multiplies.
std::vector<Format> weight_formats() {
  std::vector<Format> found;
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    if (table().packed_bytes(format, 1, weight_format(format).block_elements) > 0) found.push_back(format);
  }
  return found;
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaMatmul, testing::ValuesIn(weight_formats()),
                         [](const testing::TestParamInfo<Format>& test) { return weight_format(test.param).name; });

// All shapes of blocks, whatever the sizes would choose, give the same bits.
template <Format kFormat>
void expect_shapes_agree() {
  const int64_t cols = 1280;
  const int64_t rows = 140;
  const int64_t m = 70;
  const DeviceMatrix matrix(random_weights(kFormat, rows, cols, 81));
  const DeviceRows input(kFormat, random_floats(m * cols, 82), cols);
  std::vector<float> first;
  for (const BlockChoice shape : {BlockChoice::kEightTokens, BlockChoice::kSixteenTokens, BlockChoice::kThirtyTwoTokens,
                                  BlockChoice::kSmallSquare, BlockChoice::kLargeSquare}) {
    DeviceArray<float> y(static_cast<size_t>(m * rows));
    TilesLaunch tiles;
    tiles.job.x = input.input().packed;
    tiles.job.num_rows = m;
    tiles.job.cols = cols;
    tiles.job.num_parts = 1;
    tiles.shape = shape;
    tiles.stream = gpu_stream(gpu_exec());
    tiles.job.parts[0] = {.weights = matrix.matrix().data, .y = y.data(), .y_stride = rows, .rows = rows};
    launch_tiles<kFormat>(tiles);
    const std::vector<float> got = y.download();
    if (first.empty()) first = got;
    ASSERT_TRUE(same_bits(got.data(), first.data(), m * rows)) << "shape " << static_cast<int>(shape);
  }
  for (const float value : first) ASSERT_TRUE(std::isfinite(value));
}

class CudaMatmulShapes : public GpuTest {};

TEST_F(CudaMatmulShapes, SameBitsQ4_0) { expect_shapes_agree<Format::kQ4_0>(); }
TEST_F(CudaMatmulShapes, SameBitsQ4_K) { expect_shapes_agree<Format::kQ4_K>(); }
TEST_F(CudaMatmulShapes, SameBitsQ6_K) { expect_shapes_agree<Format::kQ6_K>(); }
TEST_F(CudaMatmulShapes, SameBitsQ8_0) { expect_shapes_agree<Format::kQ8_0>(); }
TEST_F(CudaMatmulShapes, SameBitsI8_G128) { expect_shapes_agree<Format::kI8_G128>(); }
TEST_F(CudaMatmulShapes, SameBitsBF16) { expect_shapes_agree<Format::kBF16>(); }
TEST_F(CudaMatmulShapes, SameBitsF16) { expect_shapes_agree<Format::kF16>(); }

class CudaMatmulFormats : public GpuTest {};

// One input at a time is 1: what is multiplied are the weights themselves.
TEST_F(CudaMatmulFormats, WeightsAreExact) {
  for (const Format format : weight_formats()) {
    const Weights weights = random_weights(format, 16, 256, 91);
    std::vector<float> x(256 * 256, 0.0f);
    const float one = in_integers(format) ? 127.0f : 1.0f;  // what int8 rows hold exactly
    for (size_t k = 0; k < 256; ++k) x[k * 256 + k] = one;
    const std::vector<float> y = product(DeviceMatrix(weights), x);
    const bool has_min = tile_format(format).has_value() && tile_format(format)->has_min;
    for (int64_t o = 0; o < 16; ++o) {
      const std::vector<float> row = weights.row(o);
      for (size_t k = 0; k < 256; ++k) {
        const float got = y[k * 16 + static_cast<size_t>(o)];
        if (has_min) {
          // Two roundings in another order.
          ASSERT_NEAR(got, row[k], 1e-6) << weight_format(format).name << " row " << o << " column " << k;
        } else {
          ASSERT_EQ(got, one * row[k]) << weight_format(format).name << " row " << o << " column " << k;
        }
      }
    }
  }
}

// Rows that groups of 32 and of 64 hold exactly: then the two tables multiply the same integers.
TEST_F(CudaMatmulFormats, W8A8LikeTheReference) {
  const int64_t cols = 640;
  const int64_t rows = 50;
  const int64_t m = 19;
  std::mt19937 random(95);
  std::vector<float> x(static_cast<size_t>(m * cols));
  for (size_t i = 0; i < x.size(); ++i) {
    const int code = i % 32 == 0 ? 127 : static_cast<int>(random() % 255) - 127;
    x[i] = static_cast<float>(code) * (i / 64 % 2 == 0 ? 0.25f : 0.03125f);
  }
  const Weights weights = random_weights(Format::kI8_G128, rows, cols, 96);
  const std::vector<float> got = product(DeviceMatrix(weights), x);

  const Kernels& reference = reference_kernels();
  const Exec exec = threads_exec();
  std::vector<std::byte> packed(static_cast<size_t>(m) * reference.packed_row_bytes(cols));
  reference.pack_rows(exec, {.x = x.data(), .num_rows = m, .cols = cols}, packed.data());
  std::vector<float> want(static_cast<size_t>(m * rows));
  const MatmulInput input{.num_rows = m, .cols = cols, .packed = packed.data()};
  const PackedMatrix plain{.format = Format::kI8_G128, .rows = rows, .cols = cols, .data = weights.bytes.data()};
  const MatmulOutput output{.weights = plain, .y = want.data(), .y_stride = rows};
  reference.matmul(exec, input, &output, 1);
  for (int64_t o = 0; o < rows; ++o) {
    const std::vector<float> row = weights.row(o);
    for (int64_t t = 0; t < m; ++t) {
      const auto i = static_cast<size_t>(t * rows + o);
      ASSERT_NEAR(got[i], want[i], 1e-6 * magnitude(Format::kI8_G128, row, x.data() + t * cols)) << o << " of " << t;
    }
  }
}

TEST_F(CudaMatmulFormats, NanAmongF8CodesAffectsOnlyItsOwnOutput) {
  Weights weights = random_weights(Format::kF8_G128, 40, 256, 71);
  const std::vector<float> x = random_floats(256, 72);
  const std::vector<float> clean = product(DeviceMatrix(weights), x);
  weights.bytes[7 * weights.row_bytes() + 200] = std::byte{0xff};
  const std::vector<float> y = product(DeviceMatrix(weights), x);
  for (size_t o = 0; o < y.size(); ++o) {
    ASSERT_EQ(std::isnan(y[o]), o == 7) << "output " << o;
    ASSERT_TRUE(o == 7 || y[o] == clean[o]) << "output " << o;
  }
}

TEST_F(CudaMatmulFormats, ManyTokensOfALargeMatrix) {
  expect_near_float64(random_weights(Format::kQ4_0, 300, 288, 95), random_floats(150 * 288, 96));
  expect_near_float64(random_weights(Format::kBF16, 300, 288, 97), random_floats(150 * 288, 98));
  expect_near_float64(random_weights(Format::kI8_G128, 300, 384, 97), random_floats(150 * 384, 98));
}

TEST(CudaMatmulLayout, EveryCodeHasItsOwnPlace) {
  for (const CodeKind codes : {CodeKind::kInt4, CodeKind::kInt8, CodeKind::kDotInt8, CodeKind::kBF16}) {
    const int bits = code_bits({.codes = codes});
    std::set<int> places;
    for (int row = 0; row < kTileRows; ++row) {
      for (int column = 0; column < kMmaColumns; ++column) {
        const CodePosition position = code_position(codes, row, column);
        const int bit = position.byte * 8 + position.shift;
        ASSERT_TRUE(places.insert(bit).second);
        ASSERT_TRUE(bit % bits == 0 && bit >= 0 && bit < kTileRows * kMmaColumns * bits);
      }
    }
  }
  for (const MatrixTile& entry : kMatrixTiles) ASSERT_EQ(tile_layout(entry.tile).bytes % 16, 0);
}

TEST(CudaMatmulLayout, RefusesUnsupportedFormatsAndWidths) {
  EXPECT_EQ(table().packed_bytes(Format::kI32, 16, 32), 0u);
  EXPECT_EQ(table().packed_bytes(Format::kQ4_K, 16, 128), 0u);
  EXPECT_EQ(table().packed_bytes(Format::kF32, 3, 5), 60u);
}

TEST_F(CudaMatmulFormats, NoTokensAndNoRowsAreFine) {
  const MatmulOutput output{.weights = {Format::kQ8_0, 0, 32, nullptr}};
  table().matmul(gpu_exec(), {.num_rows = 0, .cols = 32}, &output, 1);
  table().matmul(gpu_exec(), {.num_rows = 3, .cols = 32}, &output, 1);
}

}  // namespace
}  // namespace quire
