// Quantised checkpoints made by hand from random bits: every weight against the scheme's own formula, to the bit, and
// tensors that do not fit each other. Whole models: tests/golden.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "base/error.h"
#include "models/loading/quantization/scheme.h"
#include "models/running/model_runner.h"
#include "models/running/test_models.h"
#include "tensor/float8.h"
#include "tensor/formats/blocks.h"
#include "tensor/half.h"

namespace quire {
namespace {

using test::error_of;
using test::TinyDirectory;
using Tensor = TinyDirectory::Tensor;
using Tensors = std::vector<Tensor>;

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

template <typename T>
std::vector<T> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(random());
  return values;
}

// Scales that f16 and bf16 both hold.
std::vector<float> random_scales(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(random() % 255 + 1) / 16384;
  return values;
}

std::string as_f16(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float value : values) halves.push_back(f32_to_f16(value));
  return bytes_of(halves);
}

std::string as_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float value : values) halves.push_back(f32_to_bf16(value));
  return bytes_of(halves);
}

uint32_t field(uint32_t word, int64_t index, int bits) { return (word >> (index * bits)) & ((1u << bits) - 1); }

struct Opened {
  Opened(const json::object& quantization, const Tensors& tensors)
      : directory({{"quantization_config", quantization}}, tensors),
        checkpoint(Checkpoint::open(directory.path())),
        scheme(QuantizationScheme::read(*checkpoint)) {}

  QuantizedMatrix matrix(int64_t rows, int64_t cols, bool takes_sparse = false) const {
    return scheme->find(QuantizedModule(*checkpoint, "m", rows, cols, takes_sparse)).value();
  }

  TinyDirectory directory;
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<QuantizationScheme> scheme;
};

using Weight = std::function<float(int64_t row, int64_t column)>;

// Checks every weight, reading rows in two calls, and the resulting format and column order.
void expect_weights(const QuantizedMatrix& matrix, Format format, bool ordered, const Weight& expected) {
  ASSERT_EQ(weight_format(matrix.format).name, std::string(weight_format(format).name));
  ASSERT_EQ(!matrix.column_order.empty(), ordered);
  const WeightFormat& info = weight_format(format);
  const auto first_part = matrix.rows / 3;
  std::vector<std::byte> blocks(info.bytes_of(matrix.rows * matrix.cols));
  matrix.write_rows(0, first_part, blocks.data());
  matrix.write_rows(first_part, matrix.rows - first_part, blocks.data() + info.bytes_of(first_part * matrix.cols));
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  for (int64_t r = 0; r < matrix.rows; ++r) {
    info.dequantize(blocks.data() + info.bytes_of(r * matrix.cols), row.data(), matrix.cols);
    for (int64_t i = 0; i < matrix.cols; ++i) {
      const int64_t column = ordered ? matrix.column_order[static_cast<size_t>(i)] : i;
      ASSERT_EQ(row[static_cast<size_t>(i)], expected(r, column)) << "row " << r << " column " << column;
    }
  }
}

// ---- GPTQ ---------------------------------------------------------------------------------------------------------

struct GptqCase {
  int bits = 4;
  int64_t group_size = 32;
  bool second_version = false;
  std::vector<int32_t> g_idx = {};
  int64_t rows = 16;
  int64_t cols = 128;
};

struct GptqModel {
  explicit GptqModel(const GptqCase& c) : options(c), per_word(32 / c.bits) {
    const int64_t groups = c.group_size < 0 ? 1 : (c.cols + c.group_size - 1) / c.group_size;
    words = random_values<uint32_t>(c.cols / per_word * c.rows, 1);
    zeros = random_values<uint32_t>(groups * c.rows / per_word, 2);
    if (c.bits == 8) std::ranges::fill(zeros, c.second_version ? 0x80808080u : 0x7f7f7f7fu);
    scales = random_scales(groups * c.rows, 3);
    tensors = {{"m.qweight", "I32", {c.cols / per_word, c.rows}, bytes_of(words)},
               {"m.qzeros", "I32", {groups, c.rows / per_word}, bytes_of(zeros)},
               {"m.scales", "F16", {groups, c.rows}, as_f16(scales)}};
    if (!c.g_idx.empty()) tensors.push_back({"m.g_idx", "I32", {c.cols}, bytes_of(c.g_idx)});
    config = {{"quant_method", "gptq"}, {"bits", c.bits}, {"group_size", c.group_size}};
    if (c.second_version) config["checkpoint_format"] = "gptq_v2";
  }

