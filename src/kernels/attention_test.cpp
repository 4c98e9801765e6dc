#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <numbers>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/select.h"
#ifdef QUIRE_EMULATED_AMX
#include "kernels/emulated_amx/emulated_amx.h"
#endif
#include "tensor/aligned_buffer.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace quire {
namespace {

struct Shape {
  int num_heads;
  int num_kv_heads;
  int head_dim;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  int64_t window = 0;
  float softcap = 0;
  float scale = 0;  // 0: 1 / sqrt(head_dim)
};

struct Rows {
  int64_t first_position;
  int64_t num_rows;
};

bool is_quantised(Format format) { return format == Format::kQ8_0 || format == Format::kQ4_0; }

// A batch whose sequences have all their K and V in the cache, in shuffled blocks. Every slot that no query may see is
// NaN.
class Batch {
 public:
  Batch(const Shape& shape, const std::vector<Rows>& rows, uint32_t seed) : shape_(shape) {
    if (shape_.scale == 0) shape_.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    int64_t num_blocks = 0;
    for (const Rows& part : rows) num_blocks += blocks_of(part);
    std::vector<int32_t> blocks(static_cast<size_t>(num_blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    block_ids_ = blocks;
    allocate_cache(num_blocks);

    const int64_t kv_width = static_cast<int64_t>(shape.num_kv_heads) * shape.head_dim;
    int64_t first_block = 0;
    for (const Rows& part : rows) {
      const int64_t context = part.first_position + part.num_rows;
      std::vector<float> k(static_cast<size_t>(context * kv_width));
      std::vector<float> v(k.size());
      for (float& x : k) x = normal(random);
      for (float& x : v) x = normal(random);
      std::vector<int64_t> slots(static_cast<size_t>(context));
      for (int64_t p = 0; p < context; ++p) {
        slots[static_cast<size_t>(p)] =
            int64_t{block_ids_[static_cast<size_t>(first_block + p / kKvBlockSize)]} * kKvBlockSize + p % kKvBlockSize;
      }
      ThreadPool pool(1);
      reference_kernels().write_kv(make_exec(pool), {kv_, v.data(), kv_width, slots.data(), context}, k.data(),
                                   kv_width);
      sequences_.push_back({num_rows_, part.num_rows, part.first_position, block_ids_.data() + first_block});
      num_rows_ += part.num_rows;
      first_block += blocks_of(part);
    }
    q_.resize(static_cast<size_t>(num_rows_ * q_stride()));
    for (float& x : q_) x = normal(random);
  }

  // Removes the blocks of these tiles from a sequence; their contents become NaN.
  void empty(size_t sequence, const std::vector<int64_t>& tiles) {
    auto* const table = const_cast<int32_t*>(sequences_[sequence].block_table);
    for (const int64_t tile : tiles) {
      for (const bool is_v : {false, true}) {
        const int64_t bytes = shape_.num_kv_heads * tile_bytes(is_v);
        std::fill_n((is_v ? v_ : k_).begin() + table[tile] * bytes, bytes, std::byte{0xff});
      }
      table[tile] = kNoBlock;
    }
  }

  const std::vector<AttentionSequence>& sequences() const { return sequences_; }
  int64_t q_stride() const { return int64_t{shape_.num_heads} * shape_.head_dim + 24; }
  int64_t out_width() const { return int64_t{shape_.num_heads} * shape_.head_dim; }

  // Computes all rows of all sequences in one call.
  std::vector<float> run(const Kernels& table, int num_threads) const { return run(table, num_threads, sequences_); }

  // Computes the given parts of the sequences in one call; the result has room for all rows.
  std::vector<float> run(const Kernels& table, int num_threads, const std::vector<AttentionSequence>& parts,
                         bool share_prefixes = true) const {
    std::vector<float> out(static_cast<size_t>(num_rows_ * out_width()), std::numeric_limits<float>::quiet_NaN());
    AttentionLimits limits{.num_threads = num_threads,
                           .max_rows = 0,
                           .max_sequences = static_cast<int64_t>(parts.size()),
                           .max_context = 0,
                           .num_heads = shape_.num_heads,
                           .num_kv_heads = shape_.num_kv_heads,
                           .head_dim = shape_.head_dim};
    for (const AttentionSequence& part : parts) {
      limits.max_rows += part.num_rows;
      limits.max_context = std::max(limits.max_context, part.first_position + part.num_rows);
    }
    // On the heap, not an AlignedBuffer, so that AddressSanitizer checks its end.
    const size_t workspace_bytes = table.attention_workspace_bytes(limits);
    const auto free_aligned = [](std::byte* p) { ::operator delete (p, std::align_val_t{64}); };
    const std::unique_ptr<std::byte, decltype(free_aligned)> workspace(
        static_cast<std::byte*>(::operator new (workspace_bytes, std::align_val_t{64})), free_aligned);
    AttentionArgs args;
    args.q = q_.data();
    args.q_stride = q_stride();
    args.out = out.data();
    args.kv = kv_;
    args.sequences = parts.data();
    args.num_sequences = static_cast<int64_t>(parts.size());
    args.num_heads = shape_.num_heads;
    args.scale = shape_.scale;
    args.softcap = shape_.softcap;
    args.window = shape_.window;
    args.share_prefixes = share_prefixes;
    args.workspace = workspace.get();
    std::memset(workspace.get(), 0xff, workspace_bytes);  // NaN: kernels must not read it before they write it
    ThreadPool pool(num_threads);
    table.attention(make_exec(pool), args);
    return out;
  }

  // in_bf16: of scaled queries, K and V rounded to bf16, except beside codes.
  std::vector<double> oracle(bool in_bf16 = false) const {
    std::vector<double> out(static_cast<size_t>(num_rows_ * out_width()));
    for (const AttentionSequence& sequence : sequences_) {
      for (int64_t row = 0; row < sequence.num_rows; ++row) {
        for (int head = 0; head < shape_.num_heads; ++head) {
          attend(sequence, row, head, in_bf16,
                 out.data() + (sequence.first_row + row) * out_width() + head * shape_.head_dim);
        }
      }
    }
    return out;
  }

 private:
  static int64_t blocks_of(const Rows& part) {
    return (part.first_position + part.num_rows + kKvBlockSize - 1) / kKvBlockSize;
  }

  int64_t tile_bytes(bool is_v) const {
    return is_v ? v_tile_bytes(shape_.v_format, shape_.head_dim) : k_tile_bytes(shape_.k_format, shape_.head_dim);
  }

  void allocate_cache(int64_t num_blocks) {
    const auto bytes = [&](bool is_v) {
      return static_cast<size_t>(num_blocks * shape_.num_kv_heads * tile_bytes(is_v));
    };
    k_.assign(bytes(false), std::byte{0xff});  // all ones: NaN
    v_.assign(bytes(true), std::byte{0xff});
    kv_ = {k_.data(), v_.data(), shape_.k_format, shape_.v_format, shape_.num_kv_heads, shape_.head_dim};
  }

  // Element (dimension, position) of a tile, with the layouts of kernels.h.
  double value(bool is_v, int64_t tile, int d, int64_t p) const {
    const Format format = is_v ? shape_.v_format : shape_.k_format;
    const std::byte* at = (is_v ? v_ : k_).data() + tile * tile_bytes(is_v);
    if (format == Format::kQ8_0) return byte_value(at, is_v, d, p);
    if (format == Format::kQ4_0) return nibble_value(at, is_v, d, p);
    const int64_t index = is_v ? p * shape_.head_dim + d : d * kKvBlockSize + p;
    if (format == Format::kF8_E4M3) return e4m3_to_f32(static_cast<uint8_t>(at[index]));
    at += index * (format == Format::kF32 ? 4 : 2);
    float wide;
    uint16_t half;
    std::memcpy(&half, at, 2);
    if (format == Format::kF16) return f16_to_f32(half);
    if (format == Format::kBF16) return bf16_to_f32(half);
    std::memcpy(&wide, at, 4);
    return wide;
  }

  int64_t num_groups() const { return (shape_.head_dim + 31) / 32; }

  double scale(const std::byte* scales, int64_t index, int64_t p) const {
    uint16_t half;
    std::memcpy(&half, scales + (index * 32 + p) * 2, 2);
    return f16_to_f32(half);
  }

  double byte_value(const std::byte* tile, bool is_v, int dimension, int64_t p) const {
    const std::byte* group = tile + dimension / 32 * 1024;
    const int d = dimension % 32;
    const std::byte byte = group[is_v ? (p / 2 * 32 + d) * 2 + p % 2 : (d / 2 * 32 + p) * 2 + d % 2];
    return scale(tile + num_groups() * 1024, dimension / 32, p) * static_cast<int8_t>(byte);
  }

  double nibble_value(const std::byte* tile, bool is_v, int dimension, int64_t p) const {
    const int64_t group_bytes = is_v ? 512 : 512 + 128;
    const std::byte* group = tile + dimension / 32 * group_bytes;
    const int d = dimension % 16;
    const auto byte = static_cast<uint8_t>(group[is_v ? (p / 2 * 16 + d) * 2 + p % 2 : (d / 2 * 32 + p) * 2 + d % 2]);
    int code = (dimension % 32 < 16 ? byte & 15 : byte >> 4) - 8;
    if (!is_v) {
      uint32_t bits;
      std::memcpy(&bits, group + 512 + p * 4, 4);
      code += (bits >> (dimension % 32 / 2 + dimension % 2 * 16) & 1u) != 0 ? 8 : -8;
    }
    return scale(tile + num_groups() * group_bytes, dimension / 64, p) * code;
  }

  // What the product of a query with K reads: the query times the scale of scores, in powers of two unless they are
  // capped.
  std::vector<double> scaled_query(const float* q, bool in_bf16) const {
    constexpr float kLog2e = 1.44269504f;
    const float scale = shape_.softcap > 0 ? shape_.scale : shape_.scale * kLog2e;
    std::vector<double> scaled;
    for (int d = 0; d < shape_.head_dim; ++d) {
      scaled.push_back(in_bf16 ? bf16_to_f32(f32_to_bf16(q[d] * scale)) : static_cast<double>(q[d]) * scale);
    }
    return scaled;
  }

  void attend(const AttentionSequence& sequence, int64_t row, int head, bool in_bf16, double* out) const {
    const int dim = shape_.head_dim;
    const int kv_head = head / (shape_.num_heads / shape_.num_kv_heads);
    const int64_t position = sequence.first_position + row;
    const int64_t first = shape_.window > 0 ? std::max<int64_t>(0, position - shape_.window + 1) : 0;
    const bool bf16_k = in_bf16 && !is_quantised(shape_.k_format), bf16_v = in_bf16 && !is_quantised(shape_.v_format);
    const std::vector<double> q =
        scaled_query(q_.data() + (sequence.first_row + row) * q_stride() + head * dim, bf16_k);
    const auto rounded = [](double x, bool to_bf16) {
      return to_bf16 ? bf16_to_f32(f32_to_bf16(static_cast<float>(x))) : x;
    };
    const auto tile_of = [&](int64_t p) {
      return int64_t{sequence.block_table[p / kKvBlockSize]} * shape_.num_kv_heads + kv_head;
    };
    const auto is_empty = [&](int64_t p) { return sequence.block_table[p / kKvBlockSize] == kNoBlock; };
    std::vector<double> scores;
    for (int64_t p = first; p <= position; ++p) {
      if (is_empty(p)) {
        scores.push_back(-std::numeric_limits<double>::infinity());
        continue;
      }
      double score = 0;
      for (int d = 0; d < dim; ++d) {
        score += q[static_cast<size_t>(d)] * rounded(value(false, tile_of(p), d, p % kKvBlockSize), bf16_k);
      }
      if (shape_.softcap == 0) score *= std::numbers::ln2;
      scores.push_back(shape_.softcap > 0 ? shape_.softcap * std::tanh(score / shape_.softcap) : score);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - max);
    for (int64_t p = first; p <= position; ++p) {
      for (int d = 0; d < dim && !is_empty(p); ++d) {
        out[d] += scores[static_cast<size_t>(p - first)] / sum *
                  rounded(value(true, tile_of(p), d, p % kKvBlockSize), bf16_v);
      }
    }
  }

  Shape shape_;
  KvLayer kv_;
  std::vector<std::byte> k_;
  std::vector<std::byte> v_;
  std::vector<int32_t> block_ids_;
  std::vector<AttentionSequence> sequences_;
  std::vector<float> q_;
  int64_t num_rows_ = 0;
};

const Format kFormats[] = {Format::kF32, Format::kF16, Format::kBF16, Format::kF8_E4M3, Format::kQ8_0, Format::kQ4_0};

class AttentionTest : public testing::TestWithParam<const Kernels*> {};

bool in_bf16(const Kernels& table) { return table.activations == Activations::kBf16; }

// Softmax weights are rounded by up to 2^-9 of themselves, and V is below 4.5.
constexpr double kBf16Bound = 4.5 / 512;

void expect_close(const std::vector<float>& got, const std::vector<double>& want, double bound,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  double worst = 0;
  size_t place = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::isnan(got[i]) ? 1e9 : std::abs(got[i] - want[i]);
    if (error > worst) worst = error, place = i;
  }
  EXPECT_LE(worst, bound) << what << ": element " << place << " is " << got[place] << ", not " << want[place];
}

// empty_tiles: the tiles without blocks of the first sequences.
void expect_oracle(const Kernels& table, const Shape& shape, const std::vector<Rows>& rows,
                   const std::vector<std::vector<int64_t>>& empty_tiles = {}) {
  Batch batch(shape, rows, 7);
  for (size_t i = 0; i < empty_tiles.size(); ++i) batch.empty(i, empty_tiles[i]);
  const std::string what = fmt::format("{}/{} heads of {}, K {} V {}, window {}, softcap {}, {} rows at {}",
                                       shape.num_heads, shape.num_kv_heads, shape.head_dim,
                                       weight_format(shape.k_format).name, weight_format(shape.v_format).name,
                                       shape.window, shape.softcap, rows[0].num_rows, rows[0].first_position);
  // Fast tables multiply codes by 16-bit queries and weights.
  const bool words = (is_quantised(shape.k_format) || is_quantised(shape.v_format)) && &table != &reference_kernels();
  expect_close(batch.run(table, 2), batch.oracle(in_bf16(table)),
               in_bf16(table) ? kBf16Bound
               : words        ? 2e-4
                              : 3e-6,
               what);
}

TEST_P(AttentionTest, HeadCountsAndDimensions) {
  for (const auto& [heads, kv_heads] : {std::pair{1, 1}, {4, 1}, {8, 2}, {6, 6}, {14, 2}}) {
    for (int head_dim : {8, 32, 40, 64, 80, 96, 128, 256}) {
      expect_oracle(*GetParam(), {heads, kv_heads, head_dim}, {{0, 5}, {36, 3}, {63, 1}});
    }
  }
}

TEST_P(AttentionTest, Contexts) {
  for (int64_t context : {1, 31, 32, 33, 256, 257, 500, 513, 1500}) {
    expect_oracle(*GetParam(), {4, 2, 64}, {{context - 1, 1}});
    expect_oracle(*GetParam(), {8, 1, 40}, {{std::max<int64_t>(0, context - 7), std::min<int64_t>(context, 7)}});
  }
  expect_oracle(*GetParam(), {2, 1, 32}, {{0, 300}});
  expect_oracle(*GetParam(), {3, 3, 48}, {{250, 70}});
}

TEST_P(AttentionTest, Formats) {
  for (Format k : kFormats) {
    for (Format v : kFormats) {
      for (int head_dim : {40, 64}) {
        expect_oracle(*GetParam(), {4, 2, head_dim, k, v}, {{70, 1}});
        expect_oracle(*GetParam(), {4, 2, head_dim, k, v}, {{20, 30}});
      }
    }
  }
}

TEST_P(AttentionTest, WindowsAndSoftcap) {
  for (int64_t window : {1, 5, 32, 100, 300}) {
    for (float softcap : {0.0f, 2.0f}) {
      Shape shape{4, 2, 64};
      shape.window = window;
      shape.softcap = softcap;
      expect_oracle(*GetParam(), shape, {{700, 1}, {0, 150}, {530, 9}, {3, 1}});
    }
  }
}

// A query head with values far from those of other heads in its tile must keep its precision, and large scores must not
// overflow.
TEST_P(AttentionTest, LargeScores) {
  Shape shape{4, 2, 64};
  shape.scale = 20.0f;
  const Batch batch(shape, {{40, 30}, {300, 1}}, 11);
  const std::vector<float> got = batch.run(*GetParam(), 1);
  const std::vector<double> want = batch.oracle(in_bf16(*GetParam()));
  const double bound = in_bf16(*GetParam()) ? kBf16Bound : 2e-3;  // scores of hundreds: 2^-24 of them
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], bound) << i;
}

