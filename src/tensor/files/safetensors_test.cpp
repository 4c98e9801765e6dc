#include "tensor/files/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/mapped_file.h"
#include "tensor/files/gguf.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

std::string u64(uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

std::string image(const std::string& header, size_t data_bytes) {
  return u64(header.size()) + header + std::string(data_bytes, '\1');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

SafetensorsFile open_bytes(const std::string& bytes) {
  return SafetensorsFile::from_bytes(std::as_bytes(std::span(bytes)), "test.safetensors");
}

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
  expect_error([&] { open_bytes(bytes); }, code, part);
}

fs::path fresh_folder() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder =
      fs::path(testing::TempDir()) / (std::string("quire_") + test->test_suite_name() + test->name());
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const std::string bytes =
      image("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\"}," + entry("b", "F16", "[2,3]", "[4,16]") + "," +
                entry("a", "F32", "[]", "[0,4]") + "," + entry("none", "U8", "[0,7]", "[4,4]") + "}  ",
            12 + 4);
  const SafetensorsFile file = open_bytes(bytes);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("note"), "\u00e9");
  const TensorView& b = file.tensors().at("b");
  EXPECT_EQ(b.format, Format::kF16);
  EXPECT_EQ(b.rows(), 2);
  EXPECT_EQ(b.cols(), 3);
  EXPECT_EQ(reinterpret_cast<const char*>(b.data), bytes.data() + bytes.size() - 12);
  EXPECT_EQ(file.tensors().at("a").num_elements(), 1);
  EXPECT_EQ(file.tensors().at("none").num_elements(), 0);
  EXPECT_TRUE(open_bytes(image(R"({"__metadata__":null})", 0)).metadata().empty());
}

TEST(Safetensors, ForeignAndTruncatedFiles) {
  expect_refused("", ErrorCode::kCorrupt, "is empty");
  expect_refused("abc", ErrorCode::kUnsupported, "has only 3 bytes");
  expect_refused(std::string("GGUF\3\0\0\0............", 20), ErrorCode::kUnsupported, "is a GGUF file");
  expect_refused("version https://git-lfs.github.com/spec/v1\n", ErrorCode::kUnsupported, "git lfs pull");
  expect_refused("PK\x03\x04..........", ErrorCode::kUnsupported, "ZIP");
  expect_refused(u64(100) + "{}", ErrorCode::kCorrupt, "ends 98 bytes too early");
  expect_refused(u64(uint64_t{1} << 40) + "{}", ErrorCode::kLimit, "at most 104857600");
  expect_refused(u64(~uint64_t{0}) + "{}", ErrorCode::kLimit, "at most");
  expect_refused(u64(0) + "{}", ErrorCode::kCorrupt, "not valid JSON");
  expect_refused(image("{" + entry("a", "F32", "[4]", "[0,16]") + "}", 10), ErrorCode::kCorrupt, "6 bytes are missing");
  expect_error([] { SafetensorsFile::open("/"); }, ErrorCode::kInvalidArgument, "is a directory");
}

