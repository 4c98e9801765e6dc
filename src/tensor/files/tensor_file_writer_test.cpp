#include "tensor/files/tensor_file_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "tensor/files/gguf.h"
#include "tensor/files/gguf_writer.h"
#include "tensor/files/safetensors.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Start = TensorFileWriter::Start;

class TensorFiles : public testing::Test {
 protected:
  TensorFiles() {
    std::string pattern = (fs::temp_directory_path() / "quire-writer-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TensorFiles() override { fs::remove_all(folder_); }

  fs::path folder_;
};

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string text_of(const TensorView& view) { return {reinterpret_cast<const char*>(view.data), view.size_bytes}; }

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<DeclaredTensor> three_tensors() {
  return {{"small", Format::kU8, {3}}, {"wide", Format::kF64, {2}}, {"last \"quoted\" ü", Format::kI32, {1, 2}}};
}

void write_three(TensorFileWriter& out) {
  out.write("last \"quoted\" ü", bytes_of("abcdefgh"));
  out.write("small", bytes_of("xyz"));
  out.write("wide", bytes_of("89"), 8);
  out.write("wide", bytes_of("01234567"));
}

void expect_three(const TensorMap& tensors) {
  EXPECT_EQ(text_of(tensors.at("small")), "xyz");
  EXPECT_EQ(text_of(tensors.at("wide")), std::string("0123456789") + std::string(6, '\0'));
  EXPECT_EQ(text_of(tensors.at("last \"quoted\" ü")), "abcdefgh");
}

TEST_F(TensorFiles, AreReadBackInWhateverOrderTheyWereWritten) {
  TensorFileWriter out(folder_, safetensors_layout(three_tensors()));
  write_three(out);
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors")) << "before it is whole";
  out.finish();
  const auto file = SafetensorsFile::open(folder_ / "model.safetensors");
  expect_three(file.tensors());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const auto& [name, view] : file.tensors()) {
    const auto offset = static_cast<size_t>(view.data - file.file().bytes().data());
    EXPECT_EQ(offset % static_cast<size_t>(weight_format(view.format).block_bytes), 0u) << name;
  }
}

TEST_F(TensorFiles, AboveASizeAreShardsWithAnIndex) {
  TensorFileWriter out(folder_, safetensors_layout(three_tensors(), {.largest_file = 19}));
  write_three(out);
  out.finish();
  EXPECT_TRUE(fs::exists(folder_ / "model-00002-of-00002.safetensors"));
  const auto directory = SafetensorsDirectory::open(folder_);
  EXPECT_EQ(directory.files().size(), 2u);
  expect_three(directory.tensors());
  const json::value index = read_json_file(folder_ / "model.safetensors.index.json", 1 << 16);
  EXPECT_EQ(index.at("metadata").at("total_size").as_int64(), 27);
}

TEST_F(TensorFiles, AreTakenUpWhereTheyWereLeft) {
  const auto layout = safetensors_layout(three_tensors());
  {
    TensorFileWriter out(folder_, layout);
    out.write("small", bytes_of("xyz"));
    out.sync();
    for (const Start start : {Start::kContinue, Start::kNew}) {
      EXPECT_NE(error_of([&] { TensorFileWriter(folder_, layout, start); }).find("another process"), std::string::npos);
    }
  }
  {
    TensorFileWriter out(folder_, layout, Start::kContinue);
    out.write("wide", bytes_of("0123456789"));
    out.write("last \"quoted\" ü", bytes_of("abcdefgh"));
    out.finish();
  }
  expect_three(SafetensorsFile::open(folder_ / "model.safetensors").tensors());
  // As after a stop between the names and what the caller does last.
  TensorFileWriter(folder_, layout, Start::kContinue).finish();
  expect_three(SafetensorsFile::open(folder_ / "model.safetensors").tensors());
  fs::remove(folder_ / "model.safetensors");
  EXPECT_NE(error_of([&] { TensorFileWriter(folder_, layout, Start::kContinue); }).find("is missing"),
            std::string::npos);
}

TEST_F(TensorFiles, OfOtherTensorsAreNotTakenUp) {
  { TensorFileWriter begun(folder_, safetensors_layout(three_tensors())); }
  auto others = three_tensors();
  others[0].name = "smell";
  EXPECT_NE(error_of([&] {
              TensorFileWriter(folder_, safetensors_layout(others), Start::kContinue);
            }).find("begun with other tensors"),
            std::string::npos);
}

TEST_F(TensorFiles, WithoutRoomAreRefusedByNameAndSize) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const std::vector<DeclaredTensor> tensors = {{"small", Format::kU8, {8}}, {"large", Format::kU8, {1 << 20}}};
  const rlimit small = {.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error =
      error_of([&] { TensorFileWriter(folder_, safetensors_layout(tensors, {.largest_file = 4096})); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_NE(error.find("00002.safetensors: File too large; the file needs 1048"), std::string::npos) << error;
  EXPECT_TRUE(fs::is_empty(folder_)) << "the first file, too, is gone";
}

TEST_F(TensorFiles, ThatCannotBeDeclaredAreRefused) {
  const auto refusal = [](std::vector<DeclaredTensor> tensors) {
    return error_of([&] { safetensors_layout(tensors); });
  };
  EXPECT_NE(refusal({{"w", Format::kQ4_0, {1, 32}}}).find("no type for Q4_0"), std::string::npos);
  EXPECT_NE(refusal({{"w", Format::kF32, {1}}, {"w", Format::kF32, {1}}}).find("declared twice"), std::string::npos);
  EXPECT_NE(refusal({{"w", Format::kF32, {-1}}}).find("cannot be written"), std::string::npos);
}

TEST_F(TensorFiles, OfGgufAreThoseThatTheWriterMakesAtOnce) {
  const std::vector<float> values(64, 0.5f);
  GgufWriter whole;
  GgufWriter parts;
  for (GgufWriter* writer : {&whole, &parts}) writer->add_string("general.architecture", "none");
  whole.add_tensor("a", Format::kF32, std::vector<int64_t>{2, 32}, values);
  whole.add_tensor("b", Format::kQ8_0, std::vector<int64_t>{32}, std::span(values).first(32));
  parts.add_tensor("a", Format::kF32, std::vector<int64_t>{2, 32}, GgufWriter::Fill());
  parts.add_tensor("b", Format::kQ8_0, std::vector<int64_t>{32}, GgufWriter::Fill());
  const std::string image = whole.to_bytes();
  const auto read = GgufFile::from_bytes(bytes_of(image), "image");
  {
    TensorFileWriter out(folder_, parts.layout("model.gguf"));
    out.write("b", bytes_of(text_of(read.get_tensor("b"))));
    out.write("a", bytes_of(text_of(read.get_tensor("a"))));
    out.finish();
  }
  const MappedFile written = MappedFile::open(folder_ / "model.gguf");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(written.bytes().data()), written.bytes().size()), image);
}

}  // namespace
}  // namespace quire
