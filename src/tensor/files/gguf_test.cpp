#include "tensor/files/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/aligned_buffer.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// The parts of a GGUF file, for files that no writer would make.
template <typename T>
std::string bits(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string u32(uint32_t value) { return bits(value); }
std::string u64(uint64_t value) { return bits(value); }
std::string text(std::string_view value) { return u64(value.size()) + std::string(value); }
std::string header(uint64_t num_tensors, uint64_t num_keys, uint32_t version = 3) {
  return "GGUF" + u32(version) + u64(num_tensors) + u64(num_keys);
}
std::string tensor(std::string_view tensor_name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
  std::string out = text(tensor_name) + u32(static_cast<uint32_t>(ne.size()));
  for (const uint64_t dimension : ne) out += u64(dimension);
  return out + u32(type) + u64(offset);
}
std::string with_data(std::string file, size_t data_bytes) {
  file.resize((file.size() + 31) / 32 * 32);
  return file + std::string(data_bytes, '\1');
}

// An aligned copy of the bytes, opened; keeps both.
struct Opened {
  explicit Opened(const std::string& bytes)
      : memory(bytes.size() + 1), file(GgufFile::from_bytes(copy(bytes), "test.gguf")) {}
  std::span<const std::byte> copy(const std::string& bytes) {
    std::memcpy(memory.data(), bytes.data(), bytes.size());
    return {memory.data(), bytes.size()};
  }
  AlignedBuffer memory;
  GgufFile file;
};

void expect_error(const std::function<void()>& action, ErrorCode code, std::string_view part) {
  try {
    action();
    ADD_FAILURE() << "no error; expected \"" << part << '"';
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

void expect_refused(const std::string& bytes, ErrorCode code, std::string_view part) {
  expect_error([&] { Opened opened(bytes); }, code, part);
}

fs::path fresh_folder() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder =
      fs::path(testing::TempDir()) / (std::string("quire_") + test->test_suite_name() + test->name());
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i)) / 8;
  return values;
}

TEST(Gguf, ReadsBackWhatTheWriterWrote) {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  writer.add_uint32("llama.block_count", 2);
  writer.add_int32("minus", -5);
  writer.add_uint64("large", uint64_t{1} << 40);
  writer.add_float("llama.eps", 0.5f);
  writer.add_bool("flag", true);
  writer.add_strings("tokens", std::vector<std::string>{"a", "", "long one"});
  writer.add_floats("scores", std::vector<float>{1.5f, -2.0f});
  writer.add_ints("types", std::vector<int32_t>{3, -1, 7});
  const std::vector<float> matrix = ramp(3 * 64);
  const std::vector<float> vector = ramp(5);
  writer.add_tensor("matrix", Format::kQ8_0, std::vector<int64_t>{3, 64}, matrix);
  writer.add_tensor("vector", Format::kF32, std::vector<int64_t>{5}, vector);
  const fs::path path = fresh_folder() / "x.gguf";
  writer.write(path);

  const GgufFile file = GgufFile::open(path);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.size_bytes(), fs::file_size(path));
  EXPECT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_int("llama.block_count"), 2);
  EXPECT_EQ(file.get_int("minus"), -5);
  EXPECT_EQ(file.get_int("large"), int64_t{1} << 40);
  EXPECT_EQ(file.get_double("llama.eps"), 0.5);
  EXPECT_EQ(file.get_double("minus"), -5.0);
  EXPECT_TRUE(file.get_bool("flag"));
  EXPECT_EQ(file.get_strings("tokens"), (std::vector<std::string_view>{"a", "", "long one"}));
  EXPECT_EQ(file.get_floats("scores"), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_EQ(file.get_ints("types"), (std::vector<int64_t>{3, -1, 7}));
  EXPECT_EQ(file.find_int("absent", 9), 9);
  EXPECT_EQ(file.find_string("absent", "none"), "none");

  const TensorView& view = file.get_tensor("matrix");
  EXPECT_EQ(view.rows(), 3);
  EXPECT_EQ(view.cols(), 64);
  EXPECT_EQ(view.row_bytes(), 68u);
  EXPECT_EQ(view.row(1) - view.data, 68);
  std::vector<float> out(matrix.size());
  dequantize(view, out);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], matrix[i], 0.001f);
  std::vector<float> exact(5);
  dequantize(file.get_tensor("vector"), exact);
  EXPECT_EQ(exact, vector);
  EXPECT_EQ(file.find_tensor("other"), nullptr);
  file.release_pages();
  EXPECT_EQ(file.get_int("minus"), -5);
}

