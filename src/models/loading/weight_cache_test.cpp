#include "models/loading/weight_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/log.h"
#include "base/replace_file.h"
#include "base/thread_placement.h"
#include "models/loading/matmul_tuning.h"
#include "models/running/test_runner.h"
#include "tensor/files/ggml_types.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// What a start with the cache came to.
struct Start {
  std::vector<float> logits;
  uint64_t cached_bytes = 0;
  uint64_t weight_bytes = 0;
  bool was_cached() const { return weight_bytes > 0 && cached_bytes == weight_bytes; }
};

class WeightCacheTest : public testing::Test {
 protected:
  WeightCacheTest() {
    log::set_level(log::Level::kError);  // each of hundreds of starts would warn
    std::string pattern = (fs::temp_directory_path() / "quire-weights-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    model_ = folder_ / "model.gguf";
    cache_ = folder_ / "cache";
    write(model_, test::tiny_gguf({.inner = 128, .format = Format::kQ8_0}));
  }
  ~WeightCacheTest() override {
    fs::remove_all(folder_);
    log::set_level(log::Level::kWarning);
  }

  RunnerOptions options(bool fills = true, int num_ranks = 1) const {
    return {.num_threads = 2,
            .tensor_parallel = num_ranks,
            .device = "cpu",
            .isa = isa_,
            .max_batch_tokens = 160,
            .max_sequences = 4,
            .max_context = test::kMaxContext,
            .num_blocks = 16,
            .weight_cache = cache_.string(),
            .fills_weight_cache = fills,
            .processors = "none"};
  }
  Start start(const RunnerOptions& options) const {
    const auto checkpoint = Checkpoint::open(model_);
    const auto runner = ModelRunner::load(*checkpoint, options);
    return {.logits = test::run(*runner, test::sequence(40, 1, 0), 40),
            .cached_bytes = runner->plan().cached_bytes,
            .weight_bytes = runner->plan().weight_bytes};
  }
  Start start() const { return start(options()); }

  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(cache_, error)) found.push_back(entry.path());
    std::ranges::sort(found);
    return found;
  }
  fs::path only_file() const {
    const std::vector<fs::path> found = files();
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? fs::path() : found[0];
  }
  // 64 bytes of a tensor in the model's file.
  std::string middle_of(const char* tensor) const {
    const auto checkpoint = Checkpoint::open(model_);
    const TensorView view = checkpoint->tensor(tensor);
    return {reinterpret_cast<const char*>(view.data) + view.size_bytes / 2, 64};
  }
  // Starts with what a file holds now, which must not be used, and again with what that start left.
  void expect_rebuilt(const Start& expected, const std::string& what) {
    const Start first = start(options(/*fills=*/false));
    EXPECT_EQ(first.cached_bytes, 0u) << what;
    EXPECT_TRUE(test::same_bits(first.logits, expected.logits)) << what;
    const Start second = start(options(/*fills=*/false));
    EXPECT_TRUE(second.was_cached()) << what;
    EXPECT_TRUE(test::same_bits(second.logits, expected.logits)) << what;
  }

  std::string isa_;
  fs::path folder_, model_, cache_;
};

TEST_F(WeightCacheTest, TheNextStartMapsTheSameWeights) {
  for (const Kernels* table : runnable_kernels()) {
    isa_ = table->name;
    const Start packed = start();
    EXPECT_EQ(packed.cached_bytes, 0u) << isa_;
    const uint64_t planned = ModelRunner::plan(*Checkpoint::open(model_), options()).cached_bytes;
    EXPECT_EQ(planned, packed.weight_bytes);
    const Start cached = start();
    EXPECT_TRUE(cached.was_cached()) << isa_;
    EXPECT_TRUE(test::same_bits(cached.logits, packed.logits)) << isa_;
  }
  EXPECT_EQ(files().size(), runnable_kernels().size());
}

TEST_F(WeightCacheTest, EveryFormatAndExpertsAreFoundInTheirPlaces) {
  for (int i = 0; i < kNumFormats; ++i) {
    const WeightFormat& format = weight_format(static_cast<Format>(i));
    if (!format.is_weight() || !ggml_type_of_format(format.format) || 64 % format.block_elements != 0) continue;
    const bool is_float = format.block_elements == 1;
    write(model_, test::tiny_gguf({.architecture = is_float ? "qwen3moe" : "llama",
                                   .inner = 128,
                                   .experts = is_float ? 4 : 0,
                                   .qk_norm = is_float,
                                   .format = format.format}));
    const Start packed = start();
    EXPECT_EQ(packed.cached_bytes, 0u) << format.name;
    const Start cached = start();
    EXPECT_TRUE(cached.was_cached()) << format.name;
    EXPECT_TRUE(test::same_bits(cached.logits, packed.logits)) << format.name;
  }
}

