#include "kernels/cuda/attention/attention.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/attention/attention_call.h"

namespace quire {
namespace {

// Splits have separate blocks as long as their results fit into this much memory. With more rows, the sequences alone
// are enough work for a device.
constexpr int64_t kFewPartialBytes = int64_t{128} << 20;
constexpr int64_t kManyPartialBytes = int64_t{32} << 20;
// With at least this many blocks of long sequences, each block computes all splits of its rows.
constexpr int64_t kEnoughBlocks = 256;
constexpr int kMaxSplitDim = 256;

// With at least this many sequences it pays to look for a prefix that they share.
constexpr int64_t kSharingSequences = 4;

constexpr int many_rows(int head_dim) { return head_dim <= 128 ? 128 : 64; }

// The sizes of a call, or the limits of all calls.
struct CallSize {
  int64_t num_rows;
  int64_t max_rows;
  int64_t num_sequences;
  int64_t max_context;
  int num_heads;
  int num_kv_heads;
  int head_dim;

  int heads_per_kv() const { return num_heads / num_kv_heads; }
  int num_splits() const { return split_of(static_cast<int>(std::max<int64_t>(max_context, 1) - 1)) + 1; }
  int64_t few_rows() const { return std::min<int64_t>(max_rows, kFewRows / heads_per_kv()) * heads_per_kv(); }
  int64_t many_jobs() const {
    const int64_t by_rows = ceil_div(num_rows * heads_per_kv(), many_rows(head_dim)) + num_sequences;
    const int64_t by_sequences = num_sequences * ceil_div(max_rows * heads_per_kv(), many_rows(head_dim));
    return std::min(by_rows, by_sequences);
  }
  int64_t many_partial_rows() const { return std::min<int64_t>(max_rows * heads_per_kv(), many_rows(head_dim)); }
  // The bytes of shared_splits, which come first in the workspace.
  int64_t flag_bytes() const { return ceil_div(num_splits() * static_cast<int64_t>(sizeof(int32_t)), 64) * 64; }
  int64_t partial_bytes(int64_t jobs, int64_t rows) const {
    return jobs * num_kv_heads * num_splits() * rows * (head_dim + 2) * static_cast<int64_t>(sizeof(float));
  }
};

size_t attention_workspace_bytes(const AttentionLimits& limits) {
  const CallSize size = {limits.max_rows,  limits.max_rows,     limits.max_sequences, limits.max_context,
                         limits.num_heads, limits.num_kv_heads, limits.head_dim};
  const int64_t few = std::min(size.partial_bytes(limits.max_sequences, size.few_rows()), kFewPartialBytes);
  const int64_t many = std::min(size.partial_bytes(size.many_jobs(), size.many_partial_rows()), kManyPartialBytes);
  return static_cast<size_t>(size.flag_bytes() + ceil_div(std::max(few, many), 64) * 64);
}

void run_kernel(const AttentionCall& call, Stream stream) {
  const KvLayer& kv = call.args.kv;
  if (kv.k_format == Format::kF16 && kv.v_format == Format::kF16) {
    run_attention_f16(call, stream);
  } else if (kv.k_format == Format::kBF16 && kv.v_format == Format::kBF16) {
    run_attention_bf16(call, stream);
  } else {
    run_attention_mixed(call, stream);
  }
}

// Packs: a pack of rows reads a shared split once for all its sequences.
void run_packs(const AttentionCall& call, Stream stream) {
  find_shared_splits(call, stream);
  AttentionCall packs = call;
  packs.pack_rows = many_rows(call.args.kv.head_dim);
  packs.num_jobs = static_cast<int>(ceil_div(call.args.num_sequences * call.partial_rows, packs.pack_rows));
  run_kernel(packs, stream);
}

void run_jobs(const AttentionCall& call, Stream stream) {
  if (call.shared_splits != nullptr) run_packs(call, stream);
  run_kernel(call, stream);
  if (call.num_splits > 0) merge_attention_splits(call, stream);
}

void attention(const Exec& exec, const AttentionArgs& args) {
  const KvLayer& kv = args.kv;
  const Stream stream = gpu_stream(exec);
  if (args.num_sequences == 0 || args.max_rows == 0) return;
  // The tensor-core kernels copy eight dimensions at a time.
  const bool in_eights = kv.head_dim % 8 == 0;
  if (kv.k_format == Format::kF32 || kv.v_format == Format::kF32 || kv.head_dim > kMaxSplitDim || !in_eights) {
    return run_attention_plain(args, stream);
  }
  CHECK(reinterpret_cast<uintptr_t>(args.q) % 16 == 0 && args.q_stride % 4 == 0);
  const CallSize size = {args.num_rows,  args.max_rows,   args.num_sequences, args.max_context,
                         args.num_heads, kv.num_kv_heads, kv.head_dim};
  const int num_splits = size.num_splits();
  AttentionCall call;
  call.args = args;
  call.heads_per_kv = size.heads_per_kv();
  constexpr float kLog2E = 1.44269504f;
  call.partials = reinterpret_cast<float*>(args.workspace + size.flag_bytes());
  call.to_log2 = (args.softcap > 0 ? args.softcap : args.scale) * kLog2E;

  if (call.heads_per_kv <= kFewRows) {
    const int64_t rows = size.few_rows();
    const bool splits = num_splits > 1 && size.partial_bytes(args.num_sequences, rows) <= kFewPartialBytes;
    call.rows_per_job = kFewRows;
    call.num_jobs = static_cast<int>(args.num_sequences);
    call.num_splits = splits ? num_splits : 0;
    call.partial_rows = static_cast<int>(rows);
    const bool shares = splits && args.share_prefixes && args.begin_alike && args.num_sequences >= kSharingSequences;
    call.shared_splits = shares ? reinterpret_cast<int32_t*>(args.workspace) : nullptr;
    run_jobs(call, stream);
  }
  if (args.max_rows * call.heads_per_kv > kFewRows) {
    const int64_t jobs = size.many_jobs();
    const int64_t rows = size.many_partial_rows();
    const bool splits =
        num_splits > 1 && jobs * kv.num_kv_heads < kEnoughBlocks && size.partial_bytes(jobs, rows) <= kManyPartialBytes;
    call.rows_per_job = many_rows(kv.head_dim);
    call.shared_splits = nullptr;
    call.num_jobs = static_cast<int>(jobs);
    call.num_splits = splits ? num_splits : 0;
    call.partial_rows = static_cast<int>(rows);
    run_jobs(call, stream);
  }
}

}  // namespace

void fill_attention_cuda(Kernels& table) {
  fill_write_kv_cuda(table);
  table.attention_workspace_bytes = attention_workspace_bytes;
  table.attention = attention;
}

}  // namespace quire