TEST(Gguf, LookupsNameFileAndKey) {
  GgufWriter writer;
  writer.add_string("name", "x");
  writer.add_uint64("huge", ~uint64_t{0});
  writer.add_strings("list", std::vector<std::string>{"a"});
  const Opened opened(writer.to_bytes());
  const GgufFile& file = opened.file;
  expect_error([&] { file.get_int("gone"); }, ErrorCode::kCorrupt, "test.gguf: metadata \"gone\" is missing");
  expect_error([&] { file.find_int("name", 1); }, ErrorCode::kCorrupt, "should be an integer, found the string \"x\"");
  expect_error([&] { file.get_int("huge"); }, ErrorCode::kCorrupt, "should be an integer");
  expect_error([&] { file.get_string("list"); }, ErrorCode::kCorrupt, "found an array of 1 string");
  expect_error([&] { file.get_ints("list"); }, ErrorCode::kCorrupt, "should be an array of integers");
  expect_error([&] { file.get_floats("name"); }, ErrorCode::kCorrupt, "should be an array of numbers");
  expect_error([&] { file.get_strings("huge"); }, ErrorCode::kCorrupt, "should be an array of strings");
  expect_error([&] { file.get_bool("name"); }, ErrorCode::kCorrupt, "true or false");
  expect_error([&] { file.get_tensor("w"); }, ErrorCode::kCorrupt, "tensor \"w\" is missing");
}

TEST(Gguf, WriterRefusesInvalidFiles) {
  GgufWriter writer;
  writer.add_bool("a", true);
  const auto invalid = ErrorCode::kInvalidArgument;
  const auto fill = [](std::span<std::byte>) {};
  expect_error([&] { writer.add_bool("a", false); }, invalid, "added twice");
  expect_error(
      [&] {
        writer.add_tensor("t", Format::kQ4_K, std::vector<int64_t>{2, 128}, fill);
      },
      invalid, "blocks of 256");
  expect_error([&] { writer.add_tensor("t", Format::kF32, std::vector<int64_t>{0}, fill); }, invalid, "[0]");
  expect_error([&] { writer.add_tensor("t", Format::kU8, std::vector<int64_t>{1}, fill); }, invalid, "no type for U8");
  expect_error([&] { writer.write("/nonexistent/folder/x.gguf"); }, ErrorCode::kIo, "cannot write");
}

TEST(Gguf, VersionsAndForeignFiles) {
  EXPECT_EQ(Opened(header(0, 0, 2)).file.version(), 2u);
  expect_refused(header(0, 0, 1), ErrorCode::kUnsupported, "version 1");
  expect_refused(header(0, 0, 4), ErrorCode::kUnsupported, "version 4; this build reads 2 and 3");
  expect_refused(header(0, 0, 0x03000000), ErrorCode::kUnsupported, "big-endian");
  expect_refused("", ErrorCode::kCorrupt, "is empty");
  expect_refused("GG", ErrorCode::kUnsupported, "expected a GGUF file");
  expect_refused("GGUF", ErrorCode::kCorrupt,
                 "the version at byte 4 takes 4 bytes, but the file ends 4 bytes too early");
  expect_refused("PK\x03\x04rest", ErrorCode::kUnsupported, "ZIP archive");
  expect_refused("version https://git-lfs.github.com/spec/v1\n", ErrorCode::kUnsupported, "git lfs pull");
  expect_refused("<!DOCTYPE html>", ErrorCode::kUnsupported, "web page");
  expect_refused(u64(2) + "{}", ErrorCode::kUnsupported, "safetensors");
  expect_refused(std::string(100, '\0'), ErrorCode::kUnsupported, "zeros");
  expect_error([] { GgufFile::open("/"); }, ErrorCode::kInvalidArgument, "is a directory");
  expect_error([] { GgufFile::open("/no/such/file"); }, ErrorCode::kNotFound, "/no/such/file");
}