  float weight(int64_t row, int64_t column) const {
    const auto at = static_cast<size_t>(column);
    const int64_t size = options.group_size < 0 ? options.cols : options.group_size;
    const int64_t group = options.g_idx.empty() ? column / size : options.g_idx[at];
    const uint32_t code =
        field(words[static_cast<size_t>(column / per_word * options.rows + row)], column % per_word, options.bits);
    uint32_t zero_word = zeros[static_cast<size_t>((group * options.rows + row) / per_word)];
    if (!options.second_version) zero_word += options.bits == 4 ? 0x11111111u : 0x01010101u;
    const uint32_t zero = field(zero_word, row % per_word, options.bits);
    return scales[static_cast<size_t>(group * options.rows + row)] *
           static_cast<float>(static_cast<int>(code) - static_cast<int>(zero));
  }

  void expect(Format format, bool ordered = false) const {
    const Opened opened(config, tensors);
    expect_weights(opened.matrix(options.rows, options.cols), format, ordered,
                   [this](int64_t r, int64_t c) { return weight(r, c); });
  }

  GptqCase options;
  int64_t per_word;
  std::vector<uint32_t> words, zeros;
  std::vector<float> scales;
  Tensors tensors;
  json::object config;
};

// Groups of 32 columns, scattered.
std::vector<int32_t> scattered(int64_t cols) {
  std::vector<int32_t> g_idx;
  for (int64_t c = 0; c < cols; ++c) g_idx.push_back(static_cast<int32_t>(c * 7 % cols / 32));
  return g_idx;
}

TEST(Gptq, EveryWeightEqualsTheFormula) {
  GptqModel({}).expect(Format::kI4_G32);
  GptqModel({.group_size = 64, .second_version = true}).expect(Format::kI4_G32);
  GptqModel({.group_size = 128, .cols = 384}).expect(Format::kI4_G128);
  GptqModel({.group_size = -1, .cols = 256}).expect(Format::kI4_G128);
  GptqModel({.group_size = 128, .cols = 192}).expect(Format::kI4_G32);  // half a group at the end
  GptqModel({.bits = 8}).expect(Format::kQ8_0);
  GptqModel({.bits = 8, .group_size = -1, .second_version = true}).expect(Format::kI8_G128);
}

TEST(Gptq, ActOrder) {
  GptqModel({.g_idx = scattered(128)}).expect(Format::kI4_G32, true);
  GptqModel({.bits = 8, .g_idx = scattered(128)}).expect(Format::kQ8_0, true);
  std::vector<int32_t> in_order;
  for (int c = 0; c < 128; ++c) in_order.push_back(c / 32);
  GptqModel({.g_idx = in_order}).expect(Format::kI4_G32);
}

TEST(Gptq, MatricesThatFitNoBlockFormatBecomeFloats) {
  GptqModel({.group_size = 16}).expect(Format::kF32);
  GptqModel({.group_size = -1, .cols = 40}).expect(Format::kF32);
  std::vector<int32_t> uneven = scattered(128);
  uneven[0] = 3;
  GptqModel({.g_idx = uneven}).expect(Format::kF32);
  GptqModel eight({.bits = 8});
  eight.zeros[0] ^= 1;
  eight.tensors[1].bytes = bytes_of(eight.zeros);
  eight.expect(Format::kF32);
}

// ---- AWQ ----------------------------------------------------------------------------------------------------------

