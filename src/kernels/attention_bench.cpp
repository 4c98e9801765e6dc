// Attention against the roofs of the machine, both measured in turn in the same run: decode in bytes of K and V per
// second against reading, prefill in flop/s against multiply-adds, for each KV type; and decode of sequences that share
// a prefix, against the same with sharing off.
// Usage: quire_attention_bench [threads] [part of a line to measure, such as "decode" or "Q8_0"]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

constexpr size_t kCacheBytes = size_t{384} << 20;  // of K and of V: every call reads other blocks, as layers do
constexpr int kRounds = 7;

struct AttentionShape {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  Format format = Format::kF16;  // of K and of V
  int64_t num_sequences = 1;
  int64_t depth = 0;       // positions of each sequence, its new tokens included
  int64_t num_tokens = 1;  // new ones of each sequence
  int64_t shared = 0;      // positions that all sequences begin with
  bool share_prefixes = true;

  double position_bytes() const {
    return 2.0 * num_kv_heads * static_cast<double>(kv_tile_bytes(format, head_dim)) / kKvBlockSize;
  }
  // Multiply-adds count twice; pairs of a query and a position that it sees.
  double operations() const {
    const auto first = static_cast<double>(depth - num_tokens + 1);
    const double pairs = static_cast<double>(num_tokens) * (first + static_cast<double>(depth)) / 2;
    return 4.0 * pairs * num_heads * head_dim * static_cast<double>(num_sequences);
  }
  std::string text() const {
    return fmt::format("{:2} / {:2} x {:3} {:4}", num_heads, num_kv_heads, head_dim, weight_format(format).name);
  }
};