TEST(Gguf, RefusesWrongMetadata) {
  const auto corrupt = ErrorCode::kCorrupt;
  expect_refused(header(uint64_t{1} << 63, 0), ErrorCode::kLimit, "declares 9223372036854775808 tensors");
  expect_refused(header(0, 2'000'000), ErrorCode::kLimit, "at most");
  expect_refused(header(0, 5), corrupt, "truncated");
  expect_refused(header(0, 1) + u64(~uint64_t{0}) + "k", corrupt, "length of 18446744073709551615");
  expect_refused(header(0, 1) + text("") + u32(0) + "x", corrupt, "length of 0");
  expect_refused(header(0, 1) + text("k") + u32(13), corrupt, "unknown type 13");
  expect_refused(header(0, 1) + text("k") + u32(8) + u64(1000) + "abc", corrupt, "ends 997 bytes too early");
  expect_refused(header(0, 1) + text("k") + u32(9) + u32(9) + u64(1), ErrorCode::kUnsupported, "array of arrays");
  expect_refused(header(0, 1) + text("k") + u32(9) + u32(4) + u64(uint64_t{1} << 62), corrupt,
                 "more than a file can hold");
  expect_refused(header(0, 1) + text("k") + u32(9) + u32(4) + u64(1 << 30), corrupt, "too early");
  expect_refused(header(0, 1) + text("k") + u32(9) + u32(8) + u64(~uint64_t{0}) + text("a"), corrupt, "too early");
  expect_refused(header(0, 1) + text("k") + u32(7) + "\2", corrupt, "bool 2");
  expect_refused(header(0, 2) + text("k") + u32(7) + "\1" + text("k") + u32(7) + "\1", corrupt, "\"k\" occurs twice");
  for (const uint32_t alignment : {0u, 1u, 4u, 13u, 48u, 0x80000000u}) {
    expect_refused(header(0, 1) + text("general.alignment") + u32(4) + u32(alignment), corrupt, "power of two");
  }
  expect_refused(header(0, 1) + text("general.alignment") + u32(8) + text("32"), corrupt,
                 "general.alignment is string");
}

TEST(Gguf, RefusesWrongTensors) {
  const auto corrupt = ErrorCode::kCorrupt;
  const uint64_t half = uint64_t{1} << 32;
  expect_refused(header(1, 0) + tensor("w", {}, 0, 0), corrupt, "0 dimensions");
  expect_refused(header(1, 0) + tensor("w", {1, 1, 1, 1, 1}, 0, 0), corrupt, "5 dimensions");
  expect_refused(header(1, 0) + tensor("w", {0, 4}, 0, 0), corrupt, "impossible shape [4, 0]");
  expect_refused(header(1, 0) + tensor("w", {~uint64_t{0}}, 0, 0), corrupt, "impossible shape [-1]");
  expect_refused(header(1, 0) + tensor("w", {half, half}, 0, 0), corrupt, "impossible shape");
  expect_refused(header(1, 0) + tensor("w", {half, half >> 2}, 0, 0), corrupt, "larger than any file");
  expect_refused(header(1, 0) + tensor("w", {33}, 8, 0), corrupt, "Q8_0 needs a multiple of 32");
  expect_refused(header(1, 0) + tensor("w", {256}, 16, 0), ErrorCode::kUnsupported, "IQ2_XXS; this build reads F32");
  expect_refused(header(1, 0) + tensor("w", {256}, 999, 0), ErrorCode::kUnsupported, "number 999");
  expect_refused(with_data(header(1, 0) + tensor("w", {8}, 0, 8), 64), corrupt, "not a multiple of the alignment 32");
  expect_refused(with_data(header(2, 0) + tensor("w", {8}, 0, 0) + tensor("w", {8}, 0, 32), 64), corrupt,
                 "occurs twice");
  expect_refused(with_data(header(2, 0) + tensor("v", {16}, 0, 0) + tensor("w", {8}, 0, 32), 64), corrupt,
                 "\"v\" and \"w\" overlap");
  expect_refused(with_data(header(2, 0) + tensor("v", {8}, 0, 32) + tensor("w", {8}, 0, 32), 64), corrupt, "overlap");
  expect_refused(with_data(header(1, 0) + tensor("w", {16}, 0, 0), 40), corrupt, "24 bytes are missing");
  expect_refused(header(1, 0) + tensor("w", {16}, 0, 0), corrupt, "are missing");
  expect_refused(with_data(header(1, 0) + tensor("w", {16}, 0, ~uint64_t{31}), 64), corrupt, "missing");
  const Opened whole(with_data(header(2, 0) + tensor("v", {8}, 0, 32) + tensor("w", {8, 1}, 0, 0), 64));
  EXPECT_EQ(whole.file.get_tensor("v").data - whole.file.get_tensor("w").data, 32);
}

