#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>

#include "base/error.h"
#include "kernels/select.h"
#include "models/kv_cache.h"
#include "models/layers/attention.h"
#include "models/layers/moe.h"
#include "models/layers/rotary.h"
#include "models/loading/config.h"

namespace quire {
namespace {

json::object parse(std::string_view text) { return parse_json(text, "test").as_object(); }

// Frequencies and factors of Hugging Face Transformers 5.23 for hidden_size 64, 4 heads, max_position_embeddings 256.
struct RopeCase {
  const char* name;
  const char* config;
  int64_t length;
  std::vector<float> frequencies;
  float attention_factor;
};

const RopeCase kRopeCases[] = {
    {"default_old",
     R"({"max_position_embeddings": 256, "rope_theta": 10000.0})",
     1,
     {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f, 0.00100000005f, 0.000316227786f},
     1.0f},
    {"linear_old",
     R"({"max_position_embeddings": 256, "rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}})",
     1,
     {0.25f, 0.0484806895f, 0.00940150768f, 0.00182316627f, 0.000353553361f, 6.85620471e-05f, 1.32957393e-05f,
      2.57834631e-06f},
     1.0f},
    {"dynamic_short",
     R"({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2}})",
     256,
     {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f, 0.00316227786f, 0.00100000005f, 0.000316227786f},
     1.0f},
    {"dynamic_long",
     R"({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2}})",
     700,
     {1.0f, 0.25533849f, 0.0651977435f, 0.0166474916f, 0.00425074529f, 0.00108537893f, 0.000277139014f,
      7.07642612e-05f},
     1.0f},
    {"llama3",
     R"({"max_position_embeddings": 256, "rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}})",
     1,
     {1.0f, 0.079403013f, 0.00470075384f, 0.000911583134f, 0.000176776681f, 3.42810235e-05f, 6.64786967e-06f,
      1.28917316e-06f},
     1.0f},
    {"yarn",
     R"({"max_position_embeddings": 256, "rope_theta": 1e4, "rope_scaling": {"type": "yarn", "factor": 4.0,
         "original_max_position_embeddings": 64}})",
     1,
     {1.0f, 0.237170815f, 0.049999997f, 0.00790569466f, 0.00249999994f, 0.000790569466f, 0.000250000012f,
      7.90569466e-05f},
     1.13862944f},
    {"yarn_mscale",
     R"({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
         "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 0.8, "beta_fast": 16.0,
         "beta_slow": 2.0, "truncate": false}})",
     1,
     {1.0f, 0.14849025f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f, 0.000250000012f,
      7.90569466e-05f},
     1.02495796f},
    {"longrope_short",
     R"({"max_position_embeddings": 256, "original_max_position_embeddings": 64, "rope_scaling": {"type": "su",
         "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0],
         "long_factor": [1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 48.0]}})",
     64,
     {1.0f, 0.301169306f, 0.0909090936f, 0.0263523124f, 0.0076923077f, 0.00210818532f, 0.000588235271f,
      0.000158113893f},
     1.15470054f},
    {"longrope_long",
     R"({"max_position_embeddings": 256, "original_max_position_embeddings": 64, "rope_parameters": {
         "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0],
         "long_factor": [1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 48.0]}})",
     65,
     {1.0f, 0.210818499f, 0.0500000007f, 0.00790569466f, 0.00124999997f, 0.000197642366f, 3.12500015e-05f,
      6.58807858e-06f},
     1.15470054f},
};

class RopeTest : public testing::TestWithParam<RopeCase> {};

