// Whole compressions of the tests' tiny models: what is written, read back by the loader.
#include "compress/compression.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "compress/files/model_parts.h"
#include "compress/methods/rtn.h"
#include "compress/pruning/smaller_model.h"
#include "kernels/select.h"
#include "models/running/model_runner.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using test::error_of;

fs::path golden(const std::string& name) { return fs::path(QUIRE_SOURCE_DIR) / "tests/golden" / name; }

// A folder that is gone with the object.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "quire-compress-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

std::vector<std::vector<int32_t>> windows() {
  std::vector<std::vector<int32_t>> result;
  for (int i = 0; i < 6; ++i) {
    std::vector<int32_t>& window = result.emplace_back();
    for (int k = 0; k < 40; ++k) window.push_back((k * 7 + i * k * k + 11 * i) % 60);
  }
  return result;
}

CompressionOptions options_for(const std::string& method, const fs::path& output) {
  CompressionOptions options{.method = method, .output = output, .windows = windows(), .num_threads = 2};
  options.settings.grid = method == "smoothquant" ? GroupGrid{.bits = 8, .group = 0} : GroupGrid{.bits = 4, .group = 8};
  if (method == "awq") options.settings.grid.symmetric = false;
  if (compression_method(method).prunes) options.settings.grid = {.bits = 0, .group = 0};
  options.settings.sparsity = {.share = 0.25};
  return options;
}

std::vector<float> logits_of(const Checkpoint& checkpoint) {
  const auto runner = ModelRunner::load(checkpoint, {.num_threads = 2,
                                                     .device = "cpu",
                                                     .isa = "reference",
                                                     .activations = Activations::kF32,
                                                     .max_batch_tokens = 64,
                                                     .max_sequences = 1,
                                                     .max_context = 64});
  const std::vector<int32_t> tokens = windows()[3];
  BlockTable blocks = {0, 1};
  Batch batch;
  batch.token_ids = tokens;
  batch.sequences.push_back({.num_tokens = static_cast<int64_t>(tokens.size()), .block_tables = {&blocks, 1}});
  for (int32_t row = 0; row < static_cast<int32_t>(tokens.size()); ++row) batch.logit_rows.push_back(row);
  const std::span<const float> logits = runner->run(batch);
  return {logits.begin(), logits.end()};
}

// Relative to the original's own size.
double error_against(const Checkpoint& original, const fs::path& compressed) {
  const std::vector<float> expected = logits_of(original);
  const std::vector<float> found = logits_of(*Checkpoint::open(compressed));
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(expected[i]) - found[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / size);
}

std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename().string()] = {std::istreambuf_iterator<char>(file), {}};
  }
  return files;
}

TEST(Compression, EveryMethodWritesWhatTheLoaderReads) {
  for (const char* model : {"llama3-gqa-tied", "qwen2-bias-tied", "gemma2", "mixtral", "phi3-window"}) {
    const auto source = Checkpoint::open(golden(model));
    for (const CompressionMethod& method : compression_methods()) {
      SCOPED_TRACE(std::string(model) + " " + method.name);
      const Folder folder;
      const CompressionResult result = compress(*source, options_for(method.name, folder / "out"));
      EXPECT_GT(result.num_weights, 0);
      EXPECT_LT(error_against(*source, folder / "out"), 0.5);
      EXPECT_FALSE(fs::exists(folder / "out.unfinished"));
      EXPECT_FALSE(fs::exists(folder / "out/compress.state"));
    }
  }
}

// Zeros where the pattern wants them, the other weights as they were; with eight bits a file that says that it has
// zeros, so that the loader takes its sparse format.
TEST(Compression, PrunesEachMatrix) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  ThreadPool threads(2);
  const Exec exec = make_exec(threads);
  for (const char* method : {"magnitude", "wanda", "sparsegpt"}) {
    SCOPED_TRACE(method);
    const Folder folder;
    CompressionOptions options = options_for(method, folder / "out");
    options.settings.sparsity = parse_sparsity("2:4");
    compress(*source, options);
    options.output = folder / "codes";
    options.settings.grid = {.bits = 8, .group = 0};
    compress(*source, options);
    const auto floats = Checkpoint::open(folder / "out"), codes = Checkpoint::open(folder / "codes");
    EXPECT_FALSE(floats->config().contains("quantization_config"));
    EXPECT_EQ(floats->file_bytes(), source->file_bytes());
    EXPECT_EQ(codes->config().at("quantization_config").at("sparsity_config").at("sparsity_structure"), "2:4");
    TensorSource before(*source, RankShare{}), after(*floats, RankShare{}), coded(*codes, RankShare{});
    const ModelParts parts = model_parts(*source);
    for (const ModelMatrix& matrix : parts.layers[0]) {
      const std::vector<float> old = read_floats(before, matrix, exec);
      const std::vector<float> pruned = read_floats(after, matrix, exec), rounded = read_floats(coded, matrix, exec);
      for (size_t i = 0; i < old.size(); i += 4) {
        EXPECT_EQ(std::count(pruned.begin() + static_cast<int64_t>(i), pruned.begin() + static_cast<int64_t>(i + 4), 0),
                  2);
        for (size_t k = i; k < i + 4; ++k) {
          if (pruned[k] == 0) {
            EXPECT_EQ(rounded[k], 0);
          } else if (method != std::string_view("sparsegpt")) {
            EXPECT_EQ(pruned[k], old[k]);
          }
        }
      }
    }
  }
}

