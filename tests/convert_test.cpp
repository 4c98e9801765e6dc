// Models converted to the other kind of file and back: tensors, logits and configuration of every fixture that both
// kinds can hold; tokenizers of every published form.
#include "compress/files/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/select.h"
#include "models/loading/weight_loader.h"
#include "runner_driver.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "quire-convert-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

fs::path fixture(const std::string& name) { return fs::path(QUIRE_SOURCE_DIR) / "tests/golden" / name; }

ConvertResult convert_to(const Checkpoint& source, const fs::path& out, std::optional<Format> type = Format::kF32) {
  ThreadPool pool(2);
  return convert(source, {.out = out, .type = type}, make_exec(pool));
}

std::vector<float> logits_of(const Checkpoint& checkpoint) {
  const auto runner = ModelRunner::load(checkpoint, {.num_threads = 2,
                                                     .max_batch_tokens = 64,
                                                     .max_sequences = 1,
                                                     .max_context = 64,
                                                     .num_blocks = 8,
                                                     .k_format = Format::kF32,
                                                     .v_format = Format::kF32});
  test::BlockPool pool(*runner, 0);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 24; ++i) tokens.push_back(static_cast<int32_t>(i * 37 % runner->info().vocab_size));
  return test::run_alone(*runner, test::TestSequence(tokens, pool), {24});
}

// The largest difference, as a part of the range.
float difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  const auto [low, high] = std::minmax_element(a.begin(), a.end());
  float largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest / (*high - *low);
}

// Names, shapes and bytes.
void expect_same_tensors(const Checkpoint& a, const Checkpoint& b) {
  const auto tensors = a.all_tensors();
  EXPECT_EQ(tensors.size(), b.all_tensors().size());
  for (const auto& [name, view] : tensors) {
    const auto all = b.all_tensors();
    const auto other = std::ranges::find(all, name, &Checkpoint::NamedTensor::name);
    ASSERT_NE(other, all.end()) << name;
    EXPECT_TRUE(std::ranges::equal(view.dimensions(), other->view.dimensions())) << name;
    ASSERT_EQ(view.size_bytes, other->view.size_bytes) << name;
    EXPECT_EQ(std::memcmp(view.data, other->view.data, view.size_bytes), 0) << name;
  }
}

struct Fixture {
  const char* name;
  float bound = 0;      // of the logits' difference; 0: equal to the bit
  bool returns = true;  // to the same tensors
};

class ConvertTest : public testing::TestWithParam<Fixture> {};

// Rows of Q and K in another order are summed in another order, and Llama 3's factors are rounded: those logits are
// close, all others equal.
TEST_P(ConvertTest, ToGgufAndBack) {
  const auto& [name, bound, returns] = GetParam();
  const Folder folder;
  convert_to(*Checkpoint::open(fixture(name)), folder / "floats");
  const auto source = Checkpoint::open(folder / "floats");
  const ConvertResult to = convert_to(*source, folder / "model.gguf");
  const auto gguf = Checkpoint::open(folder / "model.gguf");
  EXPECT_EQ(to.size_bytes, gguf->file_bytes());
  const std::vector<float> logits = logits_of(*source);
  EXPECT_LE(difference(logits, logits_of(*gguf)), bound);
  convert_to(*gguf, folder / "back");
  const auto back = Checkpoint::open(folder / "back");
  EXPECT_LE(difference(logits, logits_of(*back)), bound);
  if (returns) expect_same_tensors(*source, *back);
}

constexpr Fixture kFixtures[] = {
    {.name = "gemma2", .returns = false},
    {.name = "gemma3", .returns = false},
    {.name = "llama-linear-sharded", .bound = 1e-5f},
    {.name = "llama-mqa-bias", .bound = 1e-5f},
    {.name = "llama-yarn", .bound = 1e-5f},
    {.name = "llama2-mha", .bound = 1e-5f},
    {.name = "llama3-gqa-tied", .bound = 1e-4f},
    {.name = "mixtral", .bound = 1e-5f},
    {.name = "phi3-longrope"},
    {.name = "phi3-window"},
    {.name = "qwen2-bias-tied"},
    {.name = "qwen3"},
    {.name = "qwen3moe"},
};