// Blocks that lie wholly before every window have been freed, so their table entries must not be read.
TEST_P(AttentionTest, FreedBlocksBeforeTheWindow) {
  Shape shape{4, 2, 64};
  shape.window = 40;
  const Batch batch(shape, {{600, 3}}, 5);
  const std::vector<float> want = batch.run(*GetParam(), 2);
  AttentionSequence sequence = batch.sequences()[0];
  std::vector<int32_t> table(sequence.block_table, sequence.block_table + 19);
  for (int64_t block = 0; block < (600 - 40 + 1) / kKvBlockSize; ++block) table[static_cast<size_t>(block)] = 1 << 30;
  sequence.block_table = table.data();
  EXPECT_EQ(batch.run(*GetParam(), 2, {sequence}), want);
}

// Empty tiles: the first, the last, single and neighbouring ones, a whole stripe, the whole first and a middle split,
// all but the last.
const std::vector<std::vector<int64_t>> kEmptyTiles = {
    {0},
    {3, 5, 6, 8, 9, 10, 11, 17},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {2, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 33},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17},
};
const std::vector<Rows> kRowsOfEmptyTiles = {{0, 50}, {590, 30}, {576, 3}, {1100, 1}, {576, 1}};

std::vector<std::vector<int64_t>> empty_tiles_for_rows() {
  std::vector<std::vector<int64_t>> tiles = kEmptyTiles;
  tiles[0].clear();  // a prompt's own positions have blocks
  return tiles;
}