TEST(Safetensors, RefusesWrongHeaders) {
  const auto corrupt = ErrorCode::kCorrupt;
  const std::string good = entry("a", "U8", "[2]", "[0,2]");
  expect_refused(image("{" + good, 2), corrupt, "not valid JSON");
  expect_refused(image("{" + good + "}x", 2), corrupt, "not valid JSON");
  expect_refused(image("{\"\xff\":{}}", 2), corrupt, "not valid JSON");
  expect_refused(image("{" + good + "," + good + "}", 2), corrupt, "\"a\" occurs twice");
  expect_refused(image("{" + good + ",\"\\u0061\":{}}", 2), corrupt, "\"a\" occurs twice");
  expect_refused(image("{" + good + "}", 3), corrupt, "1 bytes behind the last tensor");
  expect_refused(image("{" + entry("a", "U8", "[1]", "[1,2]") + "}", 2), corrupt, "starts at offset 1, expected 0");
  expect_refused(image("{" + good + "," + entry("b", "U8", "[2]", "[1,3]") + "}", 3), corrupt, "neither overlap");
  expect_refused(image("{" + entry("a", "U8", "[3]", "[0,2]") + "}", 2), corrupt, "[3] of U8 needs 3 bytes");
  expect_refused(image("{" + entry("a", "U8", "[2]", "[2,0]") + "}", 2), corrupt, "data_offsets are 2 to 0");
  expect_refused(image("{" + entry("a", "U8", "[2]", "[0,2,2]") + "}", 2), corrupt, "has 3 data_offsets");
  expect_refused(image("{" + entry("a", "U8", "[2]", "[0]") + "}", 2), corrupt, "has 1 data_offsets");
  expect_refused(image("{" + entry("a", "U8", "[-1]", "[0,2]") + "}", 2), corrupt, "no negative numbers");
  expect_refused(image("{" + entry("a", "U8", "[2.0]", "[0,2]") + "}", 2), corrupt, "found a fraction");
  expect_refused(image("{" + entry("a", "U8", "[9223372036854775808]", "[0,2]") + "}", 2), corrupt, "beyond 2^63");
  expect_refused(image("{" + entry("a", "U8", "[4611686018427387904,3,0]", "[0,0]") + "}", 0), corrupt,
                 "impossibly many");
  expect_refused(image("{" + entry("a", "F64", "[4611686018427387904]", "[0,0]") + "}", 0), corrupt, "impossibly many");
  expect_refused(image("{" + entry("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") + "}", 1), ErrorCode::kLimit,
                 "8 dimensions");
  expect_refused(image("{" + entry("a", "F128", "[2]", "[0,2]") + "}", 2), ErrorCode::kUnsupported,
                 "\"a\" has the dtype \"F128\"; this build reads F32");
  expect_refused(image("{" + entry("a", "Q8_0", "[32]", "[0,34]") + "}", 34), ErrorCode::kUnsupported,
                 "dtype \"Q8_0\"");
  expect_refused(image(R"({"a":{"dtype":"U8","shape":[2]}})", 2), corrupt, "has no \"data_offsets\"");
  expect_refused(image(R"({"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}})", 2), corrupt, "twice");
  expect_refused(image(R"({"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}})", 2), corrupt, "found an array");
  expect_refused(image(R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,2]}})", 2), corrupt, "found an object");
  expect_refused(image(R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,2]}})", 2), corrupt, "found a number");
  expect_refused(image(R"({"a":{"dtype":null,"shape":[2],"data_offsets":[0,2]}})", 2), corrupt, "found null");
  expect_refused(image(R"({"a":7})", 0), corrupt, "found a number");
  expect_refused(image(R"({"a":[1]})", 0), corrupt, "found an array");
  expect_refused(image(R"({"__metadata__":{"k":1}})", 0), corrupt, "only text in __metadata__");
  expect_refused(image(R"({"__metadata__":{"k":"1","k":"2"}})", 0), corrupt, "twice");
  expect_refused(image(R"({"__metadata__":{},"__metadata__":{}})", 0), corrupt, "occurs twice");
  expect_refused(image("{\"" + std::string(70'000, 'n') + "\":{}}", 0), corrupt, "has 70000 bytes");
  std::string crowd;
  for (int i = 0; i < 70'000; ++i) crowd += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
  expect_refused(image("{\"__metadata__\":{" + crowd + "}}", 0), ErrorCode::kLimit, "more than 65536 keys");
  expect_refused(image("{\"a\":" + std::string(100'000, '{'), 0), corrupt, "not valid JSON");
}

TEST(Safetensors, DirectoriesAndShards) {
  const fs::path folder = fresh_folder();
  expect_error([&] { SafetensorsDirectory::open(folder); }, ErrorCode::kNotFound, "holds neither model.safetensors");
  write(folder / "model.safetensors", image("{" + entry("solo", "U8", "[2]", "[0,2]") + "}", 2));
  EXPECT_EQ(SafetensorsDirectory::open(folder).tensors().size(), 1u);
  EXPECT_EQ(SafetensorsDirectory::open(folder / "model.safetensors").get_tensor("solo").size_bytes, 2u);

  const fs::path index = folder / "model.safetensors.index.json";
  write(folder / "s1.safetensors", image("{" + entry("a", "U8", "[2]", "[0,2]") + "}", 2));
  write(folder / "s2.safetensors", image("{" + entry("b", "F32", "[1]", "[0,4]") + "}", 4));
  write(
      index,
      R"({"metadata":{"total_size":6,"list":[{"x":null}]},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  const SafetensorsDirectory both = SafetensorsDirectory::open(folder);
  EXPECT_EQ(both.files().size(), 2u);
  EXPECT_EQ(both.get_tensor("b").format, Format::kF32);
  EXPECT_EQ(both.find_tensor("c"), nullptr);
  EXPECT_EQ(both.size_bytes(), fs::file_size(folder / "s1.safetensors") + fs::file_size(folder / "s2.safetensors"));
  expect_error([&] { both.get_tensor("c"); }, ErrorCode::kCorrupt, "tensor \"c\" is missing");

  write(index, R"({"weight_map":{"a":"s1.safetensors","b":"s1.safetensors"}})");
  expect_error([&] { SafetensorsDirectory::open(folder); }, ErrorCode::kCorrupt,
               "\"b\" is in s1.safetensors, which does not");
  write(index, R"({"weight_map":{"a":"s3.safetensors"}})");
  expect_error([&] { SafetensorsDirectory::open(folder); }, ErrorCode::kNotFound, "needs s3.safetensors");
}

TEST(Safetensors, RefusesWrongIndexes) {
  const auto refused = [](const std::string& text, std::string_view part) {
    expect_error([&] { parse_safetensors_index(text, "index"); }, ErrorCode::kCorrupt, part);
  };
  for (const char* shard : {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "", "x.bin",
                            ".hidden.safetensors", "a\\\\b.safetensors", "a\\u0000.safetensors"}) {
    refused(std::string(R"({"weight_map":{"w":")") + shard + "\"}}", "expected the plain name");
  }
  refused("[]", "found an array");
  refused("7", "found a number");
  refused("{}", "\"weight_map\" is missing");
  refused(R"({"weight_map":7})", "found a number");
  refused(R"({"weight_map":["a"]})", "found an array");
  refused(R"({"weight_map":{"w":7}})", "found a number");
  refused(R"({"weight_map":{"w":{}}})", "found an object");
  refused(R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})", "\"w\" occurs twice");
  refused(R"({"weight_map":{},"weight_map":{}})", "occurs twice");
  refused(std::string(10'000, '['), "found an array");
  refused("{\"a\":" + std::string(10'000, '['), "not valid JSON");
}

std::string unhex(const std::string& text, size_t zero_tail) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes + std::string(zero_tail, '\0');
}

TEST(Safetensors, PublicVectorsAndFiles) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  const std::string folder = std::string(data) + "/malformed/gguf_safetensors_vectors/fixtures/";
  const auto fixture = [&](const char* name, size_t zero_tail = 0) {
    return unhex(read_text_file(folder + name + ".hex", 1 << 20), zero_tail);
  };
  EXPECT_TRUE(open_bytes(fixture("safetensors-header-only")).tensors().empty());
  EXPECT_EQ(open_bytes(fixture("safetensors-two-tensors")).tensors().size(), 2u);
  const std::string fp8 = fixture("safetensors-fp8-te137-canonical-member-units", 589824);
  EXPECT_EQ(open_bytes(fp8).tensors().at("weight").format, Format::kF8_E4M3);
  expect_refused(fixture("safetensors-fp8-flux2-worker-output"), ErrorCode::kCorrupt, "23592960 bytes are missing");
  expect_refused(fixture("safetensors-unknown-dtype"), ErrorCode::kUnsupported, "F128");
  expect_refused(fixture("safetensors-gap"), ErrorCode::kCorrupt, "holes");
  expect_refused(fixture("raw-empty"), ErrorCode::kCorrupt, "is empty");
  expect_refused(fixture("raw-small"), ErrorCode::kUnsupported, "expected a safetensors file");

  const auto as_gguf = [&](const char* name) {
    const std::string text = fixture(name);
    std::vector<uint64_t> aligned(text.size() / 8 + 1);
    std::memcpy(aligned.data(), text.data(), text.size());
    const GgufFile file = GgufFile::from_bytes(std::as_bytes(std::span(aligned)).first(text.size()), name);
    return std::string(weight_format(file.tensors().begin()->second.format).name) + " " + file.tensors().begin()->first;
  };
  EXPECT_EQ(as_gguf("gguf-v2-f32"), "F32 dense.weight");
  EXPECT_EQ(as_gguf("gguf-v3-q4-0"), "Q4_0 quant.weight");
  expect_error([&] { as_gguf("gguf-unknown-type"); }, ErrorCode::kUnsupported, "future.weight");
  expect_error([&] { as_gguf("gguf-unsupported-version"); }, ErrorCode::kUnsupported, "this build reads 2 and 3");

  for (const char* name : {"discollama_adapters", "gptq_small", "modelopt_w4a16_nvfp4_v1"}) {
    const auto file = SafetensorsDirectory::open(std::string(data) + "/models/stubs/" + name + ".safetensors");
    EXPECT_FALSE(file.tensors().empty());
  }
}

}  // namespace
}  // namespace quire