TEST(Awq, EveryWeightEqualsTheFormula) {
  constexpr int64_t kRows = 24, kCols = 128, kGroup = 64;
  constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  const auto words = random_values<uint32_t>(kCols * kRows / 8, 1);
  const auto zeros = random_values<uint32_t>(kCols / kGroup * kRows / 8, 2);
  const auto scales = random_scales(kCols / kGroup * kRows, 3);
  const Opened opened({{"quant_method", "awq"}, {"bits", 4}, {"group_size", kGroup}, {"version", "GEMM"}},
                      {{"m.qweight", "I32", {kCols, kRows / 8}, bytes_of(words)},
                       {"m.qzeros", "I32", {kCols / kGroup, kRows / 8}, bytes_of(zeros)},
                       {"m.scales", "F16", {kCols / kGroup, kRows}, as_f16(scales)}});
  const auto code = [&](const std::vector<uint32_t>& from, int64_t line, int64_t row) {
    const auto at = std::find(kOrder, kOrder + 8, row % 8) - kOrder;
    return static_cast<int>(field(from[static_cast<size_t>(line * kRows / 8 + row / 8)], at, 4));
  };
  expect_weights(opened.matrix(kRows, kCols), Format::kI4_G32, false, [&](int64_t row, int64_t column) {
    const int64_t group = column / kGroup;
    const int value = code(words, column, row) - code(zeros, group, row);
    return scales[static_cast<size_t>(group * kRows + row)] * static_cast<float>(value);
  });
}

// ---- compressed-tensors, fp8 ----------------------------------------------------------------------------------------

json::object compressed(const char* form) { return {{"quant_method", "compressed-tensors"}, {"format", form}}; }

struct PackedCase {
  int bits;
  int64_t num_groups;
  bool zero_points;
  Format format;
  bool ordered = false;
};

TEST(CompressedTensors, PackedIntegers) {
  constexpr int64_t kRows = 20, kCols = 256;
  for (const PackedCase& c : {PackedCase{4, 8, false, Format::kI4_G32}, PackedCase{4, 2, true, Format::kI4_G128},
                              PackedCase{4, 1, true, Format::kI4_G128}, PackedCase{8, 1, false, Format::kI8_G128},
                              PackedCase{8, 4, false, Format::kQ8_0}, PackedCase{8, 2, true, Format::kF32},
                              PackedCase{4, 8, true, Format::kI4_G32, true}}) {
    const int64_t per_word = 32 / c.bits;
    const auto words = random_values<uint32_t>(kRows * kCols / per_word, 1);
    const int64_t zero_rows = (kRows + per_word - 1) / per_word;
    const auto zeros = random_values<uint32_t>(zero_rows * c.num_groups, 2);
    const auto scales = random_scales(kRows * c.num_groups, 3);
    const auto g_idx = scattered(kCols);
    Tensors tensors = {{"m.weight_packed", "I32", {kRows, kCols / per_word}, bytes_of(words)},
                       {"m.weight_scale", "BF16", {kRows, c.num_groups}, as_bf16(scales)},
                       {"m.weight_shape", "I64", {2}, bytes_of(std::vector<int64_t>{kRows, kCols})}};
    if (c.zero_points) tensors.push_back({"m.weight_zero_point", "I32", {zero_rows, c.num_groups}, bytes_of(zeros)});
    if (c.ordered) tensors.push_back({"m.weight_g_idx", "I32", {kCols}, bytes_of(g_idx)});
    const Opened opened(compressed("pack-quantized"), tensors);
    expect_weights(opened.matrix(kRows, kCols), c.format, c.ordered, [&](int64_t row, int64_t column) {
      const int64_t group = c.ordered ? g_idx[static_cast<size_t>(column)] : column / (kCols / c.num_groups);
      const auto code = static_cast<int>(
          field(words[static_cast<size_t>((row * kCols + column) / per_word)], column % per_word, c.bits));
      int zero = 1 << (c.bits - 1);
      if (c.zero_points) {
        zero = static_cast<int>(
            field(zeros[static_cast<size_t>(row / per_word * c.num_groups + group)], row % per_word, c.bits));
      }
      return scales[static_cast<size_t>(row * c.num_groups + group)] * static_cast<float>(code - zero);
    });
  }
}