// Experts are found through lists of addresses, which every process has its own of, and with the settings of this
// start: neither may be among the bytes that are compared.
TEST_F(WeightCacheTest, ExpertsAreFoundWhereverTheFileIsMapped) {
  const test::TinyGguf mixture{.architecture = "qwen3moe", .inner = 128, .experts = 4, .qk_norm = true};
  write(model_, test::tiny_gguf(mixture));
  const auto checkpoint = Checkpoint::open(model_);
  const auto packed = ModelRunner::load(*checkpoint, options());  // its memory stays where it is
  const std::string written = read(only_file());
  const std::vector<float> expected = test::run(*packed, test::sequence(40, 1, 0), 40);
  const auto cached = ModelRunner::load(*checkpoint, options());
  EXPECT_EQ(cached->plan().cached_bytes, cached->plan().weight_bytes);
  EXPECT_TRUE(test::same_bits(test::run(*cached, test::sequence(40, 1, 0), 40), expected));
  const Start again = start();  // the first mapping is still there
  EXPECT_TRUE(again.was_cached());
  EXPECT_TRUE(test::same_bits(again.logits, expected));
  // What `quire tune` measures changes none of the bytes.
  RunnerOptions tuned = options();
  tuned.tuning_file = folder_ / "tuning.json";
  const MatmulTuning other{.packed_tokens = 8, .few_tokens = 4, .many_panels = 3};
  write_tuning({.isa = runnable_kernels().front()->name,
                .processor = processor_name(),
                .num_threads = 2,
                .tunings = {{{mixture.format, 128, 64}, other}, {{mixture.format, 64, 128}, other}}},
               tuned.tuning_file);
  const Start with_tuning = start(tuned);
  EXPECT_TRUE(with_tuning.was_cached());
  EXPECT_TRUE(test::same_bits(with_tuning.logits, expected));
  EXPECT_EQ(read(only_file()), written);
}