TEST(Compression, LeavesMatricesAsTheyAreWhereThatIsAskedFor) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  CompressionOptions options = options_for("gptq", folder / "out");
  options.keep = {"down_proj", "layers.0."};
  compress(*source, options);
  const auto written = Checkpoint::open(folder / "out");
  EXPECT_TRUE(written->find_tensor("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(written->find_tensor("model.layers.1.mlp.down_proj.weight"));
  EXPECT_TRUE(written->find_tensor("model.layers.1.mlp.up_proj.qweight"));
  EXPECT_LT(error_against(*source, folder / "out"), 0.5);
  options.output = folder / "other";
  options.keep = {"elbow_proj"};
  EXPECT_NE(error_of([&] { compress(*source, options); }).find("no matrix of a layer has 'elbow_proj'"),
            std::string::npos);
}

// The parts that matter least are gone, and what is left is a model like any other.
TEST(Compression, LeavesWholePartsOut) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const DecoderShape shape = decoder_shape(source->config());
  const Folder folder;
  const SmallerModelOptions options = {.sizes = {.layers = std::to_string(shape.layers - 1),
                                                 .heads = "0.5",
                                                 .channels = "0.5",
                                                 .hidden = std::to_string(shape.hidden - 8)},
                                       .output = folder / "out",
                                       .windows = windows(),
                                       .num_threads = 2};
  const KeptParts kept = write_smaller_model(*source, options);
  EXPECT_EQ(std::ssize(kept.layers), shape.layers - 1);
  EXPECT_EQ(kept.layers.back().layer, shape.layers - 1) << "the last layer stays";
  const auto written = Checkpoint::open(folder / "out");
  const DecoderShape smaller = decoder_shape(written->config());
  EXPECT_EQ(smaller.heads, shape.heads / 2);
  EXPECT_EQ(smaller.hidden, shape.hidden - 8);
  for (const float logit : logits_of(*written)) ASSERT_TRUE(std::isfinite(logit));
  EXPECT_FALSE(fs::exists(folder / "out.unfinished"));

  SmallerModelOptions wrong = options;
  wrong.output = folder / "wrong";
  wrong.sizes.layers = "99";
  EXPECT_NE(error_of([&] { write_smaller_model(*source, wrong); }).find("--layers 99: the model has"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "wrong.unfinished"));
}

TEST(Compression, RoundsEachMatrixAsTheMethodDoes) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  const CompressionOptions options = options_for("rtn", folder / "out");
  compress(*source, options);
  const auto written = Checkpoint::open(folder / "out");
  TensorSource before(*source, RankShare{}), after(*written, RankShare{});
  ThreadPool threads(2);
  const Exec exec = make_exec(threads);
  for (const auto& layer : model_parts(*source).layers) {
    ASSERT_EQ(layer.size(), 7u);
    for (const ModelMatrix& matrix : layer) {
      std::vector<float> values = read_floats(before, matrix, exec);
      const GroupMatrix codes = round_to_nearest({.values = values, .rows = matrix.rows, .cols = matrix.cols},
                                                 {.grid = options.settings.grid}, threads);
      dequantize(codes, values);
      EXPECT_EQ(read_floats(after, matrix, exec), values) << matrix.name;
    }
  }
}

TEST(Compression, WritesTheSameBytesWithAnyNumberOfThreads) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  for (const char* method : {"gptq", "awq"}) {
    const Folder folder;
    CompressionOptions options = options_for(method, folder / "one");
    options.num_threads = 1;
    compress(*source, options);
    options.output = folder / "three";
    options.num_threads = 3;
    compress(*source, options);
    EXPECT_EQ(files_of(folder / "one"), files_of(folder / "three")) << method;
  }
}

// A kill after a layer, as an error that ends the command.
TEST(Compression, GoesOnWhereItWasStopped) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  for (const char* method : {"rtn", "gptq", "awq"}) {
    const Folder folder;
    compress(*source, options_for(method, folder / "whole"));
    const CompressionOptions options = options_for(method, folder / "out");
    EXPECT_EQ(error_of([&] { compress(*source, options, [](int, int) { fail(ErrorCode::kIo, "stopped"); }); }),
              "stopped");
    EXPECT_FALSE(fs::exists(folder / "out"));
    CompressionOptions other = options;
    other.settings.grid.group = 0;
    EXPECT_NE(error_of([&] { compress(*source, other); }).find("was left unfinished by another command"),
              std::string::npos);
    EXPECT_EQ(compress(*source, options).first_layer, 1);
    EXPECT_EQ(files_of(folder / "out"), files_of(folder / "whole")) << method;
  }
}

