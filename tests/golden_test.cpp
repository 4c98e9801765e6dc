// Logits against references: tests/golden (Hugging Face Transformers on tiny models, tools/golden/make_golden.py) and
// the public test data (llama.cpp, on an F32 copy of the same weights), under every kernel table this machine runs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"
#include "models/running/test_backends.h"
#include "runner_driver.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using test::BlockPool;
using test::is_cuda;
using test::kCudaLibrary;
using test::run_alone;
using test::table_names_and_library;
using test::TestSequence;

constexpr size_t kMaxManifestBytes = 1 << 20;

std::vector<int32_t> to_tokens(const json::array& values) {
  std::vector<int32_t> tokens;
  for (const json::value& value : values) tokens.push_back(value.to_number<int32_t>());
  return tokens;
}

std::vector<float> read_floats(const fs::path& path, size_t count) {
  std::ifstream file(path, std::ios::binary);
  std::vector<float> floats(count);
  file.read(reinterpret_cast<char*>(floats.data()), static_cast<std::streamsize>(count * sizeof(float)));
  if (!file || file.peek() != EOF) ADD_FAILURE() << path << " does not hold " << count << " floats";
  return floats;
}

RunnerOptions options_for(const std::string& isa, int64_t max_context) {
  return test::with_table({.num_threads = 2,
                           .max_batch_tokens = 128,
                           .max_sequences = 1,
                           .max_context = max_context,
                           .num_blocks = 8,
                           .k_format = Format::kF32,
                           .v_format = Format::kF32},
                          isa);
}

struct Difference {
  double largest = 0.0;  // of any logit, as a part of the reference's range
  size_t position = 0;   // where
  double nmse = 0.0;     // squared error over the reference's squares
};

// `logits` may be shorter than the reference: the logits of a prefix are a prefix of the logits.
Difference compare(const std::vector<float>& logits, const std::vector<float>& reference, int64_t vocab_size) {
  const auto [low, high] = std::minmax_element(reference.begin(), reference.end());
  Difference difference;
  double error = 0.0, power = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double d = std::abs(double{logits[i]} - reference[i]);
    error += d * d;
    power += double{reference[i]} * reference[i];
    if (!(d / (double{*high} - *low) <= difference.largest)) {  // so that NaN counts
      difference.largest = d / (double{*high} - *low);
      difference.position = i / static_cast<size_t>(vocab_size);
    }
  }
  difference.nmse = error / power;
  return difference;
}

// Every way in which a sequence may come: whole, prompts that end around block borders, chunks, prefill and decode.
const std::vector<std::vector<int64_t>> kFeeds = {{128}, {1}, {7}, {31, 8}, {32, 16}, {33, 1}, {64, 3}, {65, 2}};
// A part of these for the CUDA table, whose emulation is slow, and for other activations; one_answer_test checks that
// chunks change no bit.
const std::vector<std::vector<int64_t>> kFewFeeds = {{33, 8}};

bool has_usual_activations(const std::string& isa) { return isa.find(':') == std::string::npos; }

// The largest error of a logit, as a part of the reference's range, and the mean square error. CUDA multiplies all
// weights but F32 and I8_G128 by rows of bf16, which rounds them by 2^-9 at most.
struct Bounds {
  double largest;
  double nmse;
};

Bounds bounds_for(const std::string& name, const std::string& isa, Bounds bounds) {
  // Without rounded activations, quantised models are as near as those of floats.
  if (isa.ends_with(":f32")) return {1e-4, 1e-8};
  // Weights and activations are rounded by 2^-9 at most; those of experts are rounded once more.
  if (isa.ends_with(":bf16")) return {name.find("moe") == std::string::npos ? 1e-2 : 2e-2, 2e-4};
  if (!is_cuda(isa)) return bounds;
  // Random routers have near-ties, where that rounding chooses other experts.
  if (name.starts_with("qwen3moe")) return {1.0, 0.1};
  // The library's rows of FP8 weights are FP8 themselves: 2^-4 at most, 2^-6 in the mean.
  if (isa == kCudaLibrary && name.find("fp8") != std::string::npos) return {3e-2, 2e-3};
  return {std::max(bounds.largest, 1e-2), std::max(bounds.nmse, 2e-4)};
}

// (fixture/checkpoint, kernel table, ranks)
class GoldenTest : public testing::TestWithParam<std::tuple<std::string, std::string, int>> {};

fs::path golden_folder() { return fs::path(QUIRE_SOURCE_DIR) / "tests" / "golden"; }