TEST_P(RopeTest, FrequenciesAreHuggingFaces) {
  const RopeCase& expected = GetParam();
  const RopeSettings settings = read_rope(parse(expected.config), 16);
  EXPECT_NEAR(settings.attention_factor, expected.attention_factor, 1e-7);
  const std::vector<float> frequencies = rope_frequencies(settings, expected.length);
  ASSERT_EQ(frequencies.size(), expected.frequencies.size());
  for (size_t i = 0; i < frequencies.size(); ++i) {
    EXPECT_NEAR(frequencies[i], expected.frequencies[i], 3e-7f * expected.frequencies[i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Scalings, RopeTest, testing::ValuesIn(kRopeCases),
                         [](const auto& tested) { return std::string(tested.param.name); });

void run_inline(void*, int64_t num_tasks, Exec::Body body, void* context) {
  for (int64_t task = 0; task < num_tasks; ++task) body(context, task, 0);
}

std::vector<float> angles(const RopeSettings& settings, std::vector<int64_t> positions, std::vector<uint8_t> is_long,
                          int64_t num_remembered = 0) {
  Step step;
  step.exec = {.run = run_inline, .pool = nullptr, .num_threads = 1};
  step.num_rows = static_cast<int64_t>(positions.size());
  step.positions = positions.data();
  step.is_long = is_long.data();
  std::vector<float> cos_sin(positions.size() * static_cast<size_t>(settings.dim));
  Rotary rotary(settings);
  if (num_remembered > 0) rotary.remember(num_remembered);
  rotary.fill(step, cos_sin.data());
  return cos_sin;
}

TEST(Rotary, AnglesOfATokenDependOnNothingElseInTheBatch) {
  for (const RopeCase& rope : kRopeCases) {
    const RopeSettings settings = read_rope(parse(rope.config), 16);
    const std::vector<float> together = angles(settings, {3, 300, 63, 700, 64}, {0, 1, 0, 1, 1});
    const std::vector<float> alone = angles(settings, {300}, {1});
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + 16)) << rope.name;
  }
}

TEST(Rotary, PrecomputedAnglesAreTheSame) {
  for (const RopeCase& rope : kRopeCases) {
    const RopeSettings settings = read_rope(parse(rope.config), 16);
    const std::vector<int64_t> positions = {0, 63, 300, 511, 512, 700};
    for (const uint8_t side : {0, 1}) {
      const std::vector<uint8_t> is_long(positions.size(), side);
      EXPECT_EQ(angles(settings, positions, is_long, 512), angles(settings, positions, is_long)) << rope.name;
    }
  }
}

TEST(Rotary, LongSequencesUseTheLongFactorsEverywhere) {
  const RopeSettings settings = read_rope(parse(kRopeCases[8].config), 16);
  EXPECT_EQ(angles(settings, {0}, {0}), angles(settings, {0}, {1}));
  EXPECT_NE(angles(settings, {10}, {0}), angles(settings, {10}, {1}));
  const std::vector<float> row = angles(settings, {10}, {1});
  EXPECT_NEAR(row[1], std::cos(10 * 0.210818499f) * 1.15470054f, 1e-6);
  EXPECT_NEAR(row[8 + 1], std::sin(10 * 0.210818499f) * 1.15470054f, 1e-6);
}

TEST(Rotary, GemmaLocalAndGlobal) {
  const auto config = parse(R"({"max_position_embeddings": 256, "rope_theta": 1e6, "rope_local_base_freq": 2e4,
      "rope_scaling": {"rope_type": "linear", "factor": 8.0}})");
  const RopeSettings full = read_rope(config, 16, {.theta = 1e6, .layer_type = "full_attention"});
  const RopeSettings local = read_rope(
      config, 16, {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .use_rope_scaling = false});
  EXPECT_EQ(full.scaling, RopeScaling::kLinear);
  EXPECT_EQ(local.scaling, RopeScaling::kNone);
  EXPECT_EQ(local.theta, 2e4);
  const auto newer = parse(R"({"max_position_embeddings": 256, "rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
      "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}})");
  EXPECT_EQ(read_rope(newer, 16, {.layer_type = "full_attention"}), full);
  EXPECT_EQ(read_rope(newer, 16, {.layer_type = "sliding_attention"}), local);
}

TEST(Rotary, RefusesUnknownScalings) {
  const auto refused = [](std::string_view config) {
    try {
      read_rope(parse(config), 16);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "rope_scaling": {"type": "mrope"}})").find("\"mrope\""),
            std::string::npos);
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "rope_scaling": {"type": "linear", "factor": 0}})"), "");
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "rope_theta": -1})"), "");
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "partial_rotary_factor": 0.1})"), "");
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "partial_rotary_factor": 1e300})"), "");
  EXPECT_NE(refused(R"({"max_position_embeddings": 8, "rope_scaling": {"type": "longrope", "short_factor": [1],
                        "long_factor": [1]}})"),
            "");
}

// A mixture with random weights, on any table.
class RandomMoe {
 public:
  // Every other expert is in the second format.
  RandomMoe(const Kernels& table, Format even, Format odd) : table_(table) {
    step_.kernels = &table;
    step_.exec = {.run = run_inline, .pool = nullptr, .num_threads = 1};
    moe_.routing = {.num_experts = 5, .per_row = 3, .normalize = true};
    moe_.router = random_linear(Format::kF32, 5, kHidden);
    for (int i = 0; i < 5; ++i) {
      const Format format = i % 2 == 0 ? even : odd;
      moe_.experts.push_back({.gate = random_linear(format, kInner, kHidden),
                              .up = random_linear(format, kInner, kHidden),
                              .down = random_linear(format, kHidden, kInner)});
    }
    const InputForms reads = forms_read_by({&moe_.experts[0].gate, &moe_.experts[1].gate});
    const auto matrices = [&](Linear Mlp::*kind) {
      const auto list = std::make_shared<PackedMatrix[]>(moe_.experts.size());
      for (size_t i = 0; i < moe_.experts.size(); ++i)
        list[static_cast<ptrdiff_t>(i)] = (moe_.experts[i].*kind).weights;
      return Moe::Matrices{.experts = list, .columns = nullptr, .reads = reads};
    };
    moe_.gates = matrices(&Mlp::gate);
    moe_.ups = matrices(&Mlp::up);
    moe_.downs = matrices(&Mlp::down);
  }

