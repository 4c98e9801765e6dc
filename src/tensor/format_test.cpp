#include "tensor/format.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/aligned_buffer.h"
#include "tensor/files/ggml_types.h"
#include "tensor/float8.h"
#include "tensor/formats/blocks.h"
#include "tensor/half.h"

namespace quire {
namespace {

std::vector<Format> weight_formats() {
  std::vector<Format> found;
  for (int i = 0; i < kNumFormats; ++i) {
    if (weight_format(static_cast<Format>(i)).is_weight()) found.push_back(static_cast<Format>(i));
  }
  return found;
}
const std::vector<Format> kWeights = weight_formats();
// Blocks that no file has, so the `gguf` package does not know them.
bool is_loaders_own(Format format) { return !ggml_type_of_format(format).has_value(); }

std::string fixture(const WeightFormat& format, const char* what) {
  const std::string path = std::string(QUIRE_SOURCE_DIR) + "/tests/data/formats/" + format.name + "." + what + ".bin";
  return read_text_file(path, 1 << 20);
}

std::vector<float> floats_at(const std::string& bytes, size_t offset, size_t count) {
  std::vector<float> out(count);
  std::memcpy(out.data(), bytes.data() + offset, count * sizeof(float));
  return out;
}

size_t num_blocks_in(const std::string& bytes, const WeightFormat& format) {
  const auto bytes_each =
      static_cast<size_t>(format.block_bytes) + sizeof(float) * static_cast<size_t>(format.block_elements);
  EXPECT_EQ(bytes.size() % bytes_each, 0u);
  return bytes.size() / bytes_each;
}

std::vector<float> round_trip(const WeightFormat& format, const std::vector<float>& in) {
  const auto count = static_cast<int64_t>(in.size());
  std::vector<std::byte> blocks(format.bytes_of(count));
  std::vector<float> out(in.size());
  format.quantize(in.data(), blocks.data(), count);
  format.dequantize(blocks.data(), out.data(), count);
  return out;
}

double relative_error(const std::vector<float>& expected, const std::vector<float>& found) {
  double error = 0;
  double power = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(expected[i]) - found[i], 2);
    power += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / power);
}

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float wide = f16_to_f32(half);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(wide)))) << h;
    } else {
      EXPECT_EQ(f32_to_f16(wide), half) << h;
    }
  }
}

// Between two neighbours everything below the middle goes down, above goes up, the middle to the even one.
TEST(Half, F16RoundsToNearestEven) {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const auto low = static_cast<uint16_t>(h);
    const auto high = static_cast<uint16_t>(h + 1);
    const float top = high == 0x7c00 ? 65536.0f : f16_to_f32(high);
    const float middle = (f16_to_f32(low) + top) / 2;
    EXPECT_EQ(f32_to_f16(middle), (h & 1) == 0 ? low : high) << h;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), low) << h;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), high) << h;
    EXPECT_EQ(f32_to_f16(-middle), ((h & 1) == 0 ? low : high) | 0x8000) << h;
  }
  EXPECT_EQ(f32_to_f16(1e30f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::infinity()), 0xfc00);
}

TEST(Half, BF16RoundsToNearestEvenAndKeepsNan) {
  for (uint32_t h = 0; h < 0x7f80; ++h) {
    const auto low = static_cast<uint16_t>(h);
    const auto middle = std::bit_cast<float>((h << 16) | 0x8000u);
    EXPECT_EQ(bf16_to_f32(low), std::bit_cast<float>(h << 16));
    EXPECT_EQ(f32_to_bf16(middle), h + (h & 1)) << h;
    EXPECT_EQ(f32_to_bf16(std::bit_cast<float>((h << 16) | 0x7fffu)), h) << h;
    EXPECT_EQ(f32_to_bf16(std::bit_cast<float>((h << 16) | 0x8001u)), h + 1) << h;
  }
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::infinity()), 0x7f80);
}

TEST(Format, NamesFindTheirRows) {
  for (int i = 0; i < kNumFormats; ++i) {
    const auto format = static_cast<Format>(i);
    EXPECT_EQ(format_by_name(weight_format(format).name), format);
  }
  EXPECT_FALSE(format_by_name("Q4_9").has_value());
  EXPECT_FALSE(weight_format(Format::kI32).is_weight());
}