TEST(CompressedTensors, Int8) {
  constexpr int64_t kRows = 9, kCols = 128;
  const auto codes = random_values<int8_t>(kRows * kCols, 1);
  const auto scales = random_scales(kRows, 2);
  const auto zeros = random_values<int8_t>(kRows, 3);
  Tensors tensors = {{"m.weight", "I8", {kRows, kCols}, bytes_of(codes)},
                     {"m.weight_scale", "F32", {kRows, 1}, bytes_of(scales)}};
  const auto weight = [&](int64_t row, int64_t column, int zero) {
    return scales[static_cast<size_t>(row)] *
           static_cast<float>(codes[static_cast<size_t>(row * kCols + column)] - zero);
  };
  expect_weights(Opened(compressed("int-quantized"), tensors).matrix(kRows, kCols), Format::kI8_G128, false,
                 [&](int64_t r, int64_t c) { return weight(r, c, 0); });
  tensors.push_back({"m.weight_zero_point", "I8", {kRows, 1}, bytes_of(zeros)});
  expect_weights(Opened(compressed("int-quantized"), tensors).matrix(kRows, kCols), Format::kF32, false,
                 [&](int64_t r, int64_t c) { return weight(r, c, zeros[static_cast<size_t>(r)]); });
}

// Where a file says that it was pruned and half of each 64 codes are zeros, and only there.
TEST(CompressedTensors, PrunedInt8) {
  constexpr int64_t kRows = 70, kCols = 192;
  auto codes = random_values<int8_t>(kRows * kCols, 1);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = i * 7 % 64 < 32 ? int8_t{0} : codes[i];
  const auto scales = random_scales(kRows, 2);
  const auto weight = [&](int64_t row, int64_t column) {
    return scales[static_cast<size_t>(row)] * static_cast<float>(codes[static_cast<size_t>(row * kCols + column)]);
  };
  const auto opened = [&](const char* sparsity) {
    json::object config = compressed("int-quantized");
    if (sparsity != nullptr) config["sparsity_config"] = {{"format", "dense"}, {"sparsity_structure", sparsity}};
    return Opened(config, {{"m.weight", "I8", {kRows, kCols}, bytes_of(codes)},
                           {"m.weight_scale", "F32", {kRows, 1}, bytes_of(scales)}});
  };
  expect_weights(opened("32:64").matrix(kRows, kCols, true), Format::kS8_G64, false, weight);
  EXPECT_EQ(opened("32:64").matrix(kRows, kCols, false).format, Format::kQ8_0);
  EXPECT_EQ(opened(nullptr).matrix(kRows, kCols, true).format, Format::kQ8_0);
  EXPECT_NE(opened("2:4").scheme->description().find("pruned 2:4"), std::string::npos);
  codes[kRows * kCols - 64] = codes[kRows * kCols - 63] = 1;  // the last block has 33 codes or more
  std::fill_n(codes.end() - 62, 62, int8_t{5});
  EXPECT_EQ(opened("32:64").matrix(kRows, kCols, true).format, Format::kQ8_0);
}

struct Fp8Case {
  const char* scale_name;
  std::vector<int64_t> scale_shape;
  int64_t cols;
  std::function<int64_t(int64_t row, int64_t column)> scale_at;
  Format format;
};

