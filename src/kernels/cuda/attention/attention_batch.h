// For tests of attention on CUDA: batches of sequences whose K and V lie in shuffled blocks of the device, and the
// expected results of attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/kv_tiles.h"
#include "kernels/cuda/device/device_array.h"

namespace quire {

inline const Kernels& cuda_attention() {
  static const Kernels table = [] {
    Kernels filled{};
    fill_attention_cuda(filled);
    return filled;
  }();
  return table;
}

struct AttentionTestShape {
  int num_heads;
  int num_kv_heads;
  int head_dim;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  int64_t window = 0;
  float softcap = 0;
  float scale = 0;  // 0: 1 / sqrt(head_dim)
};

struct TestRows {
  int64_t first_position;
  int64_t num_rows;
};

// By how much the bounds of a call exceed its true sizes; and the caller's other choices.
struct Bounds {
  int64_t more_rows = 0;
  int64_t more_context = 0;
  bool share_prefixes = true;
};

// Every slot that no query may see is NaN.
class AttentionBatch {
 public:
  AttentionBatch(const AttentionTestShape& shape, const std::vector<TestRows>& rows, uint32_t seed)
      : shape_(shape), random_(seed) {
    if (shape_.scale == 0) shape_.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    int64_t num_blocks = 0;
    for (const TestRows& part : rows) {
      sequences_.push_back({num_rows_, part.num_rows, part.first_position, nullptr});
      num_rows_ += part.num_rows;
      num_blocks += ceil_div(part.first_position + part.num_rows, kKvBlockSize);
    }
    blocks_.resize(static_cast<size_t>(num_blocks));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    std::shuffle(blocks_.begin(), blocks_.end(), random_);
    table_ = std::make_unique<DeviceArray<int32_t>>(blocks_);
    const auto cache_bytes = [&](Format codes) {
      return static_cast<size_t>(num_blocks * shape.num_kv_heads * kv_stored_bytes(codes, shape.head_dim));
    };
    k_ = std::make_unique<DeviceArray<std::byte>>(cache_bytes(k_codes(shape.k_format)));
    v_ = std::make_unique<DeviceArray<std::byte>>(cache_bytes(shape.v_format));
    kv_ = {k_->data(), v_->data(), shape.k_format, shape.v_format, shape.num_kv_heads, shape.head_dim};
    int64_t first_block = 0;
    for (AttentionSequence& sequence : sequences_) {
      const int64_t context = sequence.first_position + sequence.num_rows;
      sequence.block_table = table_->data() + first_block;
      fill(first_block, context);
      first_block += ceil_div(context, kKvBlockSize);
    }
    q_ = normal(static_cast<size_t>(num_rows_ * q_stride()));
    host_k_ = k_->download();
    host_v_ = v_->download();
  }

  // Removes the blocks of these tiles from a sequence.
  void empty(size_t index, const std::vector<int64_t>& tiles) {
    const auto first = static_cast<size_t>(sequences_[index].block_table - table_->data());
    for (const int64_t tile : tiles) blocks_[first + static_cast<size_t>(tile)] = kNoBlock;
    auto table = std::make_unique<DeviceArray<int32_t>>(blocks_);
    for (AttentionSequence& sequence : sequences_) {
      sequence.block_table = table->data() + (sequence.block_table - table_->data());
    }
    table_ = std::move(table);
  }

  const std::vector<AttentionSequence>& sequences() const { return sequences_; }
  int64_t out_width() const { return int64_t{shape_.num_heads} * shape_.head_dim; }
  int64_t q_stride() const { return out_width() + 24; }
  const std::vector<int32_t>& blocks() const { return blocks_; }
  // How many of the first eight splits the last run marked as shared by all sequences (shared_splits comes first in the
  // workspace).
  int num_shared_splits() const { return num_shared_splits_; }

  std::vector<float> run() const { return run(sequences_); }

  // Computes the given parts of the sequences in one call; the result has room for all rows.
  std::vector<float> run(const std::vector<AttentionSequence>& parts, const Bounds& bounds = {}) const {
    const DeviceArray<AttentionSequence> sequences(parts);
    const DeviceArray<float> q(q_);
    DeviceArray<float> out(static_cast<size_t>(num_rows_ * out_width()));
    AttentionArgs args;
    args.q = q.data();
    args.q_stride = q_stride();
    args.out = out.data();
    args.kv = kv_;
    args.sequences = sequences.data();
    args.num_sequences = static_cast<int64_t>(parts.size());
    for (const AttentionSequence& part : parts) {
      args.num_rows += part.num_rows;
      args.max_rows = std::max(args.max_rows, part.num_rows + bounds.more_rows);
      args.max_context = std::max(args.max_context, part.first_position + part.num_rows + bounds.more_context);
    }
    args.num_rows += bounds.more_rows;
    args.num_heads = shape_.num_heads;
    args.scale = shape_.scale;
    args.softcap = shape_.softcap;
    args.window = shape_.window;
    args.share_prefixes = bounds.share_prefixes;
    args.begin_alike = true;
    const DeviceArray<std::byte> workspace(
        cuda_attention().attention_workspace_bytes({.num_threads = 1,
                                                    .max_rows = args.num_rows,
                                                    .max_sequences = args.num_sequences,
                                                    .max_context = args.max_context,
                                                    .num_heads = shape_.num_heads,
                                                    .num_kv_heads = shape_.num_kv_heads,
                                                    .head_dim = shape_.head_dim}));
    args.workspace = const_cast<std::byte*>(workspace.data());
    cuda_attention().attention(gpu_exec(), args);
    const std::vector<std::byte> left = workspace.download();
    num_shared_splits_ = 0;
    for (int split = 0; left.size() >= 64 && split < 8; ++split) {
      int32_t flag = 0;
      std::memcpy(&flag, left.data() + split * sizeof(flag), sizeof(flag));
      num_shared_splits_ += flag == 1 ? 1 : 0;
    }
    return out.download();
  }