std::vector<std::string> golden_checkpoints() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(golden_folder())) {
    const json::value manifest = read_json_file(entry.path() / "golden.json", kMaxManifestBytes);
    for (const json::value& file : *find_array(manifest.as_object(), "checkpoints")) {
      names.push_back(entry.path().filename() / std::string(file.as_string()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_P(GoldenTest, EveryPositionAgrees) {
  const auto& [name, isa, num_ranks] = GetParam();
  const fs::path path = golden_folder() / name;
  const json::value value = read_json_file(path.parent_path() / "golden.json", kMaxManifestBytes);
  const json::object& manifest = value.as_object();
  const std::vector<int32_t> tokens = to_tokens(*find_array(manifest, "tokens"));
  const int64_t vocab_size = get_int(manifest, "vocab_size");
  const Bounds bounds = bounds_for(name, isa, {get_double(manifest, "tolerance"), 1.0});

  const auto checkpoint = Checkpoint::open(path.filename() == "." ? path.parent_path() : path);
  RunnerOptions options = options_for(isa, 80);
  options.tensor_parallel = num_ranks;
  const auto runner = ModelRunner::load(*checkpoint, options);
  ASSERT_EQ(runner->info().vocab_size, vocab_size);
  for (const json::value& entry : *find_array(manifest, "cases")) {
    const json::object& golden = entry.as_object();
    const auto count = static_cast<size_t>(get_int(golden, "num_tokens"));
    const auto reference =
        read_floats(path.parent_path() / (get_string(golden, "name") + ".logits"), count * vocab_size);
    for (const std::vector<int64_t>& feed : is_cuda(isa) || !has_usual_activations(isa) ? kFewFeeds : kFeeds) {
      BlockPool pool(*runner, 1);
      TestSequence sequence({tokens.begin(), tokens.begin() + count}, pool);
      const Difference difference = compare(run_alone(*runner, sequence, feed), reference, vocab_size);
      EXPECT_LE(difference.nmse, bounds.nmse);
      EXPECT_LE(difference.largest, bounds.largest)
          << get_string(golden, "name") << ", slices of " << feed[0] << " then " << feed.back()
          << ", worst at position " << difference.position;
    }
  }
}

// A checkpoint in memory and where its tensors lie in it.
struct SafetensorsBytes {
  explicit SafetensorsBytes(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
    data = sizeof header_bytes + header_bytes;
    header = json::parse(std::string_view(bytes).substr(sizeof header_bytes, header_bytes)).as_object();
  }
  std::span<char> tensor(const std::string& name) {
    const json::array& range = *find_array(*find_object(header, name), "data_offsets");
    const auto first = range[0].to_number<size_t>();
    return {bytes.data() + data + first, range[1].to_number<size_t>() - first};
  }

  std::string bytes;
  size_t data = 0;
  json::object header;
};

// In the fixture gate and up of an expert have different column orders. In real models both see the same activations
// and have one order, and a device gathers rows once for both.
TEST(OrderedExperts, GateAndUpInOneOrder) {
  if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device on this machine";
  const fs::path from = golden_folder() / "gptq-v2-moe";
  const fs::path to = fs::path(testing::TempDir()) / fmt::format("quire-ordered-experts-{}", ::getpid());
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
  SafetensorsBytes model(from / "model.safetensors");
  for (int e = 0; e < 4; ++e) {
    const std::string expert = fmt::format("model.layers.0.mlp.experts.{}.", e);
    std::ranges::copy(model.tensor(expert + "gate_proj.g_idx"), model.tensor(expert + "up_proj.g_idx").begin());
  }
  std::ofstream(to / "model.safetensors", std::ios::binary) << model.bytes;
  const auto checkpoint = Checkpoint::open(to);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 40; ++i) tokens.push_back(i * 29 % 64);
  const auto logits_of = [&](const std::string& isa) {
    const auto runner = ModelRunner::load(*checkpoint, options_for(isa, 80));
    BlockPool pool(*runner, 1);
    return run_alone(*runner, TestSequence(tokens, pool), {33, 1});
  };
  const Difference difference = compare(logits_of("cuda"), logits_of("reference"), 64);
  EXPECT_LE(difference.largest, 1e-2) << "worst at position " << difference.position;
  fs::remove_all(to);
}

std::string test_name(const testing::TestParamInfo<GoldenTest::ParamType>& info) {
  const auto& [checkpoint, isa, num_ranks] = info.param;
  std::string name = checkpoint + "_" + isa + (num_ranks > 1 ? fmt::format("_{}_ranks", num_ranks) : "");
  if (const size_t at = name.find("/._"); at != std::string::npos) name.replace(at, 3, "/safetensors_");
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Transformers, GoldenTest,
                         testing::Combine(testing::ValuesIn(golden_checkpoints()),
                                          testing::ValuesIn(table_names_and_library()), testing::Values(1)),
                         test_name);

// Models of quantised weights, with an order of columns and experts among them; two of floats of 16 and 8 bits.
const std::string kQuantised[] = {
    "awq-phi3/.", "gptq-8bit/.",       "gptq-act-order/.", "gptq-v2-moe/.", "llama-blocks/model.gguf",
    "mxfp4/.",    "w4a16-act-order/.", "w8a16/.",          "w8a8/.",        "fp8-blocks/.",
    "qwen3/."};
INSTANTIATE_TEST_SUITE_P(Activations, GoldenTest,
                         testing::Combine(testing::ValuesIn(kQuantised),
                                          testing::ValuesIn(test::table_names_with_activations()), testing::Values(1)),
                         test_name);

// One model of each kind that two ranks can divide: grouped heads, biases, norms after the blocks, experts one by one
// and stacked, quantised columns.
const std::string kDivided[] = {"llama3-gqa-tied/.",
                                "qwen2-bias-tied/.",
                                "gemma2/model.gguf",
                                "mixtral/.",
                                "qwen3moe/.",
                                "qwen3moe/model.gguf",
                                "mxfp4/."};
INSTANTIATE_TEST_SUITE_P(Ranks, GoldenTest,
                         testing::Combine(testing::ValuesIn(kDivided), testing::ValuesIn(table_names_and_library()),
                                          testing::Values(2)),
                         test_name);

struct DataModel {
  const char* file;    // under models/
  const char* folder;  // of reference.json and the logits
  const char* entry;
  // The references multiply the stored weights exactly. Kernels of block formats round activations to int8, which costs
  // about what reference.json says of llama.cpp's own kernels.
  double max_largest;  // of the range
  double max_nmse;
  bool same_greedy = true;  // false if the two best tokens are closer than that rounding
};

const DataModel kDataModels[] = {
    {"stories260k/stories260K.gguf", "references", "stories260K.F32", 1e-4, 1e-8},
    {"stories260k/stories260K-F16.gguf", "references", "stories260K.F16", 1e-4, 1e-8},
    {"babyllama105/babyllama105.gguf", "references", "babyllama105.F32", 1e-4, 1e-8},
    {"babyllama105/babyllama105-Q8_0.gguf", "references", "babyllama105.Q8_0", 1.5e-2, 1.5e-4},
    {"babyllama105/babyllama105-Q4_0.gguf", "references", "babyllama105.Q4_0", 1.5e-2, 1.5e-4},
    {"tiny-random/llama-dense.gguf", "tiny-random", "llama-dense", 1e-4, 1e-8},
    {"tiny-random/qwen3moe-moe.gguf", "tiny-random", "qwen3moe-moe", 1e-4, 1e-8},
    {"tiny-random/llama-dense-Q8_0.gguf", "tiny-random", "llama-dense-Q8_0", 4e-2, 2e-3, false},
    {"tiny-random/llama-dense-Q4_K_M.gguf", "tiny-random", "llama-dense-Q4_K_M", 4e-2, 2e-3},
};

class DataModelTest : public testing::TestWithParam<std::tuple<DataModel, std::string>> {};

// Greedy decoding from the prompt; the next input is always from `forced`, so that one difference is one failure.
std::vector<int32_t> greedy(ModelRunner& runner, const std::vector<int32_t>& prompt,
                            const std::vector<int32_t>& forced) {
  BlockPool pool(runner, 2);
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), forced.begin(), forced.end() - 1);
  const std::vector<float> logits =
      run_alone(runner, TestSequence(all, pool), {static_cast<int64_t>(prompt.size()), 1});
  const auto vocab_size = runner.info().vocab_size;
  std::vector<int32_t> chosen;
  for (size_t i = prompt.size() - 1; i < all.size(); ++i) {
    const auto row = logits.begin() + static_cast<int64_t>(i) * vocab_size;
    chosen.push_back(static_cast<int32_t>(std::max_element(row, row + vocab_size) - row));
  }
  return chosen;
}

TEST_P(DataModelTest, LogitsAndGreedyTokensAgree) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of the public test data";
  const auto& [model, isa] = GetParam();
  const fs::path models = fs::path(data) / "models";
  const json::value value = read_json_file(models / model.folder / "reference.json", kMaxManifestBytes);
  const json::object& entry = *find_object(*find_object(value.as_object(), "models"), model.entry);
  const std::vector<int32_t> tokens = to_tokens(*find_array(entry, "tokens"));

  const auto checkpoint = Checkpoint::open(models / model.file);
  const auto runner = ModelRunner::load(*checkpoint, options_for(isa, 128));
  const int64_t vocab_size = runner->info().vocab_size;
  const auto reference =
      read_floats(models / model.folder / get_string(entry, "logits_file"), tokens.size() * vocab_size);
  BlockPool pool(*runner, 1);
  const Difference difference = compare(run_alone(*runner, TestSequence(tokens, pool), {17, 1}), reference, vocab_size);
  const Bounds bounds = bounds_for(model.entry, isa, {model.max_largest, model.max_nmse});
  EXPECT_LE(difference.largest, bounds.largest) << "worst at position " << difference.position;
  EXPECT_LE(difference.nmse, bounds.nmse);

  const json::array* expected = find_array(entry, entry.contains("greedy48") ? "greedy48" : "greedy16");
  ASSERT_NE(expected, nullptr);
  // With random weights the best two tokens may be close.
  const bool is_certain = !is_cuda(isa) || std::string(model.folder) != "tiny-random";
  if (model.same_greedy && is_certain) {
    EXPECT_EQ(greedy(*runner, tokens, to_tokens(*expected)), to_tokens(*expected));
  }
}

std::string data_test_name(const testing::TestParamInfo<DataModelTest::ParamType>& info) {
  std::string name = std::string(std::get<0>(info.param).entry) + "_" + std::get<1>(info.param);
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(TestData, DataModelTest,
                         testing::Combine(testing::ValuesIn(kDataModels), testing::ValuesIn(test::table_names())),
                         data_test_name);

}  // namespace
}  // namespace quire