  // [num_rows, kHidden] of a batch whose workspace has room for max_rows.
  std::vector<float> apply(const std::vector<float>& x, int64_t max_rows) {
    Arena counted;
    Moe::Buffers buffers;
    PackedRows packed;
    buffers.take(counted, table_, {.max_rows = max_rows}, moe_);
    packed.take(counted, table_, max_rows, kHidden);
    AlignedBuffer memory(counted.used_bytes());
    Arena arena(std::span(memory.data(), memory.size_bytes()));
    buffers.take(arena, table_, {.max_rows = max_rows}, moe_);
    packed.take(arena, table_, max_rows, kHidden);
    std::vector<float> y(x.size(), 17.0f);
    const auto rows = static_cast<int64_t>(x.size()) / kHidden;
    moe_.apply(step_, buffers, plain_input(step_, x.data(), rows, kHidden, moe_.input_forms(), packed), y.data());
    return y;
  }

  static constexpr int64_t kHidden = 64;
  static constexpr int64_t kInner = 32;

 private:
  Linear random_linear(Format format, int64_t rows, int64_t cols) {
    std::normal_distribution<float> normal(0.0f, 0.3f);
    std::vector<float> values(static_cast<size_t>(rows * cols));
    for (float& value : values) value = normal(random_);
    std::vector<std::byte> file(weight_format(format).bytes_of(rows * cols));
    weight_format(format).quantize(values.data(), file.data(), rows * cols);
    packed_.emplace_back(table_.packed_bytes(format, rows, cols));
    table_.pack(step_.exec, format, rows, cols, file.data(), packed_.back().data());
    return {.weights = {.format = format, .rows = rows, .cols = cols, .data = packed_.back().data()},
            .takes_packed = table_.takes_packed(format)};
  }

  const Kernels& table_;
  Step step_;
  Moe moe_;
  std::deque<AlignedBuffer> packed_;
  std::mt19937 random_{5};
};

// Enough rows for several waves of experts; a single row takes another code path than several rows.
TEST(Moe, ARowsResultDependsOnNothingElseInTheBatch) {
  constexpr int64_t kRows = 300;
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * RandomMoe::kHidden);
  for (float& value : x) value = normal(random);
  for (const Kernels* table : runnable_kernels()) {
    for (const Format format : {Format::kF32, Format::kQ8_0}) {
      RandomMoe moe(*table, format, format);
      const std::vector<float> together = moe.apply(x, kRows);
      for (const int64_t count : {1, 2, 16}) {
        for (const int64_t first : {0, 77, 284}) {
          const auto at = x.begin() + first * RandomMoe::kHidden;
          const std::vector<float> few = moe.apply({at, at + count * RandomMoe::kHidden}, count);
          EXPECT_TRUE(std::equal(few.begin(), few.end(), together.begin() + first * RandomMoe::kHidden))
              << table->name << " " << weight_format(format).name << ", " << count << " rows from " << first;
        }
      }
    }
  }
}

// Experts that read floats beside experts that read packed rows.
TEST(Moe, ExpertsMayHaveSeveralFormats) {
  constexpr int64_t kRows = 40;
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * RandomMoe::kHidden);
  for (float& value : x) value = normal(random);
  for (const Kernels* table : runnable_kernels()) {
    const std::vector<float> expected = RandomMoe(*table, Format::kF32, Format::kF32).apply(x, kRows);
    const float largest = std::abs(*std::ranges::max_element(expected, {}, [](float y) { return std::abs(y); }));
    for (const auto& [even, odd] : {std::pair(Format::kF16, Format::kQ8_0), std::pair(Format::kQ8_0, Format::kF16)}) {
      const std::vector<float> y = RandomMoe(*table, even, odd).apply(x, kRows);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 0.03f * largest) << table->name << " " << i;
    }
  }
}