TEST(Gguf, SplitSets) {
  const fs::path folder = fresh_folder();
  const std::vector<float> values = ramp(8);
  const auto write_part = [&](uint32_t part, uint32_t count, const std::string& tensor_name, int32_t total) {
    GgufWriter writer;
    writer.add_uint32("split.no", part);
    writer.add_uint32("split.count", count);
    writer.add_int32("split.tensors.count", total);
    writer.add_tensor(tensor_name, Format::kF32, std::vector<int64_t>{8}, values);
    writer.write(folder / fmt::format("m-{:05}-of-{:05}.gguf", part + 1, count));
  };
  const fs::path first = folder / "m-00001-of-00002.gguf";
  write_part(0, 2, "a", 2);
  expect_error([&] { GgufFile::open(first); }, ErrorCode::kNotFound,
               "part 2 of 2 is missing; expected m-00002-of-00002.gguf");
  write_part(1, 2, "b", 2);
  const GgufFile file = GgufFile::open(first);
  EXPECT_EQ(file.num_shards(), 2);
  EXPECT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.get_tensor("b").size_bytes, 32u);
  expect_error([&] { GgufFile::open(folder / "m-00002-of-00002.gguf"); }, ErrorCode::kInvalidArgument,
               "open the first part, m-00001-of-00002.gguf");
  write_part(1, 2, "a", 2);
  expect_error([&] { GgufFile::open(first); }, ErrorCode::kCorrupt, "also in an earlier part");
  write_part(0, 2, "c", 3);
  expect_error([&] { GgufFile::open(first); }, ErrorCode::kCorrupt, "hold 2 tensors together");
  fs::copy_file(first, folder / "m-00002-of-00002.gguf", fs::copy_options::overwrite_existing);
  expect_error([&] { GgufFile::open(first); }, ErrorCode::kCorrupt, "expected part 2 of 2, its metadata says 1 of 2");
  fs::copy_file(first, folder / "other.gguf");
  expect_error([&] { GgufFile::open(folder / "other.gguf"); }, ErrorCode::kCorrupt, "is not named like it");
}

std::string test_data() {
  const char* folder = std::getenv("QUIRE_TEST_DATA");
  return folder == nullptr ? "" : folder;
}

TEST(Gguf, RealFiles) {
  if (test_data().empty()) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const GgufFile model = GgufFile::open(test_data() + "/models/stories260k/stories260K.gguf");
  EXPECT_EQ(model.get_string("general.architecture"), "llama");
  EXPECT_EQ(model.get_strings("tokenizer.ggml.tokens").size(), 512u);
  EXPECT_EQ(model.get_floats("tokenizer.ggml.scores").size(), 512u);
  EXPECT_EQ(model.get_tensor("token_embd.weight").rows(), 512);
  EXPECT_EQ(model.get_tensor("token_embd.weight").cols(), 64);
  const GgufFile vocabulary = GgufFile::open(test_data() + "/tokenizers/ggml-vocab-gpt-2.gguf");
  EXPECT_EQ(vocabulary.get_strings("tokenizer.ggml.tokens").size(), 50257u);
  int num_files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(test_data())) {
    if (entry.path().extension() != ".gguf") continue;
    EXPECT_NO_THROW(GgufFile::open(entry.path())) << entry.path();
    ++num_files;
  }
  EXPECT_GE(num_files, 12);
}

// A model that llama.cpp quantised, beside the F16 file it was made from: our codes must not be worse.
TEST(Gguf, QuantisesNoWorseThanLlamaCpp) {
  if (test_data().empty()) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const GgufFile original = GgufFile::open(test_data() + "/models/tiny-random/llama-dense.gguf");
  int num_compared = 0;
  for (const char* name : {"llama-dense-Q4_K_M.gguf", "llama-dense-Q8_0.gguf"}) {
    const GgufFile quantised = GgufFile::open(test_data() + "/models/tiny-random/" + name);
    for (const auto& [tensor_name, theirs] : quantised.tensors()) {
      const TensorView& source = original.get_tensor(tensor_name);
      if (theirs.format == source.format) continue;
      const auto count = static_cast<size_t>(source.num_elements());
      std::vector<float> exact(count), found(count);
      dequantize(source, exact);
      const auto error = [&] {
        double sum = 0;
        for (size_t i = 0; i < count; ++i) sum += std::pow(static_cast<double>(exact[i]) - found[i], 2);
        return std::sqrt(sum);
      };
      dequantize(theirs, found);
      const double their_error = error();
      const WeightFormat& format = weight_format(theirs.format);
      std::vector<std::byte> blocks(theirs.size_bytes);
      format.quantize(exact.data(), blocks.data(), source.num_elements());
      format.dequantize(blocks.data(), found.data(), source.num_elements());
      EXPECT_LE(error(), their_error * 1.0001) << tensor_name << " " << format.name;
      RecordProperty(std::string(format.name) + "_" + std::to_string(num_compared),
                     std::to_string(error() / their_error));
      ++num_compared;
    }
  }
  EXPECT_GT(num_compared, 20);
}

}  // namespace
}  // namespace quire