TEST(Format, DequantizesEveryBitAsTheOracle) {
  for (const Format id : kWeights) {
    if (id == Format::kF32 || is_loaders_own(id)) continue;
    const WeightFormat& format = weight_format(id);
    const std::string bytes = fixture(format, "dequantize");
    const size_t num_blocks = num_blocks_in(bytes, format);
    const size_t count = num_blocks * static_cast<size_t>(format.block_elements);
    const std::vector<float> expected = floats_at(bytes, num_blocks * static_cast<size_t>(format.block_bytes), count);
    std::vector<float> found(count);
    format.dequantize(reinterpret_cast<const std::byte*>(bytes.data()), found.data(), static_cast<int64_t>(count));
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
          << format.name << " element " << i << ": " << found[i] << " and " << expected[i];
    }
  }
}

TEST(Format, QuantizesTheSimpleFormatsToTheOraclesBytes) {
  for (const Format id : {Format::kF16, Format::kBF16, Format::kQ8_0, Format::kQ4_0, Format::kQ4_1, Format::kQ5_0,
                          Format::kQ5_1, Format::kMXFP4}) {
    const WeightFormat& format = weight_format(id);
    const std::string bytes = fixture(format, "quantize");
    const size_t num_blocks = num_blocks_in(bytes, format);
    const size_t count = num_blocks * static_cast<size_t>(format.block_elements);
    const std::vector<float> in = floats_at(bytes, 0, count);
    const auto block_bytes = static_cast<size_t>(format.block_bytes);
    std::vector<std::byte> found(num_blocks * block_bytes);
    format.quantize(in.data(), found.data(), static_cast<int64_t>(count));
    for (size_t b = 0; b < num_blocks; ++b) {
      const char* expected = bytes.data() + count * sizeof(float) + b * block_bytes;
      ASSERT_EQ(std::memcmp(found.data() + b * block_bytes, expected, block_bytes), 0) << format.name << " block " << b;
    }
  }
}

// Root mean square error of normally distributed weights relative to their own size. The bound is the least error that
// so few bits allow, plus a few percent for other seeds.
TEST(Format, RoundTripErrorIsWithinTheBoundOfTheBits) {
  const std::map<Format, double> bounds = {
      {Format::kF32, 0},         {Format::kF16, 0.0003},     {Format::kBF16, 0.0025},   {Format::kQ8_0, 0.0056},
      {Format::kQ4_0, 0.090},    {Format::kQ4_1, 0.082},     {Format::kQ5_0, 0.044},    {Format::kQ5_1, 0.040},
      {Format::kQ2_K, 0.270},    {Format::kQ3_K, 0.150},     {Format::kQ4_K, 0.072},    {Format::kQ5_K, 0.036},
      {Format::kQ6_K, 0.0175},   {Format::kIQ3_S, 0.138},    {Format::kIQ4_NL, 0.075},  {Format::kIQ4_XS, 0.076},
      {Format::kMXFP4, 0.13},    {Format::kNVFP4, 0.108},    {Format::kF4_G16, 0.099},  {Format::kI4_G32, 0.082},
      {Format::kI4_G128, 0.105}, {Format::kI8_G128, 0.0066}, {Format::kF8_G128, 0.027}, {Format::kS8_G64, 0.280},
  };
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> in(256 * 64);
  for (float& value : in) value = normal(random);
  for (const Format id : kWeights) {
    const double error = relative_error(in, round_trip(weight_format(id), in));
    RecordProperty(weight_format(id).name, std::to_string(error));
    ASSERT_TRUE(bounds.contains(id)) << weight_format(id).name << " has the error " << error;
    EXPECT_LE(error, bounds.at(id)) << weight_format(id).name;
  }
}

TEST(Format, IntegerGroupsDecodeToTheirFormula) {
  BlockI4<128> block = {.d = f32_to_f16(0.5f), .zero = 16, .unused = 0, .q = {}};
  block.q[16 * 2 + 5] = 0x9c;
  float out[128];
  weight_format(Format::kI4_G128).dequantize(reinterpret_cast<const std::byte*>(&block), out, 128);
  EXPECT_EQ(out[0], -8.0f);
  EXPECT_EQ(out[64 + 5], 0.5f * (12 - 16));
  EXPECT_EQ(out[64 + 16 + 5], 0.5f * (9 - 16));
}