  // The expected result, computed in float64 from queries, K and V as the kernels round them.
  std::vector<double> oracle() const {
    std::vector<double> out(static_cast<size_t>(num_rows_ * out_width()));
    int64_t first_block = 0;
    for (const AttentionSequence& sequence : sequences_) {
      for (int64_t row = 0; row < sequence.num_rows; ++row) {
        for (int head = 0; head < shape_.num_heads; ++head) attend(sequence, first_block, row, head, out.data());
      }
      first_block += ceil_div(sequence.first_position + sequence.num_rows, kKvBlockSize);
    }
    return out;
  }

 private:
  std::vector<float> normal(size_t size) {
    std::normal_distribution<float> distribution;
    std::vector<float> values(size);
    for (float& x : values) x = distribution(random_);
    return values;
  }

  void fill(int64_t first_block, int64_t context) {
    const int64_t width = int64_t{shape_.num_kv_heads} * shape_.head_dim;
    std::vector<int64_t> slots(static_cast<size_t>(context));
    for (int64_t p = 0; p < context; ++p) {
      const int64_t block = blocks_[static_cast<size_t>(first_block + p / kKvBlockSize)];
      slots[static_cast<size_t>(p)] = block * kKvBlockSize + p % kKvBlockSize;
    }
    const DeviceArray<float> k(normal(static_cast<size_t>(context * width)));
    const DeviceArray<float> v(normal(static_cast<size_t>(context * width)));
    const DeviceArray<int64_t> at(slots);
    cuda_attention().write_kv(gpu_exec(), {kv_, v.data(), width, at.data(), context}, k.data(), width);
    k_->download();
  }

  bool is_plain() const {
    return shape_.k_format == Format::kF32 || shape_.v_format == Format::kF32 || shape_.head_dim > 256 ||
           shape_.head_dim % 8 != 0;
  }
  bool is_bf16() const { return shape_.k_format == Format::kBF16 && shape_.v_format == Format::kBF16; }
  float rounded(float x) const {
    if (is_plain()) return x;
    return is_bf16() ? bf16_to_float(float_to_bf16(x)) : f16_to_float(float_to_f16(x));
  }

  float value(bool is_v, int64_t block, int kv_head, int64_t position, int d) const {
    const Format format = is_v ? shape_.v_format : k_codes(shape_.k_format);
    const int64_t tile = (block * shape_.num_kv_heads + kv_head) * kv_stored_bytes(format, shape_.head_dim);
    const std::byte* at = (is_v ? host_v_ : host_k_).data() + tile;
    return rounded(kv_value(format, at, shape_.head_dim, static_cast<int>(position % kKvBlockSize), d));
  }

  void attend(const AttentionSequence& sequence, int64_t first_block, int64_t row, int head, double* out) const {
    const int dim = shape_.head_dim;
    const int kv_head = head / (shape_.num_heads / shape_.num_kv_heads);
    const int64_t position = sequence.first_position + row;
    const int64_t first = shape_.window > 0 ? std::max<int64_t>(0, position - shape_.window + 1) : 0;
    const float* q = q_.data() + (sequence.first_row + row) * q_stride() + head * dim;
    double* const to = out + (sequence.first_row + row) * out_width() + head * dim;
    const auto block_of = [&](int64_t p) { return blocks_[static_cast<size_t>(first_block + p / kKvBlockSize)]; };
    std::vector<double> scores;
    for (int64_t p = first; p <= position; ++p) {
      if (block_of(p) == kNoBlock) {
        scores.push_back(-INFINITY);
        continue;
      }
      double score = 0;
      for (int d = 0; d < dim; ++d) score += double{rounded(q[d])} * value(false, block_of(p), kv_head, p, d);
      score *= shape_.scale;
      scores.push_back(shape_.softcap > 0 ? shape_.softcap * std::tanh(score / shape_.softcap) : score);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - max);
    for (int64_t p = first; p <= position; ++p) {
      if (block_of(p) == kNoBlock) continue;
      const double weight = scores[static_cast<size_t>(p - first)] / sum;
      for (int d = 0; d < dim; ++d) to[d] += weight * value(true, block_of(p), kv_head, p, d);
    }
  }

  AttentionTestShape shape_;
  std::mt19937 random_;
  int64_t num_rows_ = 0;
  mutable int num_shared_splits_ = 0;
  std::vector<AttentionSequence> sequences_;
  std::vector<int32_t> blocks_;
  std::unique_ptr<DeviceArray<int32_t>> table_;
  std::unique_ptr<DeviceArray<std::byte>> k_;
  std::unique_ptr<DeviceArray<std::byte>> v_;
  KvLayer kv_;
  std::vector<float> q_;
  std::vector<std::byte> host_k_;
  std::vector<std::byte> host_v_;
};

}  // namespace quire