TEST_F(WeightCacheTest, EveryKindOfActivationsHasItsOwn) {
  std::vector<Start> packed;
  for (const Activations activations : {Activations::kInt8, Activations::kF32}) {
    RunnerOptions other = options();
    other.activations = activations;
    packed.push_back(start(other));
    EXPECT_EQ(packed.back().cached_bytes, 0u);
    const Start cached = start(other);
    EXPECT_TRUE(cached.was_cached());
    EXPECT_TRUE(test::same_bits(cached.logits, packed.back().logits));
  }
  EXPECT_FALSE(test::same_bits(packed[0].logits, packed[1].logits));
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(WeightCacheTest, EveryRankHasItsOwn) {
  const Start packed = start(options(true, 2));
  EXPECT_EQ(packed.cached_bytes, 0u);
  const std::vector<fs::path> found = files();
  ASSERT_EQ(found.size(), 2u);
  const Start cached = start(options(true, 2));
  EXPECT_TRUE(cached.was_cached());
  EXPECT_TRUE(test::same_bits(cached.logits, packed.logits));
  // Each under the other's name.
  fs::rename(found[0], cache_ / "x");
  fs::rename(found[1], found[0]);
  fs::rename(cache_ / "x", found[1]);
  const Start swapped = start(options(true, 2));
  EXPECT_EQ(swapped.cached_bytes, 0u);
  EXPECT_TRUE(test::same_bits(swapped.logits, packed.logits));
}

TEST_F(WeightCacheTest, NothingIsWrittenUnlessAskedFor) {
  EXPECT_EQ(start(options(/*fills=*/false)).cached_bytes, 0u);
  EXPECT_TRUE(files().empty());
  RunnerOptions off = options();
  off.weight_cache = "";
  EXPECT_EQ(start(off).cached_bytes, 0u);
  EXPECT_FALSE(fs::exists(cache_));
  // A model that lies in no file.
  const std::string image = test::tiny_gguf({});
  const auto checkpoint = Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf");
  (void)ModelRunner::load(*checkpoint, options());
  EXPECT_TRUE(files().empty());
}

TEST_F(WeightCacheTest, AChangedModelIsPackedAgain) {
  const Start packed = start();
  const auto time = fs::last_write_time(model_);
  // Its time alone.
  fs::last_write_time(model_, time + std::chrono::nanoseconds(1));
  expect_rebuilt(packed, "time");
  // A byte in the midst of a tensor, where it is sampled, and one at its edge, where it is not: both under the old
  // time.
  RunnerOptions off = options();
  off.weight_cache = "";
  std::string bytes = read(model_);
  const size_t middle = bytes.find(middle_of("lm_head.weight"));
  ASSERT_LT(middle, bytes.size());
  const size_t edge = middle - Checkpoint::open(model_)->tensor("lm_head.weight").size_bytes / 2;
  for (const size_t at : {middle, edge}) {
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    write(model_, bytes);
    fs::last_write_time(model_, time + std::chrono::nanoseconds(1));
    expect_rebuilt(start(off), "content");
  }
  // Another model under its name.
  write(model_, test::tiny_gguf({.inner = 128, .layers = 3, .format = Format::kQ4_0}));
  expect_rebuilt(start(off), "model");
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(WeightCacheTest, DamageIsFoundBeforeItReachesAnAnswer) {
  const Start packed = start();
  const fs::path file = only_file();
  const std::string good = read(file);
  ASSERT_GT(good.size(), packed.weight_bytes);
  std::vector<size_t> places = {0, 1, packed.weight_bytes / 2, packed.weight_bytes - 1};
  for (size_t at = packed.weight_bytes; at < good.size(); at += 37) places.push_back(at);  // sums, text
  for (size_t back = 1; back <= 16; ++back) places.push_back(good.size() - back);          // trailer
  for (const size_t at : places) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    fs::remove(file);
    write(file, bad);
    const Start rebuilt = start(options(/*fills=*/false));
    EXPECT_EQ(rebuilt.cached_bytes, 0u) << "byte " << at;
    EXPECT_TRUE(test::same_bits(rebuilt.logits, packed.logits)) << "byte " << at;
    EXPECT_EQ(read(file), good) << "byte " << at;
  }
}

TEST_F(WeightCacheTest, FilesOfAnotherLengthAreNotRead) {
  const Start packed = start();
  const fs::path file = only_file();
  const std::string good = read(file);
  const std::string tail = good.substr(packed.weight_bytes);
  const std::string bad[] = {"",
                             "x",
                             good.substr(0, 4096),
                             good.substr(0, packed.weight_bytes),
                             good.substr(0, good.size() - 1),
                             good + '\0',
                             good + tail,
                             good.substr(4096),
                             tail,
                             std::string(good.size(), '\0'),
                             std::string(good.size(), '\xff')};
  for (size_t i = 0; i < std::size(bad); ++i) {
    fs::remove(file);
    write(file, bad[i]);
    expect_rebuilt(packed, std::to_string(i));
  }
}

// Values that the model's own file gives are compared even when all sums are right: an order of columns, for example,
// must never be somebody else's.
TEST_F(WeightCacheTest, WrongValuesUnderRightSumsAreRefused) {
  const Start packed = start();
  const fs::path file = only_file();
  std::string bytes = read(file);
  const size_t at = bytes.find(middle_of("model.norm.weight"));
  ASSERT_LT(at, packed.weight_bytes);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  ASSERT_LT(packed.weight_bytes, size_t{2} << 20);  // one section
  const uint64_t sum = checksum64(test::as_bytes(bytes).first(packed.weight_bytes));
  std::memcpy(bytes.data() + packed.weight_bytes, &sum, sizeof(sum));
  fs::remove(file);
  write(file, bytes);
  expect_rebuilt(packed, "norm");
}

TEST_F(WeightCacheTest, FilesOfOthersAreNotUsed) {
  const Start packed = start();
  // It would have the same rights after it was written again, where a mount gives them, and so at every start.
  fs::permissions(only_file(), fs::perms::group_write, fs::perm_options::add);
  const auto time = fs::last_write_time(only_file());
  for (const bool fills : {false, true}) {
    const Start refused = start(options(fills));
    EXPECT_EQ(refused.cached_bytes, 0u);
    EXPECT_TRUE(test::same_bits(refused.logits, packed.logits));
  }
  EXPECT_EQ(fs::last_write_time(only_file()), time);
  EXPECT_NE(fs::status(only_file()).permissions() & fs::perms::group_write, fs::perms::none);
  fs::permissions(only_file(), fs::perms::group_write, fs::perm_options::remove);
  EXPECT_TRUE(start().was_cached());
  if (::chown(only_file().c_str(), ::geteuid() + 1, static_cast<gid_t>(-1)) == 0) {
    EXPECT_EQ(start().cached_bytes, 0u);
    EXPECT_EQ(fs::last_write_time(only_file()), time);
    ASSERT_EQ(::chown(only_file().c_str(), ::geteuid(), static_cast<gid_t>(-1)), 0);
  }
  // A table's file under another one's name.
  if (runnable_kernels().size() == 1) return;
  const fs::path mine = only_file();
  isa_ = "reference";
  const Start reference = start();
  for (const fs::path& file : files()) {
    if (file != mine) fs::copy_file(mine, file, fs::copy_options::overwrite_existing);
  }
  expect_rebuilt(reference, "of another table");
}

// Where threads are placed near to the memory of several nodes, the file's pages would be anywhere: only if asked for.
TEST_F(WeightCacheTest, PlacedThreadsKeepTheirWeightsNear) {
  const Start packed = start();
  RunnerOptions placed = options(/*fills=*/false);
  placed.processors = "cores";
  const bool has_one_node = place_threads("auto", 1).empty();
  const Start found = start(placed);
  EXPECT_EQ(found.was_cached(), has_one_node);
  EXPECT_TRUE(test::same_bits(found.logits, packed.logits));
  placed.fills_weight_cache = true;
  EXPECT_TRUE(start(placed).was_cached());
}

TEST_F(WeightCacheTest, AStartThatCannotWriteGoesOn) {
  const Start packed = start();
  write(folder_ / "file", "not a folder");
  cache_ = folder_ / "file" / "cache";
  const Start start_without = start();
  EXPECT_EQ(start_without.cached_bytes, 0u);
  EXPECT_TRUE(test::same_bits(start_without.logits, packed.logits));
}

// While another start writes, this one neither waits nor writes; what a start left that ended too early is no obstacle.
TEST_F(WeightCacheTest, StartsAtTheSameTimeWriteOnce) {
  const Start packed = start();
  const fs::path file = only_file();
  const fs::path partial = file.string() + std::string(kPartialSuffix);
  fs::remove(file);
  write(partial, "begun");
  const int other = ::open(partial.c_str(), O_RDWR);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  EXPECT_TRUE(test::same_bits(start().logits, packed.logits));
  EXPECT_FALSE(fs::exists(file));
  EXPECT_EQ(read(partial), "begun");
  ::close(other);
  EXPECT_EQ(start().cached_bytes, 0u);
  EXPECT_FALSE(fs::exists(partial));
  EXPECT_TRUE(start().was_cached());
  // A start that writes none removes it too, with the file there and without.
  for (const bool keeps_file : {true, false}) {
    write(partial, "begun");
    if (!keeps_file) fs::remove(file);
    EXPECT_EQ(start(options(/*fills=*/false)).was_cached(), keeps_file);
    EXPECT_FALSE(fs::exists(partial));
    EXPECT_EQ(fs::exists(file), keeps_file);
  }
}

// A running model keeps the file that it mapped.
TEST_F(WeightCacheTest, ReplacingAFileLeavesItsReadersAlone) {
  (void)start();
  const auto checkpoint = Checkpoint::open(model_);
  const auto runner = ModelRunner::load(*checkpoint, options());
  ASSERT_GT(runner->plan().cached_bytes, 0u);
  const std::vector<float> logits = test::run(*runner, test::sequence(40, 1, 0), 40);
  fs::remove(model_);
  write(model_, test::tiny_gguf({.inner = 128, .layers = 3, .format = Format::kQ4_0}));
  EXPECT_EQ(start().cached_bytes, 0u);
  EXPECT_TRUE(test::same_bits(test::run(*runner, test::sequence(40, 1, 0), 40), logits));
}

TEST_F(WeightCacheTest, ListsAndClears) {
  EXPECT_TRUE(list_weight_caches(cache_).empty());
  EXPECT_EQ(clear_weight_caches(cache_), 0u);
  (void)start();
  const std::string partial = only_file().string() + std::string(kPartialSuffix);
  const fs::path kept[] = {cache_ / "mine.txt", cache_ / "strange.quire", cache_ / "strange.quire.partial"};
  for (const fs::path& path : kept) write(path, std::string(100, 'x'));
  const std::vector<WeightCacheFile> list = list_weight_caches(cache_);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].model, fs::canonical(model_).string());
  EXPECT_EQ(list[0].kernels, std::string(runnable_kernels().front()->name) + " int8");
  EXPECT_EQ(list[0].size_bytes, fs::file_size(list[0].path));
  // What a start is writing, and what one has left.
  write(partial, "abc");
  const int other = ::open(partial.c_str(), O_RDWR);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  EXPECT_EQ(clear_weight_caches(cache_), list[0].size_bytes);
  EXPECT_TRUE(fs::exists(partial));
  ::close(other);
  EXPECT_EQ(clear_weight_caches(cache_), 3u);
  EXPECT_EQ(files(), std::vector<fs::path>(std::begin(kept), std::end(kept)));
}

}  // namespace
}  // namespace quire
