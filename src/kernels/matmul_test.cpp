// Tests every runnable table and every weight format: compares results with the reference and with float64 of the plain
// weights, and bits between batches and thread counts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/block_codes.h"
#include "kernels/select.h"

#ifdef QUIRE_EMULATED_AMX
#include "kernels/emulated_amx/emulated_amx.h"
#endif
#include "tensor/float8.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kCanary = 12345.5f;

// Exactly the requested number of bytes, 64-byte aligned, so that AddressSanitizer finds accesses outside.
struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Bytes = std::unique_ptr<std::byte[], AlignedDelete>;
Bytes aligned_bytes(size_t size, int fill) {
  Bytes bytes(new (std::align_val_t{64}) std::byte[size]);
  std::memset(bytes.get(), fill, size);
  return bytes;
}

const std::vector<Format>& weight_formats() {
  static const std::vector<Format> formats = [] {
    std::vector<Format> found;
    for (int i = 0; i < kNumFormats; ++i) {
      if (weight_format(static_cast<Format>(i)).is_weight()) found.push_back(static_cast<Format>(i));
    }
    return found;
  }();
  return formats;
}

// The offsets of the f16 fields of a block.
std::vector<size_t> f16_fields(Format format) {
  switch (format) {
    case Format::kMXFP4:
    case Format::kNVFP4:
    case Format::kF4_G16:
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

// Rows of weights as they are in files.
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

// Replaces those bytes of a block that may not have arbitrary values.
void tame_block(Format format, float scale, uint32_t random, std::byte* block) {
  if (format == Format::kMXFP4) {
    const int exponent = scale == 0 ? -128 : std::ilogb(scale) - static_cast<int>(random % 4);
    block[0] = static_cast<std::byte>(exponent + 128);
  } else if (format == Format::kI4_G32 || format == Format::kI4_G128) {
    block[2] = static_cast<std::byte>(random % 17);
  } else if (format == Format::kNVFP4) {
    for (int i = 0; i < 4; ++i) block[i] = static_cast<std::byte>(f32_to_e4m3(scale / static_cast<float>(1 + i)));
  } else if (format == Format::kF8_G128 || format == Format::kF4_G16) {
    const float d = scale * static_cast<float>(random % 2001 - 1000.0) * 1e-3f;
    std::memcpy(block, &d, sizeof d);
    for (int i = 4; i < (format == Format::kF8_G128 ? 132 : 8); ++i) {  // E4M3
      if ((block[i] & std::byte{0x7f}) == std::byte{0x7f}) block[i] = std::byte{0x7e};
    }
  }
}

// Random floats; or blocks of random bits, which have all codes, with scales of the given size.
Weights random_weights(Format format, int64_t rows, int64_t cols, uint32_t seed, float scale = 0.01f) {
  const WeightFormat& info = weight_format(format);
  Weights weights{format, rows, cols, std::vector<std::byte>(info.bytes_of(rows * cols))};
  std::mt19937 random(seed);
  if (info.block_elements == 1) {
    info.quantize(random_floats(rows * cols, seed).data(), weights.bytes.data(), rows * cols);
    return weights;
  }
  for (std::byte& byte : weights.bytes) byte = static_cast<std::byte>(random());
  std::uniform_real_distribution<float> factor(-1, 1);
  for (size_t block = 0; block < weights.bytes.size(); block += static_cast<size_t>(info.block_bytes)) {
    for (const size_t field : f16_fields(format)) {
      const uint16_t half = f32_to_f16(scale * factor(random));
      std::memcpy(weights.bytes.data() + block + field, &half, sizeof half);
    }
    tame_block(format, scale, random(), weights.bytes.data() + block);
  }
  return weights;
}

// A table with a thread pool.
class Runner {
 public:
  explicit Runner(const Kernels& table, int num_threads = 1) : table_(table), pool_(num_threads) {}

  struct Packed {
    Bytes bytes;
    PackedMatrix matrix;
  };
  Packed pack(const Weights& weights, int fill = 0xee) {
    const size_t size = table_.packed_bytes(weights.format, weights.rows, weights.cols);
    EXPECT_GT(size, 0u);
    Packed packed{aligned_bytes(size, fill), {weights.format, weights.rows, weights.cols, nullptr}};
    table_.pack(make_exec(pool_), weights.format, weights.rows, weights.cols, weights.bytes.data(), packed.bytes.get());
    packed.matrix.data = packed.bytes.get();
    return packed;
  }

  // [m, rows] of x [m, cols] times each output's weights; y, bias and strides are the caller's.
  void multiply(const float* x, int64_t m, int64_t cols, const std::vector<MatmulOutput>& outputs) {
    MatmulInput input{.num_rows = m, .cols = cols};
    const auto exact_x = aligned_bytes(static_cast<size_t>(m * cols) * sizeof(float), 0);
    std::memcpy(exact_x.get(), x, static_cast<size_t>(m * cols) * sizeof(float));
    input.f32 = reinterpret_cast<const float*>(exact_x.get());
    Bytes packed;
    if (table_.takes_packed(outputs.front().weights.format)) {
      packed = aligned_bytes(static_cast<size_t>(m) * table_.packed_row_bytes(cols), 0xdd);
      table_.pack_rows(make_exec(pool_), {.x = input.f32, .num_rows = m, .cols = cols}, packed.get());
      input.packed = packed.get();
      input.f32 = nullptr;
    }
    table_.matmul(make_exec(pool_), input, outputs.data(), static_cast<int>(outputs.size()));
  }

  // The same for one output into poisoned memory with canaries beside every row.
  std::vector<float> product(const PackedMatrix& matrix, const float* x, int64_t m) {
    constexpr int64_t kGap = 3;
    const int64_t stride = matrix.rows + kGap;
    std::vector<float> padded(static_cast<size_t>(m * stride + kGap), kCanary);
    float* y = padded.data() + kGap;
    for (int64_t t = 0; t < m; ++t) std::fill_n(y + t * stride, matrix.rows, kNan);
    multiply(x, m, matrix.cols, {{.weights = matrix, .y = y, .y_stride = stride}});
    std::vector<float> result;
    for (int64_t t = 0; t < m; ++t) {
      result.insert(result.end(), y + t * stride, y + t * stride + matrix.rows);
      for (int64_t i = 0; i < kGap; ++i) EXPECT_EQ(y[t * stride + matrix.rows + i], kCanary) << "after row " << t;
    }
    for (int64_t i = 0; i < kGap; ++i) EXPECT_EQ(padded[static_cast<size_t>(i)], kCanary);
    return result;
  }
  std::vector<float> product(const Weights& weights, const std::vector<float>& x) {
    const Packed packed = pack(weights);
    return product(packed.matrix, x.data(), static_cast<int64_t>(x.size()) / weights.cols);
  }

 private:
  const Kernels& table_;
  ThreadPool pool_;
};

bool same_bits(const float* a, const float* b, int64_t count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

struct Case {
  const Kernels* table;
  Format format;
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.table->name; }

class Matmul : public testing::TestWithParam<Case> {
 protected:
  const Kernels& table() const { return *GetParam().table; }
  Format format() const { return GetParam().format; }
  bool is_plain() const { return weight_format(format()).block_elements == 1; }
  // Widths with and without a whole number of blocks of 256.
  std::vector<int64_t> widths() const {
    if (is_plain()) return {1, 17, 64, 300};
    switch (weight_format(format()).block_elements) {
      case 256: return {256, 512};
      case 128: return {128, 256, 384};
      case 64: return {64, 256, 320};
      default: return {32, 64, 256, 288};
    }
  }
};

double sum_of_magnitudes(const float* w, const float* x, int64_t count) {
  double sum = 1e-30;
  for (int64_t k = 0; k < count; ++k) sum += std::abs(static_cast<double>(w[k]) * static_cast<double>(x[k]));
  return sum;
}

// What denormals among weights and activations may change: instructions for bf16 may take them for zeros.
double share_of_denormals(const float* w, const float* x, int64_t count) {
  double sum = 0;
  for (int64_t k = 0; k < count; ++k) sum += double{std::abs(w[k])} + double{std::abs(x[k])};
  return sum * 0x1p-126;
}

// Expects y within `relative` of the reference, relative to the sum of the products' magnitudes.
void expect_near_reference(const Kernels& table, const Weights& weights, const std::vector<float>& x, double relative) {
  Runner runner(table);
  Runner reference(reference_kernels(table.activations));
  const std::vector<float> y = runner.product(weights, x);
  const std::vector<float> want = reference.product(weights, x);
  const auto m = static_cast<int64_t>(x.size()) / weights.cols;
  for (int64_t o = 0; o < weights.rows; ++o) {
    const std::vector<float> row = weights.row(o);
    for (int64_t t = 0; t < m; ++t) {
      const float* token = x.data() + t * weights.cols;
      const double magnitude = sum_of_magnitudes(row.data(), token, weights.cols);
      const bool is_bf16 = table.activations == Activations::kBf16;
      const double denormals = is_bf16 ? share_of_denormals(row.data(), token, weights.cols) : 0;
      const auto at = static_cast<size_t>(t * weights.rows + o);
      ASSERT_NEAR(y[at], want[at], relative * magnitude + denormals)
          << weights.rows << " x " << weights.cols << ", token " << t << " of " << m << ", output " << o;
    }
  }
}

TEST_P(Matmul, AgreesWithTheReference) {
  uint32_t seed = 1;
  const auto expect = [&](int64_t rows, int64_t cols, int64_t m) {
    const Weights weights = random_weights(format(), rows, cols, seed++);
    expect_near_reference(table(), weights, random_floats(m * cols, seed++), 4e-6);
  };
  for (const int64_t cols : widths()) {
    for (const int64_t rows : {1, 7, 16, 17, 48, 129}) expect(rows, cols, 5);
    for (const int64_t m : {1, 2, 3, 7, 8, 9, 15, 17, 64}) expect(33, cols, m);
  }
}

TEST_P(Matmul, AgreesWithTheReferenceOnManyTokens) {
  const int64_t cols = is_plain() ? 129 : 256;
  expect_near_reference(table(), random_weights(format(), 33, cols, 7), random_floats(300 * cols, 8), 4e-6);
}

TEST_P(Matmul, AgreesWithTheReferenceOnLongRows) {
  const int64_t cols = is_plain() ? 4097 : 4096;
  expect_near_reference(table(), random_weights(format(), 33, cols, 3), random_floats(3 * cols, 4), 1e-5);
}

// Formats without a kernel of their own, IQ3_S among them, are multiplied in the order of the reference.
TEST_P(Matmul, DecodedBlocksGiveTheReferencesBits) {
  const bool is_decoded = !is_plain() && !table().takes_packed(format()) && format() != Format::kF8_G128;
  EXPECT_TRUE(is_decoded || format() != Format::kIQ3_S);
  if (!is_decoded) return;
  uint32_t seed = 1;
  for (const int64_t cols : widths()) {
    for (const int64_t m : {1, 3, 8, 130}) {
      const Weights weights = random_weights(format(), 37, cols, seed++);
      const std::vector<float> x = random_floats(m * cols, seed++);
      const std::vector<float> want = Runner(reference_kernels()).product(weights, x);
      EXPECT_TRUE(same_bits(Runner(table()).product(weights, x).data(), want.data(), m * 37)) << cols << " x " << m;
    }
  }
}

// Rounding to int8 changes an activation by at most half a step, max / 254 of its group; rounding to bf16 changes it
// and the weight by at most 2^-9 of it.
TEST_P(Matmul, StaysWithinTheRoundingOfActivations) {
  const int64_t cols = 512;
  const int64_t rows = 19;
  const Weights weights = random_weights(format(), rows, cols, 11);
  const std::vector<float> x = random_floats(cols, 12);
  const std::vector<float> y = Runner(table()).product(weights, x);
  for (int64_t o = 0; o < rows; ++o) {
    const std::vector<float> row = weights.row(o);
    double exact = 0;
    double allowed = 0;
    for (size_t k = 0; k < static_cast<size_t>(cols); ++k) {
      const auto w = static_cast<double>(row[k]);
      exact += w * static_cast<double>(x[k]);
      double step = 0;
      for (size_t i = k / 32 * 32; i < k / 32 * 32 + 32; ++i) step = std::max(step, std::abs(double{x[i]}) / 127);
      if (!table().takes_packed(format()) || table().activations == Activations::kF32) step = 0;
      if (table().activations == Activations::kBf16) step = 4.01 * 0x1p-9 * std::abs(double{x[k]});
      allowed += std::abs(w) * (0.5 * step + 1e-5 * std::abs(double{x[k]}));
    }
    ASSERT_NEAR(y[static_cast<size_t>(o)], exact, allowed) << "output " << o;
  }
}

TEST_P(Matmul, OneAnswerInAnyBatch) {
  const int64_t cols = is_plain() ? 301 : 768;
  const int64_t rows = 173;
  const int64_t m = 145;
  const Weights weights = random_weights(format(), rows, cols, 21);
  const std::vector<float> x = random_floats(m * cols, 22);
  Runner alone(table());
  const Runner::Packed packed = alone.pack(weights);
  const std::vector<float> together = alone.product(packed.matrix, x.data(), m);
  for (const int64_t t : {0, 1, 5, 64, 127, 128, 144}) {
    const std::vector<float> single = alone.product(packed.matrix, x.data() + t * cols, 1);
    ASSERT_TRUE(same_bits(single.data(), together.data() + t * rows, rows)) << "token " << t << " alone";
  }
  for (const int64_t count : {2, 3, 4, 7, 8, 9, 16, 17}) {
    const std::vector<float> part = alone.product(packed.matrix, x.data() + 3 * cols, count);
    ASSERT_TRUE(same_bits(part.data(), together.data() + 3 * rows, count * rows)) << count << " tokens";
  }
  for (const int threads : {2, 3}) {
    Runner many(table(), threads);
    const Runner::Packed same = many.pack(weights);
    const std::vector<float> result = many.product(same.matrix, x.data(), 17);
    ASSERT_TRUE(same_bits(result.data(), together.data(), 17 * rows)) << threads << " threads";
  }
}

TEST_P(Matmul, PackingDeterminesEveryByte) {
  const int64_t cols = is_plain() ? 65 : 256;
  for (const int64_t rows : {1, 31, 32, 40}) {
    const Weights weights = random_weights(format(), rows, cols, 31);
    const size_t size = table().packed_bytes(format(), rows, cols);
    const Runner::Packed a = Runner(table()).pack(weights, 0x00);
    const Runner::Packed b = Runner(table(), 3).pack(weights, 0xff);
    EXPECT_EQ(std::memcmp(a.bytes.get(), b.bytes.get(), size), 0) << rows << " rows";
  }
}

TEST_P(Matmul, SeveralOutputsBiasAndAccumulation) {
  const int64_t cols = 256;
  const int64_t m = 5;
  Runner runner(table(), 2);
  const std::vector<float> x = random_floats(m * cols, 41);
  const std::vector<Weights> weights = {random_weights(format(), 70, cols, 42), random_weights(format(), 9, cols, 43),
                                        random_weights(format(), 200, cols, 44)};
  std::vector<Runner::Packed> packed;
  std::vector<std::vector<float>> y, plain, before;
  std::vector<MatmulOutput> outputs;
  const std::vector<float> bias = random_floats(200, 45);
  for (size_t i = 0; i < weights.size(); ++i) {
    packed.push_back(runner.pack(weights[i]));
    plain.push_back(runner.product(packed[i].matrix, x.data(), m));
    before.push_back(random_floats(m * weights[i].rows, 46));
    y.push_back(before[i]);
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    outputs.push_back({.weights = packed[i].matrix,
                       .bias = i == 1 ? nullptr : bias.data(),
                       .y = y[i].data(),
                       .y_stride = weights[i].rows,
                       .accumulate = i > 0});
  }
  runner.multiply(x.data(), m, cols, outputs);
  for (size_t i = 0; i < weights.size(); ++i) {
    for (size_t at = 0; at < y[i].size(); ++at) {
      float want = plain[i][at];
      if (outputs[i].bias != nullptr) want += bias[at % static_cast<size_t>(weights[i].rows)];
      if (outputs[i].accumulate) want += before[i][at];
      ASSERT_EQ(y[i][at], want) << "output " << i << " element " << at;
    }
  }
}

// Experts: outputs with rows of their own, some of them with none, beside one that takes the call's.
TEST_P(Matmul, OutputsWithSeparateInputRows) {
  const int64_t cols = 256;
  Runner runner(table(), 2);
  const std::vector<float> x = random_floats(40 * cols, 71);
  const int64_t first_rows[] = {0, 3, 3, 20};  // the last output takes all rows
  const int64_t num_rows[] = {3, 0, 17, 20};
  std::vector<Runner::Packed> packed;
  std::vector<std::vector<float>> want, y(4);
  const bool takes_packed = table().takes_packed(format());
  const size_t packed_row = takes_packed ? table().packed_row_bytes(cols) : 0;
  Bytes packed_rows = aligned_bytes(40 * packed_row + 1, 0);
  ThreadPool pool(2);
  if (takes_packed)
    table().pack_rows(make_exec(pool), {.x = x.data(), .num_rows = 40, .cols = cols}, packed_rows.get());
  const auto input = [&](int64_t first, int64_t count) {
    return MatmulInput{.num_rows = count,
                       .cols = cols,
                       .f32 = x.data() + first * cols,
                       .packed = packed_rows.get() + static_cast<size_t>(first) * packed_row};
  };
  MatmulInput own[4];
  std::vector<MatmulOutput> outputs;
  for (size_t i = 0; i < 4; ++i) {
    const Weights weights = random_weights(format(), 65 + static_cast<int64_t>(i), cols, static_cast<uint32_t>(72 + i));
    packed.push_back(runner.pack(weights));
    want.push_back(runner.product(packed[i].matrix, x.data() + first_rows[i] * cols, num_rows[i]));
    y[i].assign(want[i].size(), kNan);
    own[i] = input(first_rows[i], num_rows[i]);
    outputs.push_back(
        {.weights = packed[i].matrix, .y = y[i].data(), .y_stride = weights.rows, .input = i == 3 ? nullptr : &own[i]});
  }
  table().matmul(make_exec(pool), own[3], outputs.data(), 4);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_EQ(y[i], want[i]) << "output " << i;
  }
}

TEST_P(Matmul, ExtremeScalesAndActivations) {
  const int64_t cols = is_plain() ? 64 : 512;
  for (const float scale : {0.0f, 6e-8f, 1e-5f, 100.0f}) {
    const Weights weights = random_weights(format(), 33, cols, 51, scale);
    for (const float size : {0.0f, 1e-38f, 1e-31f, 1e-20f, 1e20f}) {
      std::vector<float> x = random_floats(3 * cols, 52);
      for (float& value : x) value *= size;
      std::fill_n(x.begin(), cols / 2, 0.0f);
      expect_near_reference(table(), weights, x, 4e-6);
    }
  }
}

TEST_P(Matmul, NanAffectsOnlyItsOwnToken) {
  const int64_t cols = 256;
  const int64_t rows = 40;
  const int64_t m = 9;
  const Weights weights = random_weights(format(), rows, cols, 61);
  Runner runner(table());
  const Runner::Packed packed = runner.pack(weights);
  const std::vector<float> x = random_floats(m * cols, 62);
  const std::vector<float> clean = runner.product(packed.matrix, x.data(), m);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> broken = x;
    broken[4 * cols + 77] = bad;
    const std::vector<float> y = runner.product(packed.matrix, broken.data(), m);
    ASSERT_TRUE(same_bits(y.data(), clean.data(), 4 * rows));
    ASSERT_TRUE(same_bits(y.data() + 5 * rows, clean.data() + 5 * rows, 4 * rows));
    for (int64_t o = 0; o < rows; ++o) ASSERT_FALSE(std::isfinite(y[static_cast<size_t>(4 * rows + o)])) << bad;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Kernels* table : runnable_kernels()) {
    for (const Format format : weight_formats()) cases.push_back({table, format});
  }
  for (const Activations kind : {Activations::kBf16, Activations::kF32}) {
    for (const Kernels* table : runnable_kernels(kind)) {
      for (const Format format : weight_formats()) {
        // The reference is what the others are compared to: one format shows that it is right itself.
        const bool is_oracle = table == &reference_kernels(kind) && format != Format::kQ4_K;
        if (table->takes_packed(format) && !is_oracle) cases.push_back({table, format});
      }
    }
  }
#ifdef QUIRE_EMULATED_AMX
  // Bf16 on tiles, which has no table of the same bits; a format of each kind, because the emulation is slow.
  for (const Format format : {Format::kQ4_K, Format::kBF16, Format::kF8_G128}) {
    if (const Kernels* const table = emulated_amx_kernels(Activations::kBf16)) cases.push_back({table, format});
  }
#endif
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Tables, Matmul, testing::ValuesIn(all_cases()), [](const testing::TestParamInfo<Case>& test) {
  const Activations kind = test.param.table->activations;
  return fmt::format("{}_{}{}", test.param.table->name, weight_format(test.param.format).name,
                     kind == kUsualActivations ? "" : fmt::format("_by_{}", activations_name(kind)));
});

TEST(MatmulTables, NanAmongF8CodesAffectsOnlyItsOwnOutput) {
  for (const Kernels* table : runnable_kernels()) {
    Weights weights = random_weights(Format::kF8_G128, 40, 256, 71);
    const std::vector<float> x = random_floats(256, 72);
    const std::vector<float> clean = Runner(*table).product(weights, x);
    weights.bytes[7 * weights.row_bytes() + 200] = std::byte{0xff};
    const std::vector<float> y = Runner(*table).product(weights, x);
    for (size_t o = 0; o < y.size(); ++o) {
      ASSERT_EQ(std::isnan(y[o]), o == 7) << table->name << " output " << o;
      ASSERT_TRUE(o == 7 || y[o] == clean[o]) << table->name << " output " << o;
    }
  }
}

// For every pair of scale and code, the weight that is multiplied is the exact product, rounded once.
TEST(MatmulTables, F8WeightsAreScaleTimesCodeRoundedOnce) {
  for (const Kernels* table : runnable_kernels()) {
    Weights weights = random_weights(Format::kF8_G128, 64, 128, 81);
    std::vector<float> x(128, 0.0f);
    for (int code = 0; code < 256; ++code) {
      if ((code & 0x7f) == 0x7f) continue;
      for (size_t row = 0; row < 64; ++row) weights.bytes[row * weights.row_bytes() + 4 + 77] = std::byte(code);
      x[77] = 1.0f;
      const std::vector<float> y = Runner(*table).product(weights, x);
      for (int64_t row = 0; row < 64; ++row) {
        ASSERT_EQ(y[static_cast<size_t>(row)], weights.row(row)[77]) << table->name << " code " << code;
      }
    }
  }
}

// What a sparse matrix leaves out adds nothing: its products have the bits of a dense matrix of the same values.
TEST(MatmulTables, SparseWeightsHaveTheBitsOfDenseOnes) {
  for (const Activations kind : {Activations::kInt8, Activations::kBf16, Activations::kF32}) {
    for (const Kernels* table : runnable_kernels(kind)) {
      for (const int64_t m : {1, 3, 40}) {
        constexpr int64_t kCols = 384;
        const Weights sparse = random_weights(Format::kS8_G64, 50, kCols, 91, 0.0f);
        Weights dense{Format::kI8_G128, 50, kCols, {}};
        dense.bytes.resize(weight_format(dense.format).bytes_of(50 * kCols));
        Weights scaled = sparse;
        auto* from = reinterpret_cast<BlockS8*>(scaled.bytes.data());
        auto* to = reinterpret_cast<BlockI8*>(dense.bytes.data());
        for (size_t i = 0; i < scaled.bytes.size() / sizeof *from; ++i) {  // two blocks to one of a scale
          float values[64];
          from[i].d = f32_to_f16(1);
          weight_format(scaled.format).dequantize(reinterpret_cast<const std::byte*>(from + i), values, 64);
          for (size_t at = 0; at < 64; ++at) to[i / 2].q[i % 2 * 64 + at] = static_cast<int8_t>(values[at]);
          from[i].d = to[i / 2].d = f32_to_f16(0.01f * static_cast<float>(1 + i / 2 % 7));
        }
        const std::vector<float> x = random_floats(m * kCols, 92);
        const std::vector<float> want = Runner(*table).product(dense, x);
        const std::vector<float> y = Runner(*table).product(scaled, x);
        EXPECT_TRUE(same_bits(y.data(), want.data(), m * 50)) << table->name << ", " << m << " tokens";
      }
    }
  }
}

// Threads that take turns, each one task at a time, and what each has written since.
class Turns {
 public:
  explicit Turns(int num_threads) : num_threads_(num_threads) {}

  // Calls tasks one after the other on threads 0, 1, ..., 0, 1, ...
  Exec exec() {
    const auto run = [](void* self, int64_t num_tasks, Exec::Body body, void* context) {
      auto& turns = *static_cast<Turns*>(self);
      for (int64_t task = 0; task < num_tasks; ++task) {
        const auto thread = static_cast<int>(task % turns.num_threads_);
        body(context, task, thread);
        for (Memory& memory : turns.memories_) memory.find_writes_of(thread);
      }
    };
    return {.run = run, .pool = this, .num_threads = num_threads_};
  }
  int num_threads() const { return num_threads_; }
  void watch(const void* memory, size_t size) { memories_.emplace_back(static_cast<const std::byte*>(memory), size); }
  // Who has written the part from num / of on of a watched memory; -1: several threads.
  int writer(size_t memory, int64_t num, int64_t of) const {
    const std::vector<int>& writers = memories_[memory].writers;
    const auto size = static_cast<int64_t>(writers.size());
    int found = kNobody;
    for (int64_t at = size * num / of; at < size * (num + 1) / of; ++at) {
      const int writer = writers[static_cast<size_t>(at)];
      if (writer == kNobody) continue;  // wrote what was there before
      if (found != kNobody && found != writer) return -1;
      found = writer;
    }
    return found;
  }

 private:
  static constexpr int kNobody = -2;
  struct Memory {
    const std::byte* at;
    std::vector<std::byte> before;
    std::vector<int> writers;

    Memory(const std::byte* memory, size_t size) : at(memory), before(at, at + size), writers(size, kNobody) {}
    void find_writes_of(int thread) {
      for (size_t i = 0; i < before.size(); ++i) {
        if (before[i] == at[i]) continue;
        writers[i] = thread;
        before[i] = at[i];
      }
    }
  };

  int num_threads_;
  std::vector<Memory> memories_;
};

// Matrices that share a call, with the thread that packed each of their rows.
class PackedByTurns {
 public:
  static constexpr int64_t kCols = 256;

  // `rows` of each matrix: whole panels of every table.
  PackedByTurns(const Kernels& table, Format format, int num_threads, const std::vector<int64_t>& rows)
      : table_(table), turns_(num_threads) {
    for (size_t i = 0; i < rows.size(); ++i) {
      const Weights weights = random_weights(format, rows[i], kCols, 47);
      const size_t size = table.packed_bytes(format, rows[i], kCols);
      packed_.push_back(aligned_bytes(size, 0x5a));
      turns_.watch(packed_[i].get(), size);
      table.pack(turns_.exec(), format, rows[i], kCols, weights.bytes.data(), packed_[i].get());
      matrices_.push_back({.format = format, .rows = rows[i], .cols = kCols, .data = packed_[i].get()});
    }
  }

  // Multiplies matrices [first, last) in one call.
  void expect_same_threads(const MatmulInput& input, int16_t panels, size_t first, size_t last) {
    Turns turns(turns_.num_threads());
    std::vector<std::vector<float>> y;
    std::vector<MatmulOutput> outputs;
    for (size_t i = first; i < last; ++i) {
      matrices_[i].tuning = {.few_panels = panels, .many_panels = panels, .one_panels = panels};
      const int64_t rows = matrices_[i].rows;
      y.emplace_back(static_cast<size_t>(input.num_rows * rows), kNan);
      turns.watch(y.back().data(), static_cast<size_t>(rows) * sizeof(float));  // of the first token
      outputs.push_back({.weights = matrices_[i], .y = y.back().data(), .y_stride = rows});
    }
    table_.matmul(turns.exec(), input, outputs.data(), static_cast<int>(outputs.size()));
    for (size_t i = first; i < last; ++i) {
      for (int64_t row = 0; row < matrices_[i].rows; ++row) {
        const int owner = turns_.writer(i, row, matrices_[i].rows);
        ASSERT_GE(owner, 0);
        ASSERT_EQ(turns.writer(i - first, row, matrices_[i].rows), owner) << "matrix " << i << " row " << row;
      }
    }
  }

 private:
  const Kernels& table_;
  Turns turns_;
  std::vector<Bytes> packed_;
  std::vector<PackedMatrix> matrices_;
};

// The first touch places packed rows in the memory of the thread that packs them, so that thread should multiply them:
// whatever else is in the call, and however large the tasks are.
TEST(MatmulTables, ThreadsMultiplyWhatTheyHavePacked) {
  constexpr int64_t kTokens = 17;
  const std::vector<float> x = random_floats(kTokens * PackedByTurns::kCols, 48);
  for (const Kernels* table : runnable_kernels()) {
    if (table == &reference_kernels()) continue;  // it divides rows otherwise
    ThreadPool pool(1);
    const Bytes packed = aligned_bytes(kTokens * table->packed_row_bytes(PackedByTurns::kCols), 0);
    table->pack_rows(make_exec(pool), {.x = x.data(), .num_rows = kTokens, .cols = PackedByTurns::kCols}, packed.get());
    for (const Format format : {Format::kQ4_0, Format::kQ6_K, Format::kF16, Format::kIQ3_S}) {
      for (const int num_threads : {2, 4}) {
        PackedByTurns matrices(*table, format, num_threads, {256, 128, 128});
        for (const int64_t m : {int64_t{1}, kTokens}) {
          const MatmulInput input{.num_rows = m, .cols = PackedByTurns::kCols, .f32 = x.data(), .packed = packed.get()};
          for (const int16_t panels : {1, 2, 3, 8}) {
            for (size_t i = 0; i < 3; ++i) matrices.expect_same_threads(input, panels, i, i + 1);
            matrices.expect_same_threads(input, panels, 0, 3);
          }
        }
      }
    }
  }
}

// The memory nodes of a large machine have neighbouring threads.
TEST(MatmulTables, ManyThreadsMultiplyWhatTheyHavePackedToo) {
  const std::vector<float> x = random_floats(PackedByTurns::kCols, 48);
  for (const Kernels* table : runnable_kernels()) {
    if (table == &reference_kernels()) continue;
    ThreadPool pool(1);
    const Bytes packed = aligned_bytes(table->packed_row_bytes(PackedByTurns::kCols), 0);
    table->pack_rows(make_exec(pool), {.x = x.data(), .num_rows = 1, .cols = PackedByTurns::kCols}, packed.get());
    PackedByTurns matrices(*table, Format::kQ4_0, 128, {4096});
    const MatmulInput input{.num_rows = 1, .cols = PackedByTurns::kCols, .f32 = x.data(), .packed = packed.get()};
    for (const int16_t panels : {1, 2}) matrices.expect_same_threads(input, panels, 0, 1);
  }
}

TEST(MatmulTables, RefuseStorageFormats) {
  for (const Kernels* table : runnable_kernels()) {
    EXPECT_EQ(table->packed_bytes(Format::kI32, 16, 32), 0u) << table->name;
    EXPECT_EQ(table->packed_bytes(Format::kBool, 16, 32), 0u) << table->name;
  }
}

TEST(MatmulTables, NoTokensAndNoRowsAreFine) {
  for (const Kernels* table : runnable_kernels()) {
    ThreadPool pool(1);
    const MatmulInput none{.num_rows = 0, .cols = 32};
    const MatmulOutput output{.weights = {Format::kQ8_0, 0, 32, nullptr}};
    table->matmul(make_exec(pool), none, &output, 1);
    table->pack_rows(make_exec(pool), {.cols = 32}, nullptr);
  }
}

#ifdef QUIRE_EMULATED_AMX

// On tiles, integer formats have the bits of the table that tiles are added to.
class MatmulOnTiles : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    if (emulated_amx_kernels() == nullptr) GTEST_SKIP() << "the emulated tiles need AVX-512, which this machine lacks";
  }
  Format format() const { return GetParam(); }
  // The shortest rows, and rows that do not end with a block of 256 columns if the format has such.
  std::vector<int64_t> widths() const {
    const int64_t block = weight_format(format()).block_elements;
    return {block, 256 + block};
  }

  void expect_bits_of_base(const Weights& weights, const std::vector<float>& x, int num_threads = 1) {
    const std::vector<float> y = Runner(*emulated_amx_kernels(), num_threads).product(weights, x);
    const std::vector<float> want = Runner(*base_of_emulated_amx()).product(weights, x);
    EXPECT_TRUE(same_bits(y.data(), want.data(), static_cast<int64_t>(want.size())))
        << weights.rows << " x " << weights.cols << ", " << x.size() / static_cast<size_t>(weights.cols) << " tokens";
  }
};