TEST(CompressedTensors, Fp8) {
  constexpr int64_t kRows = 200;
  const std::vector<Fp8Case> cases = {
      {"m.weight_scale", {}, 128, [](int64_t, int64_t) { return 0; }, Format::kF8_G128},
      {"m.weight_scale", {1}, 256, [](int64_t, int64_t) { return 0; }, Format::kF8_G128},
      {"m.weight_scale", {kRows, 1}, 256, [](int64_t r, int64_t) { return r; }, Format::kF8_G128},
      {"m.weight_scale", {kRows}, 96, [](int64_t r, int64_t) { return r; }, Format::kF32},
      {"m.weight_scale", {kRows, 2}, 256, [](int64_t r, int64_t c) { return 2 * r + c / 128; }, Format::kF8_G128},
      {"m.weight_scale_inv", {2, 3}, 384, [](int64_t r, int64_t c) { return r / 128 * 3 + c / 128; }, Format::kF8_G128},
      {"m.weight_scale_inv", {2, 2}, 160, [](int64_t r, int64_t c) { return r / 128 * 2 + c / 128; }, Format::kF32},
  };
  for (const Fp8Case& c : cases) {
    auto codes = random_values<uint8_t>(kRows * c.cols, 1);
    for (uint8_t& code : codes) code = e4m3_is_nan(code) ? 0 : code;
    std::vector<float> scales = random_scales(2 * kRows, 2);
    for (float& scale : scales) scale *= 1.00001f;  // needs all bits of a float
    const Opened opened({{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}},
                        {{"m.weight", "F8_E4M3", {kRows, c.cols}, bytes_of(codes)},
                         {c.scale_name, "F32", c.scale_shape,
                          bytes_of(scales).substr(
                              0, 4 * [&] {
                                size_t count = 1;
                                for (const int64_t n : c.scale_shape) count *= static_cast<size_t>(n);
                                return count;
                              }())}});
    expect_weights(opened.matrix(kRows, c.cols), c.format, false, [&](int64_t row, int64_t column) {
      return scales[static_cast<size_t>(c.scale_at(row, column))] *
             e4m3_to_f32(codes[static_cast<size_t>(row * c.cols + column)]);
    });
  }
}