// Values that fit stay in their places, and of others the largest magnitudes stay.
TEST(Format, SparseBlocksKeepTheLargestOfEach64) {
  std::vector<float> in(64, 0.0f);
  for (size_t i = 0; i < 32; ++i) in[i / 16 * 32 + i % 16 + 7] = 0.5f * static_cast<float>(i % 2 == 0 ? i - 127.0 : i);
  in[7] = -63.5f;
  EXPECT_EQ(round_trip(weight_format(Format::kS8_G64), in), in);
  for (size_t i = 0; i < 64; ++i) in[i] = static_cast<float>((i * 37 + 5) % 64) + 64;
  for (size_t i = 0; const float x : round_trip(weight_format(Format::kS8_G64), in)) {
    EXPECT_EQ(x != 0, in[i] >= 96) << i;
    EXPECT_NEAR(x, x == 0 ? 0 : in[i], 0.6) << i;
    ++i;
  }
}

// Bits beyond the codes that there is room for do not count.
TEST(Format, SparseBlocksReadNoMoreCodesThanThereAre) {
  BlockS8 block = {.d = f32_to_f16(2), .kept = {0xffff, 0xffff, 0xffff, 0xffff}, .q = {}};
  std::memset(block.q, 3, sizeof block.q);
  float out[64];
  weight_format(Format::kS8_G64).dequantize(reinterpret_cast<const std::byte*>(&block), out, 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(out[i], i < 32 ? 6.0f : 0.0f) << i;
}

// The values of the OCP 8-bit floating point specification, and of every code back to itself.
TEST(Float8, E4M3) {
  EXPECT_EQ(e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(e4m3_to_f32(0x81), -0x1p-9f);
  EXPECT_EQ(e4m3_to_f32(0x07), 0.875f * 0x1p-6f);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0xff)));
  for (int code = 0; code < 256; ++code) {
    const auto bits = static_cast<uint8_t>(code);
    EXPECT_EQ(f32_to_e4m3(e4m3_to_f32(bits)), bits);
    if ((code & 0x7f) >= 0x7e) continue;
    const float low = e4m3_to_f32(bits);
    const float high = e4m3_to_f32(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(f32_to_e4m3(middle), code + (code & 1)) << code;
    EXPECT_EQ(f32_to_e4m3(std::nextafter(middle, low)), code) << code;
    EXPECT_EQ(f32_to_e4m3(std::nextafter(middle, high)), code + 1) << code;
  }
  EXPECT_EQ(f32_to_e4m3(1e9f), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
}

TEST(Float8, HalvesOfE8M0) {
  EXPECT_EQ(e8m0_half_to_f32(127), 0.5f);
  EXPECT_EQ(e8m0_half_to_f32(0), 0x1p-128f);
  EXPECT_EQ(e8m0_half_to_f32(1), 0x1p-127f);
  EXPECT_EQ(e8m0_half_to_f32(254), 0x1p126f);
  EXPECT_TRUE(std::isnan(e8m0_half_to_f32(255)));
}

TEST(Format, ExtremeInputsStayFiniteAndClose) {
  std::vector<std::vector<float>> inputs;
  for (const float value : {0.0f, -0.0f, 1.0f, -1.0f, 1e-30f, -1e-30f, 1e-6f, 60000.0f, -60000.0f}) {
    inputs.emplace_back(256, value);
  }
  std::vector<float> spike(256, 0.0f);
  spike[17] = -3;
  inputs.push_back(spike);
  std::vector<float> mixed(256);
  for (size_t i = 0; i < 256; ++i) mixed[i] = (i % 2 == 0 ? 1e-20f : 30000.0f);
  inputs.push_back(mixed);
  std::vector<float> positive(256);
  for (size_t i = 0; i < 256; ++i) positive[i] = 100 + static_cast<float>(i % 7);
  inputs.push_back(positive);
  for (const Format id : kWeights) {
    for (auto in : inputs) {
      const float most = id == Format::kNVFP4 ? 2688 : 65504;
      for (float& value : in) value = std::clamp(value, -most, most);
      for (size_t i = 0; id == Format::kS8_G64 && i < in.size(); i += 2) in[i] = 0;  // it has room for half of them
      const std::vector<float> out = round_trip(weight_format(id), in);
      const float largest = *std::max_element(in.begin(), in.end());
      const float smallest = *std::min_element(in.begin(), in.end());
      const float reach = std::max({std::abs(largest), std::abs(smallest), 1e-4f});
      for (size_t i = 0; i < in.size(); ++i) {
        ASSERT_LE(std::abs(out[i] - in[i]), 0.2f * reach) << weight_format(id).name << " " << in[i] << " at " << i;
      }
    }
  }
}

// The result is meaningless, but there must be no undefined behaviour (UBSan checks).
TEST(Format, QuantisingNanAndInfinityIsSafe) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float strange : {std::nanf(""), infinity, -infinity, 3e38f, -3e38f, 1e-45f}) {
    for (const size_t num_strange : {size_t{1}, size_t{2}, size_t{256}}) {
      std::vector<float> in(256, 0.25f);
      for (size_t i = 0; i < num_strange; ++i) in[i] = i % 2 == 0 ? strange : -strange;
      for (const Format id : kWeights) EXPECT_EQ(round_trip(weight_format(id), in).size(), in.size());
    }
  }
}