TEST_P(MatmulOnTiles, HasTheBitsOfItsBase) {
  uint32_t seed = 0;
  const auto expect = [&](int64_t rows, int64_t cols, int64_t m) {
    seed += 2;
    expect_bits_of_base(random_weights(format(), rows, cols, seed), random_floats(m * cols, seed + 1));
  };
  for (const int64_t cols : widths()) {
    for (const int64_t m : {1, 7, 8, 9, 12, 13, 16, 17, 24, 29, 70}) expect(33, cols, m);
    for (const int64_t rows : {1, 16, 40}) expect(rows, cols, 18);
  }
}

// Two blocks of tokens, the second of them short, and more panels than a task has.
TEST_P(MatmulOnTiles, HasTheBitsOfItsBaseForManyTokens) {
  const int64_t cols = 256;
  expect_bits_of_base(random_weights(format(), 270, cols, 81), random_floats(139 * cols, 82), /*num_threads=*/3);
}

TEST_P(MatmulOnTiles, HasTheBitsOfItsBaseAtExtremes) {
  const int64_t cols = widths().back();
  for (const float scale : {0.0f, 6e-8f, 1e-5f, 100.0f, kInfinity}) {
    const Weights weights = random_weights(format(), 20, cols, 91, scale);
    for (const float size : {0.0f, 1e-38f, 1e-20f, 1e20f}) {
      std::vector<float> x = random_floats(19 * cols, 92);
      for (float& value : x) value *= size;
      std::fill_n(x.begin(), cols / 2, 0.0f);
      expect_bits_of_base(weights, x);
    }
  }
  std::vector<float> x = random_floats(19 * cols, 93);
  x[static_cast<size_t>(4 * cols + 3)] = kNan;
  expect_bits_of_base(random_weights(format(), 20, cols, 94), x);
}