TEST_P(AttentionTest, EmptyTiles) {
  for (const Shape& shape :
       {Shape{4, 2, 64}, Shape{8, 1, 40, Format::kQ8_0, Format::kQ4_0},
        Shape{2, 2, 64, Format::kBF16, Format::kF8_E4M3, 130}, Shape{4, 4, 32, Format::kF32, Format::kF32, 0, 2.0f}}) {
    expect_oracle(*GetParam(), shape, kRowsOfEmptyTiles, empty_tiles_for_rows());
    for (const std::vector<int64_t>& tiles : kEmptyTiles) {
      expect_oracle(*GetParam(), shape, {{1100, 1}, {1101, 20}, {1102, 1}}, {tiles, tiles});
    }
  }
}

// Compares a query without blocks before a tile with a query whose window begins with that tile.
TEST_P(AttentionTest, EmptyTilesEqualTilesBeforeAWindow) {
  for (const int64_t first_tile : {1, 4, 7, 16, 18}) {
    Shape shape{4, 2, 64};
    Batch lost(shape, {{600, 1}}, 5);
    shape.window = 600 - first_tile * kKvBlockSize + 1;
    const Batch windowed(shape, {{600, 1}}, 5);
    const std::vector<float> want = windowed.run(*GetParam(), 2);
    std::vector<int64_t> tiles(static_cast<size_t>(first_tile));
    std::iota(tiles.begin(), tiles.end(), 0);
    lost.empty(0, tiles);
    EXPECT_EQ(lost.run(*GetParam(), 2), want) << first_tile;
  }
}

