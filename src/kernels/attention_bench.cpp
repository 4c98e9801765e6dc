// Attention against the roofs of the machine, both measured in turn in the same run: decode in bytes of K and V per
// second against reading, prefill in flop/s against multiply-adds. Usage: quire_attention_bench [threads]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

constexpr size_t kCacheBytes = size_t{384} << 20;  // of K and of V: every call reads other blocks, as layers do
constexpr int kRounds = 7;

struct Shape {
  int num_heads;
  int num_kv_heads;
  int head_dim;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  explicit Bench(int num_threads) : table_(select_kernels("")), pool_(num_threads), k_(kCacheBytes), v_(kCacheBytes) {
    fmt::print("table {}, {} threads, K and V in f16\n", table_.name, num_threads);
    for (AlignedBuffer* buffer : {&k_, &v_}) {
      std::mt19937 random(1);
      for (uint16_t& half : buffer->as<uint16_t>()) half = static_cast<uint16_t>(0x3000 + random() % 0x0800);
    }
  }

  // One query at `depth`, as in a step of one stream: a call per layer, every layer at other blocks.
  void decode(const Shape& shape, int64_t depth) {
    prepare(shape, depth, 1);
    const double bytes = 4.0 * static_cast<double>(depth) * shape.num_kv_heads * shape.head_dim;
    const int num_calls = std::max(1, static_cast<int>(3e8 / bytes));
    std::vector<double> speeds, roofs, shares;
    for (int round = 0; round < kRounds; ++round) {
      roofs.push_back(measure_read_roof(pool_, {k_.data(), kCacheBytes}));
      const double start = now_s();
      for (int call = 0; call < num_calls; ++call) run(shape, depth - 1, 1);
      speeds.push_back(bytes * num_calls / (now_s() - start));
      shares.push_back(speeds.back() / roofs.back());
    }
    fmt::print("decode  {:2} / {} x {:3}  depth {:5}  {:6.1f} GB/s of {:5.1f}   {:3.0f} %\n", shape.num_heads,
               shape.num_kv_heads, shape.head_dim, depth, median(speeds) / 1e9, median(roofs) / 1e9,
               100 * median(shares));
  }

  // A prompt of `length` tokens in one call; only visible pairs count as work.
  void prefill(const Shape& shape, int64_t length) {
    prepare(shape, length, length);
    const double pairs = 0.5 * static_cast<double>(length) * static_cast<double>(length + 1);
    const double operations = 4.0 * pairs * shape.num_heads * shape.head_dim;
    const int num_calls = std::max(1, static_cast<int>(2e10 / operations));
    std::vector<double> speeds, roofs, shares;
    for (int round = 0; round < kRounds; ++round) {
      roofs.push_back(measure_fma_roof(pool_));
      const double start = now_s();
      for (int call = 0; call < num_calls; ++call) run(shape, 0, length);
      speeds.push_back(operations * num_calls / (now_s() - start));
      shares.push_back(speeds.back() / roofs.back());
    }
    fmt::print("prefill {:2} / {} x {:3}  {:5} tokens {:6.1f} Gflop/s of {:5.1f}   {:3.0f} %\n", shape.num_heads,
               shape.num_kv_heads, shape.head_dim, length, median(speeds) / 1e9, median(roofs) / 1e9,
               100 * median(shares));
  }

 private:
  void prepare(const Shape& shape, int64_t context, int64_t num_rows) {
    const int64_t width = int64_t{shape.num_heads} * shape.head_dim;
    q_.assign(static_cast<size_t>(num_rows * width), 0.01f);
    out_.resize(q_.size());
    const AttentionLimits limits{.num_threads = pool_.num_threads(),
                                 .max_rows = num_rows,
                                 .max_sequences = 1,
                                 .max_context = context,
                                 .num_heads = shape.num_heads,
                                 .num_kv_heads = shape.num_kv_heads,
                                 .head_dim = shape.head_dim};
    workspace_ = AlignedBuffer(table_.attention_workspace_bytes(limits));
    const size_t block_bytes = size_t{2} * kKvBlockSize * static_cast<size_t>(shape.num_kv_heads * shape.head_dim);
    num_blocks_ = static_cast<int64_t>(kCacheBytes / block_bytes);
    block_table_.resize(static_cast<size_t>((context + kKvBlockSize - 1) / kKvBlockSize));
  }

  void run(const Shape& shape, int64_t first_position, int64_t num_rows) {
    for (int32_t& block : block_table_) {
      next_block_ = (next_block_ + 1) % num_blocks_;
      block = static_cast<int32_t>(next_block_);
    }
    const AttentionSequence sequence{0, num_rows, first_position, block_table_.data()};
    AttentionArgs args;
    args.q = q_.data();
    args.q_stride = int64_t{shape.num_heads} * shape.head_dim;
    args.out = out_.data();
    args.kv = {k_.data(), v_.data(), Format::kF16, Format::kF16, shape.num_kv_heads, shape.head_dim};
    args.sequences = &sequence;
    args.num_sequences = 1;
    args.num_heads = shape.num_heads;
    args.scale = 0.1f;
    args.workspace = workspace_.data();
    table_.attention(make_exec(pool_), args);
  }

  const Kernels& table_;
  ThreadPool pool_;
  AlignedBuffer k_;
  AlignedBuffer v_;
  AlignedBuffer workspace_;
  std::vector<float> q_;
  std::vector<float> out_;
  std::vector<int32_t> block_table_;
  int64_t num_blocks_ = 0;
  int64_t next_block_ = 0;
};

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  quire::Bench bench(argc > 1 ? std::atoi(argv[1]) : quire::available_processors());
  for (const quire::Shape& shape : {quire::Shape{32, 4, 64}, quire::Shape{32, 8, 128}}) {
    for (int64_t depth : {512, 4096, 16384}) bench.decode(shape, depth);
    for (int64_t length : {512, 2048, 8192}) bench.prefill(shape, length);
  }
}