TEST_P(MatmulOnTiles, ExpertsHaveTheBitsOfTheBase) {
  const int64_t cols = 256;
  const int32_t first[] = {5, 8, 8, 26, 32};  // of 27 rows
  constexpr int kExperts = 4;
  const std::vector<float> x = random_floats(27 * cols, 101);
  std::vector<std::vector<float>> results;
  for (const Kernels* table : {emulated_amx_kernels(), base_of_emulated_amx()}) {
    Runner runner(*table);
    std::vector<Runner::Packed> packed;
    std::vector<PackedMatrix> experts;
    for (uint32_t e = 0; e < kExperts; ++e) {
      packed.push_back(runner.pack(random_weights(format(), 48, cols, 102 + e)));
      experts.push_back(packed.back().matrix);
    }
    ThreadPool pool(2);
    const Bytes rows = aligned_bytes(27 * table->packed_row_bytes(cols), 0);
    table->pack_rows(make_exec(pool), {.x = x.data(), .num_rows = 27, .cols = cols}, rows.get());
    std::vector<float> y(27 * 48, kNan);
    const ExpertMatrices matrix{.like = experts[0], .experts = experts.data(), .y = y.data()};
    table->matmul_experts(make_exec(pool), {.num_rows = 27, .cols = cols, .packed = rows.get()}, first, kExperts,
                          &matrix, 1);
    results.push_back(std::move(y));
  }
  EXPECT_TRUE(same_bits(results[0].data(), results[1].data(), 27 * 48));
}

std::vector<Format> code_formats() {
  std::vector<Format> formats;
  for (const CodeFormat& row : kCodeFormats) formats.push_back(row.format);
  return formats;
}

INSTANTIATE_TEST_SUITE_P(Formats, MatmulOnTiles, testing::ValuesIn(code_formats()),
                         [](const testing::TestParamInfo<Format>& test) {
                           return std::string(weight_format(test.param).name);
                         });

#endif

}  // namespace
}  // namespace quire