// The result of one query of num_heads heads that sees a single position.
std::vector<float> attend_one(const Kernels& table, int num_heads, const std::vector<float>& k,
                              const std::vector<float>& v) {
  const auto dim = static_cast<int>(k.size());
  std::vector<std::byte> k_tile(static_cast<size_t>(k_tile_bytes(Format::kF8_E4M3, dim))), v_tile(k_tile);
  const KvLayer kv = {k_tile.data(), v_tile.data(), Format::kF8_E4M3, Format::kF8_E4M3, 1, dim};
  ThreadPool pool(1);
  const int64_t slot = 0;
  reference_kernels().write_kv(make_exec(pool), {kv, v.data(), dim, &slot, 1}, k.data(), dim);
  const std::vector<float> q(static_cast<size_t>(num_heads * dim), 0.5f);
  std::vector<float> out(q.size());
  const int32_t block = 0;
  const AttentionSequence sequence = {0, 1, 0, &block};
  const size_t workspace_bytes = table.attention_workspace_bytes({1, 1, 1, 1, num_heads, 1, dim});
  AlignedBuffer workspace(workspace_bytes);
  AttentionArgs args;
  args.q = q.data();
  args.q_stride = num_heads * dim;
  args.out = out.data();
  args.kv = kv;
  args.sequences = &sequence;
  args.num_sequences = args.num_rows = args.max_rows = args.max_context = 1;
  args.num_heads = num_heads;
  args.scale = 1.0f;
  args.workspace = workspace.data();
  table.attention(make_exec(pool), args);
  return out;
}

