#include "models/running/layer_stream.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "models/running/test_runner.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// ---- the stream alone, over a file that a test makes up -------------------------------------------------------------

constexpr uint64_t kLayer = 3 * 4096 + 100;
constexpr int kNumLayers = 5;

std::byte byte_at(uint64_t offset) { return static_cast<std::byte>(offset / 4096 * 7 + offset % 251); }

StreamPlan plan_of(uint64_t allowed_bytes) {
  std::vector<uint64_t> starts;
  for (uint64_t i = 0; i <= kNumLayers; ++i) starts.push_back(i * kLayer);
  return plan_stream(starts, kNumLayers * kLayer + 1000, allowed_bytes).value();
}

// What the disk does.
struct Disk {
  std::atomic<bool> fails = false;
  std::atomic<bool> hangs = false;
  std::atomic<int> num_reads = 0;

  LayerStream::Read read() {
    return [this](uint64_t offset, std::span<std::byte> to) {
      ++num_reads;
      while (hangs) std::this_thread::sleep_for(milliseconds(1));
      if (fails) fail(ErrorCode::kIo, "the disk is broken");
      for (size_t i = 0; i < to.size(); ++i) to[i] = byte_at(offset + i);
    };
  }
};

void expect_layer(const LayerStream& stream, int layer) {
  const uint64_t first = static_cast<uint64_t>(layer) * kLayer;
  for (uint64_t i = 0; i < kLayer; ++i)
    ASSERT_EQ(*stream.place_of(first + i), byte_at(first + i)) << layer << ", " << i;
}

void step(LayerStream& stream) {
  for (int layer = 0; layer < kNumLayers; ++layer) {
    const LayerUse use(&stream, layer);
    expect_layer(stream, layer);
  }
}

TEST(LayerStream, EveryLayerIsThereWhenItIsUsedWhateverStays) {
  const uint64_t least = plan_of(uint64_t{1} << 20).chunk_bytes;
  for (uint64_t allowed = 3 * least; allowed <= 8 * least; allowed += least) {
    Disk disk;
    const StreamPlan plan = plan_of(allowed);
    LayerStream stream(plan, disk.read(), {});
    for (int i = 0; i < 20; ++i) step(stream);
    const auto num_streamed = static_cast<uint64_t>(plan.num_streamed());
    EXPECT_EQ(stream.reads().num_acquired, 20 * num_streamed);
    EXPECT_GE(stream.reads().bytes, 20 * num_streamed * kLayer);
    EXPECT_EQ(*stream.place_of(kNumLayers * kLayer + 999), byte_at(kNumLayers * kLayer + 999));
  }
}

TEST(LayerStream, TheNextStepsLayersAreReadBeforeItBegins) {
  Disk disk;
  LayerStream stream(plan_of(uint64_t{3} * 16384), disk.read(), {});
  step(stream);
  const uint64_t waited = stream.reads().num_waited;
  while (stream.reads().bytes < 7 * kLayer) std::this_thread::yield();  // two of the next step
  const LayerUse first(&stream, 0);
  EXPECT_EQ(stream.reads().num_waited, waited);
}

TEST(LayerStream, AFailedReadFailsTheStepAndTheNextOneReadsAgain) {
  Disk disk;
  LayerStream stream(plan_of(uint64_t{4} * 16384), disk.read(), {});
  step(stream);
  disk.fails = true;
  EXPECT_EQ(test::error_of([&] {
              for (int i = 0; i < 2; ++i) step(stream);
            }),
            "the disk is broken");
  EXPECT_EQ(test::error_of([&] { step(stream); }), "the disk is broken");
  disk.fails = false;
  for (int i = 0; i < 3; ++i) step(stream);
  const StreamPlan plan = plan_of(uint64_t{4} * 16384);
  EXPECT_THROW(LayerStream(plan, [](uint64_t, std::span<std::byte>) { fail(ErrorCode::kIo, "no disk"); }, {}), Error);
}

TEST(LayerStream, ADiskThatDoesNotAnswerFailsTheStep) {
  Disk disk;
  LayerStream stream(plan_of(uint64_t{3} * 16384), disk.read(), {.patience = milliseconds(10)});
  step(stream);
  disk.hangs = true;
  const std::string error = test::error_of([&] {
    for (int i = 0; i < 2; ++i) step(stream);
  });
  EXPECT_EQ(error, "weights that a step needs were not read within 10 ms: the disk does not answer");
  EXPECT_EQ(test::error_of([&] { step(stream); }), error);
  disk.hangs = false;
  while (!test::error_of([&] { step(stream); }).empty() && disk.num_reads < 10'000) {
    if (test::error_of([&] { step(stream); }) == "no error") break;
  }
  step(stream);
}

TEST(LayerStream, AStepThatEndsEarlyIsFollowedByAWholeOne) {
  Disk disk;
  LayerStream stream(plan_of(uint64_t{4} * 16384), disk.read(), {});
  for (int last = 0; last < kNumLayers; ++last) {
    for (int layer = 0; layer <= last; ++layer) {
      const LayerUse use(&stream, layer);
    }
    step(stream);
  }
}

// ---- a model whose layers are streamed ------------------------------------------------------------------------------