// What the system was told of the mapping that holds an address: "rd wr mr mw me ac hg"; empty when it does not say.
std::string mapping_flags(const std::byte* address) {
  std::ifstream maps("/proc/self/smaps");
  bool is_inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t first = 0, last = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2) {
      const auto at = reinterpret_cast<uintptr_t>(address);
      is_inside = first <= at && at < last;
    }
    if (is_inside && line.starts_with("VmFlags:")) return line.substr(8) + " ";
  }
  return "";
}

TEST(AlignedBuffer, AsksForThePagesThatAreWanted) {
  constexpr size_t kSize = 3 * AlignedBuffer::kHugePageBytes;
  const AlignedBuffer huge(kSize), small(kSize, PageSize::kSmall);
  const std::string huge_flags = mapping_flags(huge.data()), small_flags = mapping_flags(small.data());
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage") || huge_flags.empty()) {
    GTEST_SKIP() << "this system has no huge pages, or does not say";
  }
  EXPECT_NE(huge_flags.find(" hg "), std::string::npos) << huge_flags;
  EXPECT_NE(small_flags.find(" nh "), std::string::npos) << small_flags;
}

TEST(AlignedBuffer, KeepsItsContentsWhenSpreadOverNodes) {
  AlignedBuffer buffer(2 * AlignedBuffer::kHugePageBytes);
  buffer.data()[5] = std::byte{7};
  buffer.spread_over_nodes();
  buffer.data()[AlignedBuffer::kHugePageBytes] = std::byte{8};
  EXPECT_EQ(buffer.data()[5], std::byte{7});
  EXPECT_EQ(buffer.data()[AlignedBuffer::kHugePageBytes], std::byte{8});
}

TEST(AlignedBuffer, IsAlignedZeroedAndMovable) {
  for (const size_t size : {size_t{1}, size_t{64}, size_t{4097}, AlignedBuffer::kHugePageBytes, size_t{5} << 20}) {
    AlignedBuffer buffer(size);
    ASSERT_EQ(buffer.size_bytes(), size);
    const size_t alignment = size >= AlignedBuffer::kHugePageBytes ? AlignedBuffer::kHugePageBytes : 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % alignment, 0u);
    EXPECT_EQ(buffer.data()[0], std::byte{0});
    EXPECT_EQ(buffer.data()[size - 1], std::byte{0});
    buffer.data()[size - 1] = std::byte{9};
    AlignedBuffer moved = std::move(buffer);
    EXPECT_EQ(moved.data()[size - 1], std::byte{9});
    moved.release_pages();
    EXPECT_EQ(moved.data()[size - 1], std::byte{0});
    moved = AlignedBuffer();
  }
  EXPECT_TRUE(AlignedBuffer().empty());
  EXPECT_EQ(AlignedBuffer(10).as<float>().size(), 2u);
  EXPECT_THROW(AlignedBuffer(std::numeric_limits<size_t>::max()), std::runtime_error);
}

}  // namespace
}  // namespace quire
