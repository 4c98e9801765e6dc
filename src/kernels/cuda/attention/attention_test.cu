// Compares attention of the CUDA table, on the device or emulated, with float64; and checks that the bits of a row do
// not depend on other rows.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "kernels/cuda/attention/attention_batch.h"
#include "tensor/float8.h"

namespace quire {
namespace {

class AttentionCuda : public GpuTest {};

const Format kFormats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};

std::string describe(const AttentionTestShape& shape) {
  return std::to_string(shape.num_heads) + "/" + std::to_string(shape.num_kv_heads) + " heads of " +
         std::to_string(shape.head_dim) + ", formats " + std::to_string(static_cast<int>(shape.k_format)) + " and " +
         std::to_string(static_cast<int>(shape.v_format)) + ", window " + std::to_string(shape.window) + ", softcap " +
         std::to_string(shape.softcap);
}

void expect_oracle(const AttentionBatch& batch, const AttentionTestShape& shape, double factor) {
  const std::vector<float> got = batch.run();
  const std::vector<double> want = batch.oracle();
  // The kernels round weights to the 16-bit format of their products.
  const bool plain = shape.k_format == Format::kF32 || shape.v_format == Format::kF32 || shape.head_dim > 256 ||
                     shape.head_dim % 8 != 0;
  const bool bf16 = shape.k_format == Format::kBF16 && shape.v_format == Format::kBF16;
  const double bound = factor * (plain ? 3e-6 : bf16 ? 5e-3 : 7e-4);
  double worst = 0;
  size_t place = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::isnan(got[i]) ? 1e9 : std::abs(got[i] - want[i]);
    if (error > worst) worst = error, place = i;
  }
  EXPECT_LE(worst, bound) << describe(shape) << ": element " << place << " is " << got[place] << ", not "
                          << want[place];
}

void expect_oracle(const AttentionTestShape& shape, const std::vector<TestRows>& rows, double factor = 1) {
  expect_oracle(AttentionBatch(shape, rows, 7), shape, factor);
}

TEST_F(AttentionCuda, HeadsAndDimensions) {
  const std::pair<int, int> counts[] = {{1, 1}, {8, 2}, {8, 1}, {14, 2}, {17, 1}};
  for (int head_dim : {16, 64, 80, 128, 200, 256}) {
    for (const auto& [heads, kv_heads] : counts) {
      if (head_dim > 128 && heads > 8) continue;
      expect_oracle({heads, kv_heads, head_dim}, {{0, 5}, {36, 3}, {63, 1}});
    }
  }
  expect_oracle({2, 1, 512}, {{0, 5}, {36, 1}});
  for (Format format : {Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0}) {
    expect_oracle({4, 2, 100, format, format}, {{0, 5}, {36, 3}});
  }
}

TEST_F(AttentionCuda, Contexts) {
  for (int64_t context : {1, 31, 32, 33, 64, 65, 256, 257, 513, 2100}) {
    expect_oracle({4, 2, 64}, {{context - 1, 1}});
    expect_oracle({8, 1, 40}, {{std::max<int64_t>(0, context - 7), std::min<int64_t>(context, 7)}});
  }
  expect_oracle({2, 1, 32}, {{0, 300}});
  expect_oracle({3, 3, 48}, {{250, 70}});
  expect_oracle({2, 2, 160}, {{250, 70}});
}

TEST_F(AttentionCuda, Formats) {
  for (Format k : kFormats) {
    for (Format v : kFormats) {
      expect_oracle({4, 2, 40, k, v}, {{70, 1}, {20, 30}});
      if (k == v) expect_oracle({4, 2, 128, k, v}, {{70, 1}, {20, 30}});
      if (k == v && k != Format::kF32) expect_oracle({1, 1, 256, k, v}, {{270, 1}, {20, 30}});
    }
  }
}

TEST_F(AttentionCuda, WindowsAndSoftcap) {
  for (int64_t window : {1, 5, 32, 100, 300}) {
    for (float softcap : {0.0f, 2.0f}) {
      AttentionTestShape shape{4, 2, 64};
      shape.window = window;
      shape.softcap = softcap;
      expect_oracle(shape, {{700, 1}, {0, 150}, {530, 9}, {3, 1}});
    }
  }
}

// Scores of hundreds must not overflow, and a head must keep its precision beside other heads of its tile.
TEST_F(AttentionCuda, LargeScores) {
  AttentionTestShape shape{4, 2, 64};
  shape.scale = 20.0f;
  expect_oracle(shape, {{40, 30}, {300, 1}}, 10);
}