INSTANTIATE_TEST_SUITE_P(Fixtures, ConvertTest, testing::ValuesIn(kFixtures), [](const auto& test) {
  std::string name = test.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST(Convert, RefusesByNameWhatGgufHasNoKeyFor) {
  const Folder folder;
  const auto refusal = [&](const char* name) {
    try {
      convert_to(*Checkpoint::open(fixture(name)), folder / "model.gguf");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(refusal("llama-dynamic").find("RoPE is scaled dynamically"), std::string::npos);
  EXPECT_NE(refusal("gemma2-scalar").find("query_pre_attn_scalar"), std::string::npos);
  EXPECT_NE(refusal("gemma3-layer-types").find("query_pre_attn_scalar"), std::string::npos);
  EXPECT_NE(refusal("qwen3moe-sparse").find("which GGUF's architecture qwen3moe has no key for"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder / "."));
  const ConvertResult window = convert_to(*Checkpoint::open(fixture("mistral-window")), folder / "model.gguf");
  EXPECT_TRUE(std::ranges::any_of(
      window.lost, [](const std::string& what) { return what.find("sliding window") != std::string::npos; }));
  EXPECT_NE(refusal("qwen3").find("exists"), std::string::npos);
}

TEST(Convert, KeepsNothingOfARunThatWasStopped) {
  const Folder folder;
  const auto source = Checkpoint::open(fixture("llama3-gqa-tied"));
  ThreadPool pool(2);
  const auto stop = [](uint64_t, uint64_t) { fail(ErrorCode::kIo, "stopped"); };
  EXPECT_THROW(convert(*source, {.out = folder / "out", .progress = stop}, make_exec(pool)), Error);
  EXPECT_TRUE(fs::is_empty(folder / "."));
  fs::create_directory(folder / "out.unfinished");
  std::ofstream(folder / "out.unfinished/model-00001-of-00002.safetensors") << "of a process that was killed";
  convert_to(*source, folder / "out");
  EXPECT_FALSE(fs::exists(folder / "out/model-00001-of-00002.safetensors"));
  fs::create_directory(folder / "other.unfinished");
  std::ofstream(folder / "other.unfinished/compress.state") << "of a compression";
  EXPECT_THROW(convert_to(*source, folder / "other"), Error);
  EXPECT_TRUE(fs::exists(folder / "other.unfinished/compress.state"));
}

// Layers with a window in another pattern than the usual one.
TEST(Convert, KeepsTheWindowsOfLayers) {
  const Folder folder;
  fs::copy(fixture("gemma3-layer-types"), folder / "source");
  json::value config = read_json_file(folder / "source/config.json", 1 << 20);
  config.as_object()["query_pre_attn_scalar"] = config.at("head_dim");
  std::ofstream(folder / "source/config.json") << json::serialize(config);
  const auto source = Checkpoint::open(folder / "source");
  convert_to(*source, folder / "model.gguf");
  EXPECT_EQ(difference(logits_of(*source), logits_of(*Checkpoint::open(folder / "model.gguf"))), 0.0f);
}

// Codes of schemes become floats that any reader has.
TEST(Convert, MakesFloatsOfQuantisedDirectories) {
  for (const char* name : {"gptq-act-order", "awq-phi3", "w8a8-fp8", "gptq-v2-moe"}) {
    SCOPED_TRACE(name);
    const Folder folder;
    const auto source = Checkpoint::open(fixture(name));
    convert_to(*source, folder / "plain");
    const auto plain = Checkpoint::open(folder / "plain");
    EXPECT_FALSE(plain->config().contains("quantization_config"));
    EXPECT_LE(difference(logits_of(*source), logits_of(*plain)), 0.05f);
    convert_to(*plain, folder / "model.gguf", Format::kQ8_0);
    const auto gguf = Checkpoint::open(folder / "model.gguf");
    EXPECT_EQ(gguf->tensor("model.embed_tokens.weight").format, Format::kQ8_0);
  }
}

// Quantised blocks are copied as they are.
TEST(Convert, KeepsTheBlocksOfAGgufFile) {
  const Folder folder;
  const auto source = Checkpoint::open(fixture("llama-blocks") / "model.gguf");
  const ConvertResult result = convert_to(*source, folder / "model.gguf", std::nullopt);
  EXPECT_TRUE(result.lost.empty());
  expect_same_tensors(*source, *Checkpoint::open(folder / "model.gguf"));
}

}  // namespace
}  // namespace quire