// Attention with random weights and its own cache, on any table.
class RandomAttention {
 public:
  static constexpr AttentionSizes kSizes{.hidden_size = 64, .num_heads = 4, .num_kv_heads = 2, .head_dim = 16};
  static constexpr int64_t kRows = 7;
  static constexpr Format kKv = Format::kF32;

  // `sources`: of every layer, whose K and V it reads. hadamard: of K and V, which are floats here.
  RandomAttention(const Kernels& table, const std::vector<int>& sources, bool hadamard = false) : table_(table) {
    std::vector<LayerKv> layers;
    for (const int source : sources) layers.push_back({.num_kv_heads = 2, .head_dim = 16, .source = source});
    const KvBlockCounts counts{.pool = 2};
    KvLayout layout = make_kv_layout(layers, {.max_context = 64, .k_format = kKv, .v_format = kKv});
    for (KvGroup& group : layout.groups) group.hadamard_k = group.hadamard_v = hadamard;
    cache_.emplace(std::move(layout), *device_, std::span(&counts, 1));
    step_.kernels = &table;
    step_.exec = {.run = run_inline, .pool = nullptr, .num_threads = 1};
    step_.device = device_.get();
    step_.kv = &*cache_;
    step_.num_rows = step_.max_sequence_rows = step_.max_context = kRows;
    step_.num_sequences = 1;
    step_.kv_groups = {&rows_, 1};
    const StepLimits limits{.max_rows = kRows, .max_sequences = 1, .max_context = 64};
    Arena counted;
    buffers_.take(counted, table, limits, {&kSizes, 1});
    memory_ = AlignedBuffer(counted.used_bytes());
    Arena arena(std::span(memory_.data(), memory_.size_bytes()));
    buffers_.take(arena, table, limits, {&kSizes, 1});
  }

  // Weights that follow from the seeds.
  Attention attention(uint32_t q_seed, uint32_t kv_seed) {
    Attention result;
    result.sizes = kSizes;
    result.q = random_linear(q_seed, kSizes.q_size());
    result.k = random_linear(kv_seed, kSizes.kv_size());
    result.v = random_linear(kv_seed + 1, kSizes.kv_size());
    result.o = random_linear(q_seed + 1, kSizes.hidden_size);
    result.scale = 0.25f;
    return result;
  }

  std::vector<float> apply(const Attention& attention, int layer) {
    const std::vector<float> x = random_floats(99, kRows * kSizes.hidden_size);
    const std::vector<float> cos_sin = random_floats(98, kRows * kSizes.head_dim);
    std::vector<float> y(x.size());
    const MatmulInput input{.num_rows = kRows, .cols = kSizes.hidden_size, .f32 = x.data()};
    attention.apply(step_, buffers_,
                    {.layer = layer, .x = {.rows = input}, .cos_sin = cos_sin.data(), .half_dim = 8, .y = y.data()});
    return y;
  }

  // K of layer 0.
  std::vector<std::byte> k() {
    const KvLayer layer = cache_->layer(0);
    return {layer.k, layer.k + 2 * layer.num_kv_heads * k_tile_bytes(layer.k_format, layer.head_dim)};
  }

 private:
  static std::vector<float> random_floats(uint32_t seed, int64_t count) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.5f);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  }
  Linear random_linear(uint32_t seed, int64_t rows) {
    const std::vector<float> values = random_floats(seed, rows * kSizes.hidden_size);
    packed_.emplace_back(table_.packed_bytes(Format::kF32, rows, kSizes.hidden_size));
    table_.pack(step_.exec, Format::kF32, rows, kSizes.hidden_size, reinterpret_cast<const std::byte*>(values.data()),
                packed_.back().data());
    return {
        .weights = {.format = Format::kF32, .rows = rows, .cols = kSizes.hidden_size, .data = packed_.back().data()},
        .takes_packed = table_.takes_packed(Format::kF32)};
  }

  const Kernels& table_;
  std::unique_ptr<Device> device_ = make_host_device();
  std::optional<KvCache> cache_;
  Step step_;
  Attention::Buffers buffers_;
  AlignedBuffer memory_;
  const int64_t slots_[kRows] = {0, 1, 2, 3, 4, 5, 6};
  const int32_t block_ = 0;
  const AttentionSequence sequence_{.first_row = 0, .num_rows = kRows, .first_position = 0, .block_table = &block_};
  const KvGroupRows rows_{.slots = slots_, .sequences = &sequence_};
  std::deque<AlignedBuffer> packed_;
};