// Blocks that lie wholly before every window have been freed, so their table entries must not be read.
TEST_F(AttentionCuda, FreedBlocksBeforeTheWindow) {
  AttentionTestShape shape{4, 2, 64};
  shape.window = 40;
  const AttentionBatch batch(shape, {{600, 3}}, 5);
  std::vector<int32_t> blocks = batch.blocks();
  for (size_t block = 0; block < (600 - 40 + 1) / kKvBlockSize; ++block) blocks[block] = 1 << 30;
  const DeviceArray<int32_t> table(blocks);
  AttentionSequence sequence = batch.sequences()[0];
  sequence.block_table = table.data();
  EXPECT_EQ(batch.run({sequence}), batch.run());
}

// Empty tiles of each sequence: none, single and neighbouring ones, a whole split, all but the last, half of a tile of
// 64 positions.
const std::vector<TestRows> kRowsOfEmptyTiles = {{0, 50}, {590, 30}, {576, 3}, {1100, 1}, {576, 1}};
void empty_tiles(AttentionBatch& batch) {
  batch.empty(1, {3, 5, 6, 8, 9, 10, 11, 17});
  batch.empty(2, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  batch.empty(3, {2, 16, 17, 18, 19, 20, 21, 22, 23, 24, 33});
  batch.empty(4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
}

std::vector<AttentionTestShape> empty_tile_shapes() {
  return {{4, 2, 64},
          {4, 1, 136},
          {4, 2, 64, Format::kBF16, Format::kBF16, 130},
          {4, 2, 40, Format::kQ8_0, Format::kQ4_0, 0, 2.0f},
          {4, 2, 40, Format::kF32, Format::kF32}};
}

TEST_F(AttentionCuda, EmptyTiles) {
  for (const AttentionTestShape& shape : empty_tile_shapes()) {
    AttentionBatch batch(shape, kRowsOfEmptyTiles, 7);
    empty_tiles(batch);
    expect_oracle(batch, shape, 1);
  }
}

// Compares a query without blocks before a tile with a query whose window begins with that tile.
TEST_F(AttentionCuda, EmptyTilesEqualTilesBeforeAWindow) {
  for (const Format format : {Format::kF16, Format::kQ8_0, Format::kF32}) {
    for (const int64_t first_tile : {1, 4, 8, 18}) {
      AttentionTestShape shape{4, 2, 64, format, format};
      AttentionBatch lost(shape, {{600, 1}}, 5);
      shape.window = 600 - first_tile * kKvBlockSize + 1;
      const AttentionBatch windowed(shape, {{600, 1}}, 5);
      std::vector<int64_t> tiles(static_cast<size_t>(first_tile));
      std::iota(tiles.begin(), tiles.end(), 0);
      lost.empty(0, tiles);
      EXPECT_EQ(lost.run(), windowed.run()) << first_tile;
    }
  }
}

// Graphs are recorded for batches that later have fewer sequences.
TEST_F(AttentionCuda, SequencesWithoutRows) {
  for (Format format : {Format::kF16, Format::kF32}) {
    const AttentionBatch batch({4, 2, 64, format, format}, {{300, 1}, {20, 30}}, 5);
    std::vector<AttentionSequence> padded = {{0, 0, 0, nullptr}};
    for (const AttentionSequence& sequence : batch.sequences()) {
      padded.push_back(sequence);
      padded.push_back({1 << 20, 0, 1 << 20, nullptr});
    }
    EXPECT_EQ(batch.run(padded), batch.run());
  }
}

// The result of a query that sees a single position: its V.
TEST_F(AttentionCuda, EveryE4M3Code) {
  constexpr int kDim = 256;
  std::vector<float> v(kDim);
  for (size_t code = 0; code < kDim; ++code) v[code] = e4m3_to_f32(static_cast<uint8_t>(code));
  const auto bytes = static_cast<size_t>(k_tile_bytes(Format::kF8_E4M3, kDim));
  for (const int num_heads : {1, 40}) {
    DeviceArray<std::byte> k_tile(bytes);
    DeviceArray<std::byte> v_tile(bytes);
    const KvLayer kv = {k_tile.data(), v_tile.data(), Format::kF8_E4M3, Format::kF8_E4M3, 1, kDim};
    const DeviceArray<float> k_from(std::vector<float>(kDim, 1.0f));
    const DeviceArray<float> v_from(v);
    const DeviceArray<int64_t> slot(std::vector<int64_t>{0});
    cuda_attention().write_kv(gpu_exec(), {kv, v_from.data(), kDim, slot.data(), 1}, k_from.data(), kDim);
    const DeviceArray<float> q(std::vector<float>(static_cast<size_t>(num_heads * kDim), 0.5f));
    DeviceArray<float> out(static_cast<size_t>(num_heads * kDim));
    const DeviceArray<int32_t> block(std::vector<int32_t>{0});
    const DeviceArray<AttentionSequence> sequence(std::vector<AttentionSequence>{{0, 1, 0, block.data()}});
    DeviceArray<std::byte> workspace(cuda_attention().attention_workspace_bytes({1, 1, 1, 1, num_heads, 1, kDim}));
    AttentionArgs args;
    args.q = q.data();
    args.q_stride = num_heads * kDim;
    args.out = out.data();
    args.kv = kv;
    args.sequences = sequence.data();
    args.num_sequences = args.num_rows = args.max_rows = args.max_context = 1;
    args.num_heads = num_heads;
    args.scale = 1.0f;
    args.workspace = workspace.data();
    cuda_attention().attention(gpu_exec(), args);
    const std::vector<float> got = out.download();
    for (size_t i = 0; i < got.size(); ++i) {
      const float want = v[i % kDim];
      ASSERT_TRUE(std::isnan(want) ? std::isnan(got[i]) : got[i] == want) << i << ": " << got[i] << ", not " << want;
    }
  }
}

// ---- one answer ----

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Computes one sequence in chunks of `chunk` rows, with a call for each.
std::vector<float> run_in_chunks(const AttentionBatch& batch, const AttentionSequence& whole, int64_t chunk) {
  std::vector<float> all(static_cast<size_t>(whole.num_rows * batch.out_width()));
  for (int64_t row = 0; row < whole.num_rows; row += chunk) {
    AttentionSequence part = whole;
    part.first_row += row;
    part.first_position += row;
    part.num_rows = std::min(chunk, whole.num_rows - row);
    const std::vector<float> out = batch.run({part});
    const auto begin = out.begin() + part.first_row * batch.out_width();
    std::copy(begin, begin + part.num_rows * batch.out_width(), all.begin() + row * batch.out_width());
  }
  return all;
}

std::vector<AttentionTestShape> one_answer_shapes() {
  std::vector<AttentionTestShape> shapes = {{8, 2, 64}, {3, 3, 40}, {7, 1, 32}, {2, 1, 136}};
  shapes.push_back({4, 2, 64, Format::kBF16, Format::kBF16, 100});
  shapes.push_back({4, 1, 128, Format::kBF16, Format::kBF16, 37, 3.0f});
  shapes.push_back({4, 2, 64, Format::kQ8_0, Format::kQ4_0, 100});
  shapes.push_back({4, 2, 128, Format::kQ4_0, Format::kF16});
  shapes.push_back({4, 2, 40, Format::kF8_E4M3, Format::kF8_E4M3});
  shapes.push_back({2, 1, 40, Format::kF32, Format::kF32});
  return shapes;
}

TEST_F(AttentionCuda, OneAnswerForAnyChunks) {
  for (const AttentionTestShape& shape : one_answer_shapes()) {
    const AttentionBatch batch(shape, {{220, 70}, {0, 45}, {610, 1}, {290, 4}}, 3);
    const std::vector<float> together = batch.run();
    for (const AttentionSequence& sequence : batch.sequences()) {
      const auto begin = together.begin() + sequence.first_row * batch.out_width();
      const std::vector<float> rows(begin, begin + sequence.num_rows * batch.out_width());
      for (int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{33}, sequence.num_rows}) {
        EXPECT_TRUE(same_bits(run_in_chunks(batch, sequence, chunk), rows))
            << describe(shape) << ", chunks of " << chunk << " at " << sequence.first_position;
      }
    }
  }
}

TEST_F(AttentionCuda, OneAnswerOfEmptyTiles) {
  for (const AttentionTestShape& shape : empty_tile_shapes()) {
    AttentionBatch batch(shape, kRowsOfEmptyTiles, 3);
    empty_tiles(batch);
    const std::vector<float> together = batch.run();
    EXPECT_TRUE(same_bits(batch.run(batch.sequences(), {.more_context = 1 << 26}), together)) << describe(shape);
    for (const AttentionSequence& sequence : batch.sequences()) {
      const auto begin = together.begin() + sequence.first_row * batch.out_width();
      const std::vector<float> rows(begin, begin + sequence.num_rows * batch.out_width());
      for (int64_t chunk : {int64_t{1}, int64_t{7}, sequence.num_rows}) {
        EXPECT_TRUE(same_bits(run_in_chunks(batch, sequence, chunk), rows))
            << describe(shape) << ", chunks of " << chunk << " at " << sequence.first_position;
      }
    }
  }
}

// The bounds of a call decide whether splits have separate blocks or run one after the other.
TEST_F(AttentionCuda, OneAnswerForAnyBounds) {
  for (const AttentionTestShape& shape : one_answer_shapes()) {
    if (shape.k_format == Format::kF32) continue;  // the float32 kernel ignores the bounds
    const AttentionBatch batch(shape, {{800, 20}, {0, 25}, {610, 1}, {290, 2}, {2050, 1}}, 4);
    const std::vector<float> tight = batch.run();
    EXPECT_TRUE(same_bits(batch.run(batch.sequences(), {.more_context = 20000}), tight)) << describe(shape);
    EXPECT_TRUE(same_bits(batch.run(batch.sequences(), {.more_context = 1 << 26}), tight)) << describe(shape);
    EXPECT_TRUE(same_bits(batch.run(batch.sequences(), {.more_rows = 5000}), tight)) << describe(shape);
  }
}

// Sequences that begin with the same blocks, one of them with many rows, have the same bits with sharing on or off,
// alone or together.
TEST_F(AttentionCuda, SharedPrefixes) {
  std::vector<AttentionTestShape> shapes = {{8, 2, 64}, {4, 1, 136}, {6, 1, 128, Format::kQ8_0, Format::kQ4_0}};
  shapes.push_back({2, 2, 40, Format::kBF16, Format::kBF16, 900});
  shapes.push_back({2, 2, 40, Format::kBF16, Format::kBF16, 200});
  for (const AttentionTestShape& shape : shapes) {
    std::vector<TestRows> rows;
    for (int i = 0; i < 12; ++i) rows.push_back({570 + i * 7, i % 5 == 4 ? 2 : 1});
    rows.push_back({600, 40});
    const AttentionBatch batch(shape, rows, 21);
    for (const auto& [prefix_blocks, num_shared] : {std::pair{3, 0}, {8, 1}, {17, 2}}) {
      if (prefix_blocks < 17 && shape.head_dim != 64) continue;
      std::vector<AttentionSequence> sequences = batch.sequences();
      std::vector<int32_t> tables;
      std::vector<size_t> begins;
      size_t first_block = 0;
      for (const TestRows& part : rows) {
        begins.push_back(tables.size());
        const auto num_blocks = static_cast<size_t>(ceil_div(part.first_position + part.num_rows, kKvBlockSize));
        for (size_t i = 0; i < num_blocks; ++i) {
          // One block of the longest prefix is missing in all sequences.
          if (i == 9 && prefix_blocks == 17) {
            tables.push_back(kNoBlock);
            continue;
          }
          tables.push_back(batch.blocks()[i < static_cast<size_t>(prefix_blocks) ? i : first_block + i]);
        }
        first_block += num_blocks;
      }
      const DeviceArray<int32_t> device_tables(tables);
      for (size_t i = 0; i < sequences.size(); ++i) sequences[i].block_table = device_tables.data() + begins[i];
      sequences.insert(sequences.begin(), {0, 0, 0, nullptr});
      const std::vector<float> apart = batch.run(sequences, {.share_prefixes = false});
      EXPECT_TRUE(same_bits(batch.run(sequences), apart)) << describe(shape) << " " << prefix_blocks;
      EXPECT_EQ(batch.num_shared_splits(), shape.window == 200 ? 0 : num_shared) << describe(shape);
      for (const AttentionSequence& sequence : {sequences[1], sequences[5], sequences[13]}) {
        const std::vector<float> alone = batch.run({sequence});
        const int64_t begin = sequence.first_row * batch.out_width();
        const auto floats = static_cast<size_t>(sequence.num_rows * batch.out_width());
        EXPECT_EQ(std::memcmp(alone.data() + begin, apart.data() + begin, floats * sizeof(float)), 0)
            << describe(shape) << " " << prefix_blocks << " row " << sequence.first_row;
      }
    }
  }
}

}  // namespace
}  // namespace quire