class StreamedModelTest : public testing::Test {
 protected:
  StreamedModelTest() {
    log::set_level(log::Level::kError);
    std::string pattern = (fs::temp_directory_path() / "quire-stream-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    model_ = folder_ / "model.gguf";
    save({.hidden = 128, .inner = 256, .layers = 6, .heads = 8, .format = Format::kQ8_0});
  }
  ~StreamedModelTest() override {
    fs::remove_all(folder_);
    log::set_level(log::Level::kWarning);
  }
  void save(const test::TinyGguf& model) const {
    std::ofstream(model_, std::ios::binary | std::ios::trunc) << test::tiny_gguf(model);
  }
  RunnerOptions options(uint64_t memory_bytes) const {
    return {.num_threads = 2,
            .device = "cpu",
            .max_batch_tokens = 160,
            .max_sequences = 4,
            .max_context = test::kMaxContext,
            .num_blocks = 16,
            .memory_bytes = memory_bytes,
            .weight_cache = (folder_ / "cache").string(),
            .processors = "none"};
  }
  MemoryPlan plan(uint64_t memory_bytes) const {
    return ModelRunner::plan(*Checkpoint::open(model_), options(memory_bytes));
  }
  // The most memory with which no more than this many layers stay.
  uint64_t memory_for(int num_resident) const {
    const MemoryPlan whole = plan(uint64_t{1} << 40);
    uint64_t memory = whole.total_bytes;
    while (memory > 0) {
      memory -= std::min<uint64_t>(memory, 32'768);
      const MemoryPlan planned = plan(memory);
      if (planned.fits && planned.streamed.num_layers > 0 && planned.streamed.num_resident_layers <= num_resident)
        break;
    }
    return memory;
  }

  fs::path folder_, model_;
};

TEST_F(StreamedModelTest, TheAnswerIsTheSameHoweverManyLayersStay) {
  for (const char* kind : {"dense", "experts"}) {
    const bool has_experts = kind == std::string("experts");
    save({.architecture = has_experts ? "qwen3moe" : "llama",
          .hidden = 128,
          .inner = 256,
          .layers = 6,
          .heads = 8,
          .experts = has_experts ? 4 : 0,
          .qk_norm = has_experts,
          .format = Format::kQ8_0});
    fs::remove_all(folder_ / "cache");
    const auto checkpoint = Checkpoint::open(model_);
    const std::vector<float> expected =
        test::run(*ModelRunner::load(*checkpoint, options(0)), test::sequence(70, 1, 4), 70);
    std::vector<int> seen;
    uint64_t memory = plan(0).total_bytes;
    for (int most = 5; most >= 0; --most) {
      memory = memory_for(most);
      if (memory == 0) break;
      const auto runner = ModelRunner::load(*checkpoint, options(memory));
      seen.push_back(runner->plan().streamed.num_resident_layers);
      EXPECT_LE(runner->plan().total_bytes, memory);
      test::expect_one_answer(*runner, expected);
      EXPECT_GT(runner->weight_reads().num_acquired, 0u);
    }
    EXPECT_GE(seen.size(), 3u) << kind;
    EXPECT_EQ(seen.back(), 0) << kind;
  }
}

TEST_F(StreamedModelTest, TheLedgerSaysWhatStaysAndARefusalWhy) {
  const MemoryPlan whole = plan(uint64_t{1} << 40);
  EXPECT_EQ(whole.streamed.num_layers, 0);
  EXPECT_EQ(plan(whole.total_bytes).streamed.num_layers, 0);
  const uint64_t memory = memory_for(2);
  const MemoryPlan some = plan(memory);
  EXPECT_EQ(some.weight_bytes, whole.weight_bytes);
  EXPECT_EQ(some.streamed.num_layers, 4);
  EXPECT_EQ(some.streamed.num_resident_layers, 2);
  EXPECT_EQ(some.kv_bytes, whole.kv_bytes);  // as many blocks as were asked for
  EXPECT_EQ(some.total_bytes, whole.total_bytes - some.streamed.bytes + some.streamed.buffer_bytes);
  EXPECT_LE(some.total_bytes, memory);

  const auto checkpoint = Checkpoint::open(model_);
  RunnerOptions none = options(memory);
  none.weight_cache.clear();
  const std::string error = test::error_of([&] { ModelRunner::load(*checkpoint, none); });
  EXPECT_NE(error.find("or leave layers on the disk (--weight-cache on)"), std::string::npos) << error;
  EXPECT_FALSE(plan(whole.workspace_bytes).fits);
  RunnerOptions nowhere = options(memory);
  nowhere.weight_cache = "/proc/quire/cache";
  EXPECT_NE(test::error_of([&] { ModelRunner::load(*checkpoint, nowhere); }).find("/proc/quire/cache"),
            std::string::npos);
}

TEST_F(StreamedModelTest, AFileThatChangesFailsTheStepAndADamagedOneIsWrittenAgain) {
  const auto checkpoint = Checkpoint::open(model_);
  const RunnerOptions small = options(memory_for(0));
  const std::vector<float> expected = test::run(*ModelRunner::load(*checkpoint, small), test::sequence(40, 1, 0), 40);
  const fs::path cache = fs::directory_iterator(folder_ / "cache")->path();
  {
    std::fstream file(cache, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000).put('x').put('y');
  }
  const auto runner = ModelRunner::load(*checkpoint, small);
  EXPECT_TRUE(test::same_bits(test::run(*runner, test::sequence(40, 1, 0), 40), expected));
  fs::resize_file(cache, 60'000);
  const std::string error = test::error_of([&] {
    for (int i = 0; i < 3; ++i) test::run(*runner, test::sequence(40, 1, 0), 40);
  });
  EXPECT_NE(error.find("was changed while it was in use"), std::string::npos) << error;
}

}  // namespace
}  // namespace quire