TEST(CompressedTensors, Mxfp4) {
  constexpr int64_t kRows = 5, kCols = 96;
  const auto pairs = random_values<uint8_t>(kRows * kCols / 2, 1);
  auto scales = random_values<uint8_t>(kRows * kCols / 32, 2);
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(100 + scale % 50);
  const Opened opened(compressed("mxfp4-pack-quantized"),
                      {{"m.weight_packed", "U8", {kRows, kCols / 2}, bytes_of(pairs)},
                       {"m.weight_scale", "U8", {kRows, kCols / 32}, bytes_of(scales)}});
  constexpr float kValues[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  expect_weights(opened.matrix(kRows, kCols), Format::kMXFP4, false, [&](int64_t row, int64_t column) {
    const auto at = row * kCols + column;
    const int code = (pairs[static_cast<size_t>(at / 2)] >> (at % 2 * 4)) & 15;
    const float scale = std::ldexp(1.0f, scales[static_cast<size_t>(at / 32)] - 127);
    return (code < 8 ? 1.0f : -1.0f) * kValues[code % 8] * scale;
  });
}

TEST(CompressedTensors, Nvfp4) {
  constexpr int64_t kRows = 5, kCols = 192;
  constexpr float kGlobal = 1357.0f;
  const auto pairs = random_values<uint8_t>(kRows * kCols / 2, 1);
  auto scales = random_values<uint8_t>(kRows * kCols / 16, 2);
  for (uint8_t& scale : scales) scale = e4m3_is_nan(scale) ? 1 : scale;
  const Opened opened(compressed("nvfp4-pack-quantized"),
                      {{"m.weight_packed", "U8", {kRows, kCols / 2}, bytes_of(pairs)},
                       {"m.weight_scale", "F8_E4M3", {kRows, kCols / 16}, bytes_of(scales)},
                       {"m.weight_global_scale", "F32", {1}, bytes_of(std::vector<float>{kGlobal})},
                       {"m.input_global_scale", "F32", {1}, bytes_of(std::vector<float>{77.0f})}});
  constexpr float kValues[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  expect_weights(opened.matrix(kRows, kCols), Format::kF4_G16, false, [&](int64_t row, int64_t column) {
    const auto at = row * kCols + column;
    const int code = (pairs[static_cast<size_t>(at / 2)] >> (at % 2 * 4)) & 15;
    const float scale = 1 / kGlobal * e4m3_to_f32(scales[static_cast<size_t>(at / 16)]);
    return scale * (code < 8 ? 1.0f : -1.0f) * kValues[code % 8];
  });
}

// A float for a matrix, one for each expert of a stack.
TEST(GgufScales, AreMergedIntoTheBlocks) {
  static const std::vector<float> kOne = {0.75f};
  static const std::vector<float> kEach = {1, 2, 3, 5};
  const auto add_scales = [](GgufWriter& writer) {
    writer.add_tensor("blk.0.attn_q.scale", Format::kF32, std::vector<int64_t>{1}, kOne);
    writer.add_tensor("blk.0.ffn_up_exps.scale", Format::kF32, std::vector<int64_t>{4}, kEach);
    writer.add_tensor("blk.0.ffn_gate_inp.scale", Format::kF32, std::vector<int64_t>{1}, kOne);
  };
  const std::string image =
      test::tiny_gguf({.inner = 128, .experts = 4, .format = Format::kNVFP4, .more_metadata = add_scales});
  const auto checkpoint = Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf");
  const auto scheme = QuantizationScheme::read(*checkpoint);
  ASSERT_NE(scheme, nullptr);
  const auto expect_scaled = [&](const std::string& module, int64_t rows, int64_t cols, float scale) {
    const auto matrix = scheme->find(QuantizedModule(*checkpoint, module, rows, cols));
    ASSERT_TRUE(matrix) << module;
    std::vector<float> plain(static_cast<size_t>(rows * cols));
    dequantize(checkpoint->tensor(module + ".weight"), plain);
    expect_weights(*matrix, Format::kF4_G16, false, [&](int64_t row, int64_t column) {
      return scale * plain[static_cast<size_t>(row * cols + column)];
    });
  };
  expect_scaled("model.layers.0.self_attn.q_proj", 64, 64, 0.75f);
  expect_scaled("model.layers.0.block_sparse_moe.experts.0.w3", 128, 64, 1);
  expect_scaled("model.layers.0.block_sparse_moe.experts.3.w3", 128, 64, 5);
  EXPECT_FALSE(scheme->find(QuantizedModule(*checkpoint, "model.layers.0.self_attn.k_proj", 32, 64)));
  EXPECT_NE(error_of([&] {
              (void)scheme->find(QuantizedModule(*checkpoint, "model.layers.0.block_sparse_moe.gate", 4, 64));
            }).find("belongs to a matrix in F32, expected NVFP4"),
            std::string::npos);
  EXPECT_FALSE(
      QuantizationScheme::read(*Checkpoint::from_gguf_bytes(test::as_bytes(test::tiny_gguf({})), "tiny.gguf")));
}

TEST(Quantization, PlainModulesStayPlain) {
  for (const char* method : {"gptq", "awq", "compressed-tensors", "fp8"}) {
    const Opened opened({{"quant_method", method}, {"bits", 4}}, {{"m.weight", "BF16", {8, 32}}});
    EXPECT_FALSE(opened.scheme->find(QuantizedModule(*opened.checkpoint, "m", 8, 32))) << method;
  }
}

// ---- what does not fit ----------------------------------------------------------------------------------------------

void expect_refusal(const json::object& config, const Tensors& tensors, const std::string& part) {
  const std::string error = error_of([&] { (void)Opened(config, tensors).matrix(16, 128); });
  EXPECT_NE(error.find(part), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST(Quantization, RefusesTensorsOfWrongShapeOrType) {
  const GptqModel good({.g_idx = scattered(128)});
  const auto gptq = [&](size_t index, std::vector<int64_t> shape, const std::string& part) {
    Tensors tensors = good.tensors;
    tensors[index] = {tensors[index].name, tensors[index].type, std::move(shape)};
    expect_refusal(good.config, tensors, part);
  };
  gptq(0, {16, 17}, "tensor \"m.qweight\" has the shape [16, 17], expected [16, 16]");
  gptq(0, {256}, "tensor \"m.qweight\" has the shape [256], expected [16, 16]");
  gptq(1, {4, 1}, "tensor \"m.qzeros\" has the shape [4, 1], expected [4, 2]");
  gptq(1, {3, 2}, "tensor \"m.qzeros\" has the shape [3, 2], expected [4, 2]");
  gptq(2, {4, 15}, "tensor \"m.scales\" has the shape [4, 15], expected [4, 16]");
  gptq(3, {127}, "tensor \"m.g_idx\" has the shape [127], expected [128]");
  for (const size_t missing : {1, 2}) {
    Tensors tensors = good.tensors;
    const std::string name = tensors[missing].name;
    tensors.erase(tensors.begin() + static_cast<int>(missing));
    expect_refusal(good.config, tensors, "tensor \"" + name + "\" is missing");
  }
  Tensors tensors = good.tensors;
  tensors[2].type = "I16";
  expect_refusal(good.config, tensors, "tensor \"m.scales\" is I16, expected F32 or F16 or BF16");
  for (const int32_t group : {-1, 4, 1 << 30}) {
    tensors = good.tensors;
    std::vector<int32_t> g_idx = scattered(128);
    g_idx[5] = group;
    tensors[3].bytes = bytes_of(g_idx);
    expect_refusal(good.config, tensors, fmt::format("names group {} at column 5, expected 0 to 3", group));
  }

  expect_refusal({{"quant_method", "awq"}, {"group_size", 48}}, {{"m.qweight", "I32", {128, 2}}},
                 "groups of 48 columns, expected groups that divide the columns");
  expect_refusal({{"quant_method", "awq"}, {"group_size", 64}},
                 {{"m.qweight", "I32", {128, 2}}, {"m.qzeros", "I32", {2, 3}}}, "expected [2, 2]");

  const Tensor packed{"m.weight_packed", "I32", {16, 16}};
  const Tensor scale{"m.weight_scale", "F16", {16, 4}};
  const json::object form = compressed("pack-quantized");
  expect_refusal(form, {packed}, "tensor \"m.weight_scale\" is missing");
  expect_refusal(form, {packed, {"m.weight_scale", "F16", {16, 3}}}, "has 3 groups, expected groups that divide");
  expect_refusal(form, {packed, {"m.weight_scale", "F16", {15, 4}}}, "expected [16, 4]");
  expect_refusal(form, {packed, {"m.weight_scale", "F16", {16, 0}}}, "has 0 groups");
  expect_refusal(form, {packed, scale, {"m.weight_zero_point", "I32", {16, 4}}}, "expected [2, 4]");
  expect_refusal(form, {packed, scale, {"m.weight_shape", "I64", {2}}}, "tensor \"m.weight_shape\" says 0");
  expect_refusal(form, {packed, scale, {"m.weight_g_idx", "I32", {12}}}, "expected [128]");
  expect_refusal(form, {{"m.weight_packed", "I32", {16, 12}}, scale}, "has the shape [16, 12], expected [16, 32]");
  expect_refusal(form, {{"m.weight_packed", "F16", {16, 16}}, scale}, "is F16, expected I32 or U8");
  const Tensor int8{"m.weight", "I8", {16, 128}};
  expect_refusal(form, {int8, scale, {"m.weight_zero_point", "I8", {16, 1}}}, "expected I8 [16, 4]");
  expect_refusal(form, {{"m.weight", "I8", {16, 127}}, scale}, "expected [16, 128]");
  const Tensor fp8{"m.weight", "F8_E4M3", {16, 128}};
  expect_refusal({{"quant_method", "fp8"}}, {fp8, {"m.weight_scale_inv", "F32", {2, 2}}}, "expected [1, 1]");
  expect_refusal({{"quant_method", "fp8"}}, {fp8, {"m.weight_scale_inv", "F32", {0}}}, "expected [1, 1]");
  expect_refusal({{"quant_method", "fp8"}}, {fp8}, "tensor \"m.weight_scale\" is missing");
  const Tensor pairs{"m.weight_packed", "U8", {16, 64}};
  expect_refusal(form, {pairs, {"m.weight_scale", "U8", {16, 3}}}, "expected [16, 4]");
  const Tensor global{"m.weight_global_scale", "F32", {1}};  // zero
  const Tensor e4m3{"m.weight_scale", "F8_E4M3", {16, 8}};
  expect_refusal(form, {pairs, e4m3, global}, "tensor \"m.weight_global_scale\" is 0, expected a positive number");
  expect_refusal(form, {pairs, global}, "tensor \"m.weight_scale\" is missing");
  expect_refusal(form, {pairs, {"m.weight_scale", "F8_E4M3", {16, 4}}, global},
                 "has the shape [16, 4], expected [16, 8]");
  expect_refusal(form, {pairs, {"m.weight_scale", "U8", {16, 8}}, global}, "is U8, expected F8_E4M3");
}

TEST(Quantization, RefusesUnsupportedOptions) {
  const auto expect = [](const json::object& config, const std::string& part) {
    const std::string error = error_of([&] { Opened(config, {{"m.weight", "F16", {1, 1}}}); });
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect({{"quant_method", "exl2"}}, "quantised with \"exl2\"");
  expect({{"bits", 4}}, "quantised with \"an unnamed method\"");
  expect({{"quant_method", "gptq"}, {"bits", 5}}, "GPTQ with \"bits\" 5; this build reads 2, 3, 4 and 8");
  expect({{"quant_method", "gptq"}}, "\"bits\" is missing");
  expect({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 0}}, "\"group_size\" is 0, expected -1 or 1 to");
  expect({{"quant_method", "gptq"}, {"bits", 4}, {"checkpoint_format", "marlin"}}, "this build reads gptq and gptq_v2");
  expect({{"quant_method", "awq"}, {"bits", 8}}, "AWQ with \"bits\" 8; this build reads 4");
  expect({{"quant_method", "awq"}, {"version", "gemv"}}, "\"version\" \"gemv\"; this build reads gemm");
  expect(compressed("marlin-24"), "\"format\" \"marlin-24\"; this build reads pack-quantized, int-quantized");
  json::object config = compressed("pack-quantized");
  config["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  expect(config, "sparse weights");
  config = compressed("pack-quantized");
  config["transform_config"] = {{"config_groups", {{"R1", {{"type", "hadamard"}}}}}};
  expect(config, "does not rotate activations");
  expect({{"quant_method", "fp8"}, {"fmt", "e5m2"}}, "\"fmt\" \"e5m2\"; this build reads e4m3");
  expect({{"quant_method", "fp8"}, {"weight_block_size", {128, 0}}}, "expected two sizes");
  expect({{"quant_method", "fp8"}, {"weight_block_size", {int64_t{1} << 62, 128}}}, "expected two sizes");
}

TEST(Quantization, Descriptions) {
  const auto describe = [](const json::object& config) {
    return Opened(config, {{"m.weight", "F16", {1, 1}}}).scheme->description();
  };
  EXPECT_EQ(describe({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}, {"desc_act", true}}),
            "GPTQ, 4 bits, groups of 128 columns, act-order");
  EXPECT_EQ(describe({{"quant_method", "awq"}, {"bits", 4}, {"group_size", -1}}), "AWQ, 4 bits, a scale per row");
  json::object config = compressed("pack-quantized");
  config["config_groups"] = {
      {"group_0", {{"weights", {{"num_bits", 4}, {"type", "int"}, {"strategy", "group"}, {"group_size", 64}}}}}};
  EXPECT_EQ(describe(config), "compressed-tensors, pack-quantized, int of 4 bits, groups of 64 columns");
  EXPECT_EQ(describe({{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}),
            "FP8 (E4M3), a scale per block of 128 by 128");
}

}  // namespace
}  // namespace quire