// With few rows, which read codes where they lie, and with many, for which codes are widened first.
TEST_P(AttentionTest, EveryE4M3Code) {
  std::vector<float> v(256);
  for (size_t code = 0; code < v.size(); ++code) v[code] = e4m3_to_f32(static_cast<uint8_t>(code));
  for (int num_heads : {1, 40}) {
    const std::vector<float> out = attend_one(*GetParam(), num_heads, std::vector<float>(v.size()), v);
    for (size_t i = 0; i < out.size(); ++i) {
      const float want = v[i % v.size()];
      ASSERT_TRUE(std::isnan(want) ? std::isnan(out[i]) : out[i] == want) << i << ": " << out[i] << ", not " << want;
    }
    std::vector<float> k(v.size());
    k[77] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> bad = attend_one(*GetParam(), num_heads, k, std::vector<float>(v.size()));
    for (float x : bad) ASSERT_TRUE(std::isnan(x));
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Computes one sequence in chunks of `chunk` rows, with a call for each.
std::vector<float> run_in_chunks(const Batch& batch, const Kernels& table, const AttentionSequence& whole,
                                 int64_t chunk, int num_threads) {
  std::vector<float> all(static_cast<size_t>(whole.num_rows * batch.out_width()));
  for (int64_t row = 0; row < whole.num_rows; row += chunk) {
    AttentionSequence part = whole;
    part.first_row += row;
    part.first_position += row;
    part.num_rows = std::min(chunk, whole.num_rows - row);
    const std::vector<float> out = batch.run(table, num_threads, {part});
    const auto begin = out.begin() + part.first_row * batch.out_width();
    std::copy(begin, begin + part.num_rows * batch.out_width(), all.begin() + row * batch.out_width());
  }
  return all;
}

// Compares a batch with its sequences alone, whole and in chunks.
void expect_one_answer(const Kernels& table, const Shape& shape, const std::vector<Rows>& rows,
                       std::initializer_list<int64_t> chunks) {
  const Batch batch(shape, rows, 3);
  const std::vector<float> together = batch.run(table, 1);
  for (int threads : {2, 3}) EXPECT_TRUE(same_bits(batch.run(table, threads), together)) << threads;
  for (const AttentionSequence& sequence : batch.sequences()) {
    const auto begin = together.begin() + sequence.first_row * batch.out_width();
    const std::vector<float> its_rows(begin, begin + sequence.num_rows * batch.out_width());
    std::vector<int64_t> sizes = chunks;
    sizes.push_back(sequence.num_rows);
    for (const int64_t chunk : sizes) {
      const int threads = chunk == 1 ? 1 : 2;
      EXPECT_TRUE(same_bits(run_in_chunks(batch, table, sequence, chunk, threads), its_rows))
          << weight_format(shape.k_format).name << " " << weight_format(shape.v_format).name << " head_dim "
          << shape.head_dim << ", window " << shape.window << ", chunks of " << chunk << ", " << threads
          << " threads, at " << sequence.first_position;
    }
  }
}

TEST_P(AttentionTest, OneAnswer) {
  std::vector<Shape> shapes = {{8, 2, 64}, {6, 6, 40}, {7, 1, 32}, {4, 2, 128, Format::kBF16, Format::kF32}};
  shapes.push_back(shapes[0]);
  shapes.back().window = 100;
  shapes.push_back({4, 1, 64, Format::kF32, Format::kBF16, 37, 3.0f});
  for (Format k : kFormats) {
    for (Format v : kFormats) {
      const bool covered = GetParam() == &reference_kernels() && k != v;  // the reference is slow and has one loop
      const bool narrow = is_quantised(k) || is_quantised(v) || k == Format::kF8_E4M3 || v == Format::kF8_E4M3;
      if (!covered && narrow) shapes.push_back({4, 2, 40, k, v});
    }
  }
  shapes.push_back({8, 1, 64, Format::kQ8_0, Format::kQ4_0, 100});
  shapes.push_back({8, 1, 64, Format::kQ4_0, Format::kQ8_0, 37, 3.0f});
  for (const Shape& shape : shapes) {
    expect_one_answer(*GetParam(), shape, {{220, 70}, {0, 45}, {610, 1}, {290, 4}}, {1, 7, 64});
  }
}

TEST_P(AttentionTest, OneAnswerOfEmptyTiles) {
  for (const Shape& shape :
       {Shape{8, 2, 64}, Shape{7, 1, 32, Format::kQ4_0, Format::kQ8_0}, Shape{4, 2, 40, Format::kF32, Format::kBF16},
        Shape{8, 2, 64, Format::kF16, Format::kF16, 200}}) {
    Batch batch(shape, kRowsOfEmptyTiles, 3);
    const std::vector<std::vector<int64_t>> tiles = empty_tiles_for_rows();
    for (size_t i = 0; i < tiles.size(); ++i) batch.empty(i, tiles[i]);
    const std::vector<float> together = batch.run(*GetParam(), 1);
    EXPECT_TRUE(same_bits(batch.run(*GetParam(), 3), together));
    for (const AttentionSequence& sequence : batch.sequences()) {
      const auto begin = together.begin() + sequence.first_row * batch.out_width();
      const std::vector<float> rows(begin, begin + sequence.num_rows * batch.out_width());
      for (int64_t chunk : {int64_t{1}, int64_t{7}, sequence.num_rows}) {
        EXPECT_TRUE(same_bits(run_in_chunks(batch, *GetParam(), sequence, chunk, 2), rows))
            << shape.head_dim << ", window " << shape.window << ", chunks of " << chunk << ", at "
            << sequence.first_position;
      }
    }
  }
}

// Sequences that begin with the same blocks, interleaved with others, have the same bits together, alone and with
// sharing off. The prefixes end inside, at the end of and beyond the first split.
TEST_P(AttentionTest, SharedPrefixes) {
  if (GetParam() == &reference_kernels()) GTEST_SKIP() << "reads K and V again for every row";
  for (Shape shape :
       {Shape{8, 2, 64}, Shape{2, 2, 32, Format::kF32, Format::kBF16}, Shape{6, 1, 64, Format::kQ8_0, Format::kQ4_0},
        Shape{4, 2, 40, Format::kQ4_0, Format::kQ8_0, 500}, Shape{4, 4, 64, Format::kF16, Format::kF16, 60}}) {
    std::vector<Rows> rows;
    for (int i = 0; i < 11; ++i) rows.push_back({570 + i * 13, i % 5 == 4 ? 3 : 1});
    rows.push_back({600, 40});
    rows.push_back({20, 1});
    const Batch batch(shape, rows, 21);
    for (int64_t prefix_blocks : {3, 16, 17}) {
      std::vector<AttentionSequence> sequences = batch.sequences();
      std::vector<std::vector<int32_t>> tables;
      for (size_t i = 0; i < sequences.size(); ++i) {
        const AttentionSequence& s = sequences[i];
        tables.emplace_back(s.block_table, s.block_table + (s.first_position + s.num_rows - 1) / kKvBlockSize + 1);
        const AttentionSequence& leader = sequences[i % 3 == 0 ? 0 : 1];
        if (i < 12) std::copy_n(leader.block_table, prefix_blocks, tables[i].begin());
        if (i < 12 && i % 3 == 0) tables[i][1] = kNoBlock;  // some have lost a block of the prefix
        sequences[i].block_table = tables[i].data();
      }
      const std::vector<float> apart = batch.run(*GetParam(), 2, sequences, false);
      EXPECT_TRUE(same_bits(batch.run(*GetParam(), 1, sequences), apart)) << shape.head_dim << " " << prefix_blocks;
      EXPECT_TRUE(same_bits(batch.run(*GetParam(), 3, sequences), apart)) << shape.head_dim << " " << prefix_blocks;
      for (const AttentionSequence& sequence : sequences) {
        const std::vector<float> alone = batch.run(*GetParam(), 2, {sequence});
        const int64_t begin = sequence.first_row * batch.out_width();
        const int64_t floats = sequence.num_rows * batch.out_width();
        EXPECT_EQ(std::memcmp(alone.data() + begin, apart.data() + begin, static_cast<size_t>(floats) * 4), 0)
            << shape.head_dim << " " << prefix_blocks << " row " << sequence.first_row;
      }
    }
  }
}

#ifdef QUIRE_EMULATED_AMX

// A few cases, because the emulation is slow: more rows than a tile has, head sizes that are no multiple of its
// columns, K and V of which one is codes.
TEST(AttentionOnTiles, OracleAndOneAnswer) {
  const Kernels* const table = emulated_amx_kernels(Activations::kBf16);
  if (table == nullptr) GTEST_SKIP() << "the emulated tiles need AVX-512, which this machine lacks";
  for (const Shape& shape :
       {Shape{8, 2, 64}, Shape{4, 1, 40, Format::kBF16, Format::kF8_E4M3, 70},
        Shape{3, 1, 32, Format::kQ8_0, Format::kF32}, Shape{2, 1, 96, Format::kF16, Format::kQ4_0}}) {
    const std::vector<Rows> rows = {{140, 9}, {0, 35}, {530, 1}};
    expect_oracle(*table, shape, rows);
    expect_one_answer(*table, shape, rows, {1, 7});
  }
}

TEST(AttentionOnTiles, SharedPrefixes) {
  const Kernels* const table = emulated_amx_kernels(Activations::kBf16);
  if (table == nullptr) GTEST_SKIP() << "the emulated tiles need AVX-512, which this machine lacks";
  const Batch batch({8, 2, 32}, {{140, 1}, {150, 2}, {133, 1}, {160, 1}, {141, 1}}, 21);
  std::vector<AttentionSequence> sequences = batch.sequences();
  std::vector<std::vector<int32_t>> tables;
  for (AttentionSequence& s : sequences) {
    tables.emplace_back(s.block_table, s.block_table + (s.first_position + s.num_rows - 1) / kKvBlockSize + 1);
    std::copy_n(sequences[0].block_table, 4, tables.back().begin());
  }
  for (size_t i = 0; i < sequences.size(); ++i) sequences[i].block_table = tables[i].data();
  EXPECT_TRUE(same_bits(batch.run(*table, 2, sequences), batch.run(*table, 2, sequences, false)));
}

#endif

// The usual tables and those of bf16, of which the reference has no other attention.
std::vector<const Kernels*> tables_of_attention() {
  std::vector<const Kernels*> tables = runnable_kernels();
  for (const Kernels* table : runnable_kernels(Activations::kBf16)) {
    if (table != &reference_kernels(Activations::kBf16)) tables.push_back(table);
  }
  return tables;
}

INSTANTIATE_TEST_SUITE_P(Tables, AttentionTest, testing::ValuesIn(tables_of_attention()), [](const auto& test) {
  return std::string(test.param->name) + (in_bf16(*test.param) ? "_bf16" : "");
});

}  // namespace
}  // namespace quire
