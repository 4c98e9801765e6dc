// Every matrix of a loaded model keeps the name of its tensor and the row where it begins there. This compares them
// with the bytes of the tensors, for every fixture and every form of its checkpoint.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/thread_pool.h"
#include "kernels/select.h"
#include "models/architectures/registry.h"
#include "models/layers/linear.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// A model of the reference table, whose packed rows are the tensor's own.
class Loaded {
 public:
  explicit Loaded(const Checkpoint& checkpoint)
      : backend_(Backend{&reference_kernels(), make_host_device()}), pool_(2) {
    WeightLoader measuring(checkpoint, *backend_.kernels);
    make_model(checkpoint, measuring);
    weights_.emplace(*backend_.device, measuring.packed_bytes());
    WeightLoader loader(checkpoint, *backend_.kernels, make_exec(pool_, backend_.device->stream()), *backend_.device,
                        {weights_->data(), weights_->size_bytes()}, {}, {});
    model_ = make_model(checkpoint, loader);
    EXPECT_EQ(loader.packed_bytes(), measuring.packed_bytes());
  }
  const Model& model() const { return *model_; }

 private:
  Backend backend_;
  ThreadPool pool_;
  std::optional<DeviceBuffer> weights_;
  std::unique_ptr<Model> model_;
};

// Whether the file keeps the matrix `name` in several tensors.
bool is_quantised(const Checkpoint& checkpoint, const std::string& name) {
  if (!name.ends_with(".weight")) return false;
  return std::ranges::any_of(std::array{".qweight", ".weight_packed", ".weight_scale", ".weight_scale_inv"},
                             [&](const char* part) {
                               return checkpoint.find_tensor(name.substr(0, name.rfind(".weight")) + part).has_value();
                             });
}

// The matrices that are multiplied: all except an embedding table that is not also the output matrix.
uint64_t matrix_bytes(const Checkpoint& checkpoint, bool tied) {
  uint64_t bytes = 0;
  for (const auto& [name, view] : checkpoint.all_tensors()) {
    if (view.rank >= 2) bytes += view.size_bytes;
  }
  return tied ? bytes : bytes - checkpoint.tensor("model.embed_tokens.weight").size_bytes;
}

class WeightNames : public testing::TestWithParam<std::string> {};

TEST_P(WeightNames, AreThoseOfTheTensorsWhoseRowsTheyHold) {
  const auto checkpoint = Checkpoint::open(GetParam());
  const Loaded loaded(*checkpoint);
  std::set<std::pair<std::string, int64_t>> names;
  uint64_t plain_bytes = 0;
  bool all_plain = true;
  loaded.model().visit_matrices([&](const Linear& linear) {
    SCOPED_TRACE(linear.name + " from row " + std::to_string(linear.first_row));
    EXPECT_TRUE(names.emplace(linear.name, linear.first_row).second) << "twice";
    if (is_quantised(*checkpoint, linear.name)) {
      all_plain = false;
      return;
    }
    const TensorView tensor = checkpoint->tensor(linear.name);
    ASSERT_EQ(linear.weights.format, tensor.format);
    ASSERT_EQ(linear.weights.cols, tensor.cols());
    const size_t first_byte = static_cast<size_t>(linear.first_row) * tensor.row_bytes();
    const size_t num_bytes = static_cast<size_t>(linear.weights.rows) * tensor.row_bytes();
    ASSERT_LE(first_byte + num_bytes, tensor.size_bytes);
    EXPECT_EQ(std::memcmp(linear.weights.data, tensor.data + first_byte, num_bytes), 0);
    plain_bytes += num_bytes;
  });
  const ModelInfo& info = loaded.model().info();
  if (all_plain) {
    EXPECT_EQ(plain_bytes, matrix_bytes(*checkpoint, info.tied_embeddings));
  }
  EXPECT_GE(static_cast<int>(names.size()), 7 * info.num_layers + 1);
}

// Directories with config.json, and GGUF files, of several shards the first.
std::vector<std::string> checkpoints() {
  std::vector<std::string> paths;
  for (const fs::directory_entry& fixture : fs::directory_iterator(fs::path(QUIRE_SOURCE_DIR) / "tests/golden")) {
    if (fs::exists(fixture.path() / "config.json")) paths.push_back(fixture.path());
    for (const fs::directory_entry& file : fs::directory_iterator(fixture)) {
      const bool is_later_shard = file.path().filename().string().find("-00002-") != std::string::npos;
      if (file.path().extension() == ".gguf" && !is_later_shard) paths.push_back(file.path());
    }
  }
  std::ranges::sort(paths);
  return paths;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  const fs::path path = info.param;
  std::string name = path.extension() == ".gguf"
                         ? (path.parent_path().filename() += "_" + path.stem().string()).string()
                         : path.filename().string();
  std::ranges::replace_if(
      name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, WeightNames, testing::ValuesIn(checkpoints()), test_name);

// Ranks hold parts of the matrices; the names stay the same.
TEST(WeightNames, AreTheSameOnEveryRank) {
  const auto checkpoint = Checkpoint::open(fs::path(QUIRE_SOURCE_DIR) / "tests/golden/mixtral");
  const Kernels& kernels = select_kernels("reference");
  const auto names = [&](RankShare share) {
    WeightLoader loader(*checkpoint, kernels, {.share = share});
    std::vector<std::pair<std::string, int64_t>> result;
    make_model(*checkpoint, loader)->visit_matrices([&](const Linear& linear) {
      result.emplace_back(linear.name, linear.first_row);
    });
    return result;
  };
  EXPECT_EQ(names({.rank = 1, .size = 2}), names({}));
}

}  // namespace
}  // namespace quire