TEST(Attention, ReadsAnotherLayersKeysAndValues) {
  for (const Kernels* table : runnable_kernels()) {
    RandomAttention own(*table, {0, 1});
    own.apply(own.attention(10, 20), 0);
    const std::vector<float> expected = own.apply(own.attention(30, 20), 1);

    RandomAttention shared(*table, {0, 0});
    shared.apply(shared.attention(10, 20), 0);
    const std::vector<std::byte> k = shared.k();
    Attention reader = shared.attention(30, 40);
    reader.kv_layer = 0;
    reader.k = reader.v = {};
    EXPECT_EQ(shared.apply(reader, 1), expected) << table->name;
    EXPECT_EQ(shared.k(), k) << table->name << ": it writes nothing";
  }
}

// What heads are multiplied by cancels out, in a layer that writes K and V and in one that reads them.
TEST(Attention, HadamardHeadsGiveTheSameSums) {
  for (const Kernels* table : runnable_kernels()) {
    std::vector<float> outputs[2][2];
    for (const bool hadamard : {false, true}) {
      RandomAttention random(*table, {0, 0}, hadamard);
      outputs[0][hadamard] = random.apply(random.attention(10, 20), 0);
      Attention reader = random.attention(30, 40);
      reader.kv_layer = 0;
      reader.k = reader.v = {};
      outputs[1][hadamard] = random.apply(reader, 1);
    }
    for (const auto& [plain, turned] : outputs) {
      double error = 0, power = 0;
      for (size_t i = 0; i < plain.size(); ++i) {
        error += std::pow(double{plain[i]} - turned[i], 2);
        power += std::pow(double{plain[i]}, 2);
      }
      EXPECT_LT(error, 1e-11 * power) << table->name;
      EXPECT_NE(plain, turned) << table->name << ": the matrix was not used";
    }
  }
}

// Two matrices with the same order of columns and one with another give the same bits as plain matrices give for rows
// gathered before, for any number of rows.
TEST(ColumnOrder, IsTheInputGathered) {
  constexpr int64_t kRows = 9, kCols = 64, kTokens = 259;
  const Kernels& kernels = select_kernels("");
  ThreadPool pool(2);
  const Step step{.kernels = &kernels, .exec = make_exec(pool)};
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(kTokens * kCols), values(kRows * kCols);
  for (float& value : x) value = normal(random);
  for (float& value : values) value = normal(random);
  const WeightFormat& format = weight_format(Format::kI4_G32);
  std::vector<std::byte> blocks(format.bytes_of(kRows * kCols));
  format.quantize(values.data(), blocks.data(), kRows * kCols);
  AlignedBuffer packed(kernels.packed_bytes(format.format, kRows, kCols));
  kernels.pack(step.exec, format.format, kRows, kCols, blocks.data(), packed.data());
  Linear plain{.weights = {format.format, kRows, kCols, packed.data()}, .takes_packed = true};

  std::vector<int32_t> columns(kCols);
  std::iota(columns.begin(), columns.end(), 0);
  std::ranges::shuffle(columns, random);
  Linear ordered = plain;
  ordered.columns = columns.data();
  std::vector<float> by_hand(x.size());
  for (size_t i = 0; i < x.size(); ++i) by_hand[i] = x[i / kCols * kCols + static_cast<size_t>(columns[i % kCols])];

  AlignedBuffer buffer(kTokens * kernels.packed_row_bytes(kCols));
  const auto multiply = [&](const float* rows, int64_t count, std::initializer_list<LinearOutput> outputs) {
    linear(step, plain_input(step, rows, count, kCols, {.f32 = true, .packed = true}, {buffer.data()}), outputs);
  };
  std::vector<float> expected(kTokens * kRows), in_place(kTokens * kRows), first(kTokens * kRows, 1.0f),
      second(kTokens * kRows), alone(kRows);
  multiply(by_hand.data(), kTokens, {{.linear = &plain, .y = expected.data()}});
  multiply(x.data(), kTokens, {{.linear = &plain, .y = in_place.data()}});
  std::vector<float> beside(kTokens * kRows);
  multiply(x.data(), kTokens,
           {{.linear = &ordered, .y = first.data(), .accumulate = true},
            {.linear = &plain, .y = beside.data()},
            {.linear = &ordered, .y = second.data()}});
  EXPECT_EQ(second, expected);
  EXPECT_EQ(beside, in_place);
  for (float& value : expected) value += 1.0f;
  EXPECT_EQ(first, expected);
  multiply(x.data() + 200 * kCols, 1, {{.linear = &ordered, .y = alone.data()}});
  EXPECT_TRUE(std::ranges::equal(alone, std::span(second).subspan(200 * kRows, kRows)));
}

}  // namespace
}  // namespace quire