// Processor time of the one thread there is, or time passed: others' work does not count against one thread.
double clock_s(const ThreadPool& pool) {
  if (pool.num_threads() > 1) return now_s();
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Bench {
 public:
  explicit Bench(int num_threads) : table_(select_kernels("")), pool_(num_threads), k_(kCacheBytes), v_(kCacheBytes) {
    std::mt19937 random(1);
    for (AlignedBuffer* buffer : {&k_, &v_}) {
      // Small numbers as halves, floats or scales.
      for (uint16_t& half : buffer->as<uint16_t>()) half = static_cast<uint16_t>(0x3000 + random() % 0x0800);
    }
  }

  // The least seconds of a call, of kRounds of at least `round_s` each.
  double seconds(const AttentionShape& shape, double round_s = 0.03) {
    prepare(shape);
    double best = 1e30;
    for (int round = 0; round < kRounds; ++round) {
      const double start = clock_s(pool_);
      double passed = 0;
      int calls = 0;
      while (passed < round_s) {
        run(shape);
        ++calls;
        passed = clock_s(pool_) - start;
      }
      best = std::min(best, passed / calls);
    }
    return best;
  }

  double read_roof() {
    double best = 0;
    for (int round = 0; round < 3; ++round) {
      const double wall = now_s(), start = clock_s(pool_);
      const double speed = measure_read_roof(pool_, {k_.data(), kCacheBytes});
      best = std::max(best, speed * (now_s() - wall) / (clock_s(pool_) - start));
    }
    return best;
  }
  double fma_roof() {
    double best = 0;
    for (int round = 0; round < 3; ++round) {
      const double wall = now_s(), start = clock_s(pool_);
      const double speed = measure_fma_roof(pool_);
      best = std::max(best, speed * (now_s() - wall) / (clock_s(pool_) - start));
    }
    return best;
  }
  const char* table() const { return table_.name; }

 private:
  void prepare(const AttentionShape& shape) {
    const int64_t num_rows = shape.num_sequences * shape.num_tokens;
    q_.assign(static_cast<size_t>(num_rows * shape.num_heads * shape.head_dim), 0.01f);
    out_.resize(q_.size());
    const AttentionLimits limits{.num_threads = pool_.num_threads(),
                                 .max_rows = num_rows,
                                 .max_sequences = shape.num_sequences,
                                 .max_context = shape.depth,
                                 .num_heads = shape.num_heads,
                                 .num_kv_heads = shape.num_kv_heads,
                                 .head_dim = shape.head_dim};
    workspace_ = AlignedBuffer(table_.attention_workspace_bytes(limits));
    const auto block_bytes = static_cast<size_t>(shape.num_kv_heads * kv_tile_bytes(shape.format, shape.head_dim));
    num_blocks_ = static_cast<int64_t>(kCacheBytes / block_bytes);
    const int64_t blocks = (shape.depth + kKvBlockSize - 1) / kKvBlockSize;
    tables_.assign(static_cast<size_t>(shape.num_sequences), std::vector<int32_t>(static_cast<size_t>(blocks)));
    sequences_.resize(tables_.size());
  }

  void run(const AttentionShape& shape) {
    for (size_t i = 0; i < tables_.size(); ++i) {
      for (size_t block = 0; block < tables_[i].size(); ++block) {
        if (i > 0 && static_cast<int64_t>(block) < shape.shared / kKvBlockSize) {
          tables_[i][block] = tables_[0][block];
          continue;
        }
        next_block_ = (next_block_ + 1) % num_blocks_;
        tables_[i][block] = static_cast<int32_t>(next_block_);
      }
      sequences_[i] = {static_cast<int64_t>(i) * shape.num_tokens, shape.num_tokens, shape.depth - shape.num_tokens,
                       tables_[i].data()};
    }
    AttentionArgs args;
    args.q = q_.data();
    args.q_stride = int64_t{shape.num_heads} * shape.head_dim;
    args.out = out_.data();
    args.kv = {k_.data(), v_.data(), shape.format, shape.format, shape.num_kv_heads, shape.head_dim};
    args.sequences = sequences_.data();
    args.num_sequences = shape.num_sequences;
    args.num_heads = shape.num_heads;
    args.scale = 0.1f;
    args.share_prefixes = shape.share_prefixes;
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
  std::vector<std::vector<int32_t>> tables_;
  std::vector<AttentionSequence> sequences_;
  int64_t num_blocks_ = 0;
  int64_t next_block_ = 0;
};

struct Lines {
  Bench& bench;
  std::string wanted;

  bool skips(const std::string& name) const { return name.find(wanted) == std::string::npos; }

  // One query at `depth`, as in a step of one stream: a call per layer, every layer at other blocks.
  void decode(AttentionShape shape, int64_t depth) const {
    const std::string name = fmt::format("decode  {}  depth {:5}", shape.text(), depth);
    if (skips(name)) return;
    shape.depth = depth;
    const double roof = bench.read_roof();
    const double seconds = bench.seconds(shape);
    const double speed = shape.position_bytes() * static_cast<double>(depth) / seconds;
    fmt::print("{}  {:6.1f} GB/s of {:5.1f}   {:3.0f} %  {:8.1f} us  {:6.1f} Gflop/s\n", name, speed / 1e9, roof / 1e9,
               100 * speed / roof, 1e6 * seconds, shape.operations() / seconds / 1e9);
  }

  // A prompt of `length` tokens in one call; only visible pairs count as work.
  void prefill(AttentionShape shape, int64_t length) const {
    const std::string name = fmt::format("prefill {}  {:5} tokens", shape.text(), length);
    if (skips(name)) return;
    shape.depth = shape.num_tokens = length;
    const double roof = bench.fma_roof();
    const double speed = shape.operations() / bench.seconds(shape);
    fmt::print("{}  {:6.1f} Gflop/s of {:5.1f}   {:3.0f} %\n", name, speed / 1e9, roof / 1e9, 100 * speed / roof);
  }

  // A step of 32 sequences that share 2048 positions and have 64 of their own.
  void shared(AttentionShape shape) const {
    const std::string name = fmt::format("shared  {}  32 x (2048 + 64)", shape.text());
    if (skips(name)) return;
    shape.num_sequences = 32;
    shape.depth = 2112;
    shape.shared = 2048;
    const double together = bench.seconds(shape);
    shape.share_prefixes = false;
    const double same_blocks = bench.seconds(shape);
    shape.shared = 0;
    const double apart = bench.seconds(shape);
    fmt::print("{}  {:7.2f} ms, sharing off {:7.2f} ({:.2f} x), no shared blocks {:7.2f} ({:.2f} x)\n", name,
               1e3 * together, 1e3 * same_blocks, same_blocks / together, 1e3 * apart, apart / together);
  }
};

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  using quire::Format;
  const int num_threads = argc > 1 ? std::atoi(argv[1]) : quire::available_processors();
  quire::Bench bench(num_threads);
  const quire::Lines lines{bench, argc > 2 ? argv[2] : ""};
  fmt::print("table {}, {} threads\n", bench.table(), num_threads);
  for (const quire::AttentionShape& shape : {quire::AttentionShape{32, 4, 64}, quire::AttentionShape{32, 8, 128}}) {
    for (const Format format : {Format::kF32, Format::kF16, Format::kBF16, Format::kQ8_0, Format::kQ4_0}) {
      quire::AttentionShape typed = shape;
      typed.format = format;
      for (const int64_t depth : {512, 4096, 16384}) lines.decode(typed, depth);
      for (const int64_t length : {512, 2048, 8192}) lines.prefill(typed, length);
      lines.shared(typed);
    }
  }
  lines.shared({16, 16, 128});
}