TEST(Compression, GoesOnWhereOnlyTheNameWasMissing) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  compress(*source, options_for("rtn", folder / "whole"));
  const CompressionOptions options = options_for("rtn", folder / "out");
  const auto stop_at_end = [](int done, int all) {
    if (done == all) fail(ErrorCode::kIo, "stopped");
  };
  EXPECT_EQ(error_of([&] { compress(*source, options, stop_at_end); }), "stopped");
  fs::rename(folder / "out.unfinished/model.safetensors.unfinished", folder / "out.unfinished/model.safetensors");
  EXPECT_GT(compress(*source, options).first_layer, 1);
  EXPECT_EQ(files_of(folder / "out"), files_of(folder / "whole"));
}

TEST(Compression, BeginsAgainWhereAnotherTaskHasBegunSince) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  compress(*source, options_for("gptq", folder / "whole"));
  const CompressionOptions options = options_for("gptq", folder / "out");
  EXPECT_EQ(error_of([&] { compress(*source, options, [](int, int) { fail(ErrorCode::kIo, "stopped"); }); }),
            "stopped");
  CompressionOptions other = options;
  other.replaces = true;
  other.windows = {std::vector<int32_t>(1 << 16)};
  EXPECT_NE(error_of([&] { compress(*source, other); }).find("the calibration text has 1 windows"), std::string::npos)
      << "it stops when its files are begun, before its first layer";
  EXPECT_EQ(compress(*source, options).first_layer, 0);
  EXPECT_EQ(files_of(folder / "out"), files_of(folder / "whole"));
}

TEST(Compression, ReplacesAModelWhereItMay) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  CompressionOptions options = options_for("rtn", folder / "out");
  compress(*source, options);
  options.settings.grid.group = 0;
  EXPECT_NE(error_of([&] { compress(*source, options); }).find("replace it with --force"), std::string::npos);
  options.replaces = true;
  compress(*source, options);
  EXPECT_FALSE(fs::exists(folder / "out.replaced"));
  options.output = folder / "whole";
  compress(*source, options);
  EXPECT_EQ(files_of(folder / "out"), files_of(folder / "whole"));
}

TEST(Compression, LeavesAloneWhatAnotherMakes) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  CompressionOptions options = options_for("rtn", folder / "out");
  CompressionOptions other = options;
  other.replaces = true;
  other.settings.grid.group = 0;
  std::string message;
  compress(*source, options, [&](int done, int) {
    if (done == 1) message = error_of([&] { compress(*source, other); });
  });
  EXPECT_NE(message.find("another process is making"), std::string::npos) << message;
  options.output = folder / "whole";
  compress(*source, options);
  EXPECT_EQ(files_of(folder / "out"), files_of(folder / "whole"));
}

TEST(Compression, RefusesWhatDoesNotFit) {
  const auto source = Checkpoint::open(golden("llama3-gqa-tied"));
  const Folder folder;
  const auto refusal = [&](const std::function<void(CompressionOptions&)>& change, const Checkpoint& from) {
    CompressionOptions options = options_for("rtn", folder / "out");
    change(options);
    const std::string message = error_of([&] { compress(from, options); });
    EXPECT_FALSE(fs::exists(folder / "out.unfinished")) << message;
    return message;
  };
  EXPECT_NE(refusal([](auto& options) { options.settings.grid.group = 128; }, *source).find("no multiple of groups"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& options) { options.settings.grid.bits = 5; }, *source).find("compressed-tensors"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& options) { options.method = "magic"; }, *source).find("rtn, fp8, gptq, awq, smoothquant"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& options) { options.settings.act_order = true; }, *source).find("belongs to --method gptq"),
            std::string::npos);
  const auto codes = Checkpoint::open(golden("gptq"));
  EXPECT_NE(refusal([](auto&) {}, *codes).find("compressed already"), std::string::npos);
  fs::create_directory(folder / "out");
  EXPECT_NE(refusal([](auto&) {}, *source).find("exists"), std::string::npos);
  std::ofstream(folder / "out/notes.txt") << "no model";
  const auto replaces = [](auto& options) { options.replaces = true; };
  EXPECT_NE(refusal(replaces, *source).find("is no model; --force does not remove it"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder / "out/notes.txt"));
  fs::copy(golden("llama3-gqa-tied"), folder / "out");
  EXPECT_NE(refusal(replaces, *Checkpoint::open(folder / "out")).find("holds the model that is read"),
            std::string::npos);
}

TEST(Compression, CompressesAgainWhereThatIsAskedFor) {
  const auto source = Checkpoint::open(golden("gptq"));
  const Folder folder;
  CompressionOptions options = options_for("gptq", folder / "out");
  options.requantizes = true;
  options.settings.grid.bits = 8;
  compress(*source, options);
  EXPECT_LT(error_against(*source, folder / "out"), 0.05);
}

}  // namespace
}  // namespace quire
