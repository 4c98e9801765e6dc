// Attention over paged K and V, and writing them, for `quire bench kernel`.

#include <fmt/format.h>

#include <algorithm>

#include "apps/bench_kernel_cases.h"
#include "apps/bench_kernel_memory.h"
#include "models/kv_cache.h"

namespace quire {
namespace {

constexpr float kEps = 1e-5f;

// Layers of K and V, more than any cache holds, filled with numbers; each call uses the next layer.
class Layers {
 public:
  Layers(const KernelRun& run, std::pair<Format, Format> formats, int64_t num_positions)
      : cache_(layout_for(run, formats, num_positions), *device_, {{{.pool = blocks_for(num_positions)}}}) {
    constexpr int64_t kRows = 256;
    const ModelShape& shape = *run.settings.shape;
    const int64_t width = shape.kv_heads * shape.head_dim;
    AlignedBuffer values = random_floats(kRows * width);
    std::vector<int64_t> slots(kRows);
    for (int layer = 0; layer < num_layers(); ++layer) {
      const int64_t num_slots = cache_.num_blocks(0) * kKvBlockSize;
      for (int64_t at = 0; at < num_slots; at += kRows) {
        const int64_t count = std::min(kRows, num_slots - at);
        for (int64_t i = 0; i < count; ++i) slots[static_cast<size_t>(i)] = at + i;
        run.table.write_kv(run.exec, {cache_.layer(layer), floats(values), width, slots.data(), count}, floats(values),
                           width);
      }
    }
  }

  KvLayer next() { return cache_.layer(next_++ % num_layers()); }
  double bytes_per_position() const { return static_cast<double>(cache_.layout().token_bytes()) / num_layers(); }

 private:
  int num_layers() const { return static_cast<int>(cache_.layout().layers.size()); }
  static KvLayout layout_for(const KernelRun& run, std::pair<Format, Format> formats, int64_t num_positions) {
    const ModelShape& model = *run.settings.shape;
    KvGroup group{.num_layers = 1,
                  .num_kv_heads = static_cast<int>(model.kv_heads),
                  .head_dim = static_cast<int>(model.head_dim),
                  .k_format = formats.first,
                  .v_format = formats.second};
    const uint64_t layer_bytes = group.block_bytes() * static_cast<uint64_t>(blocks_for(num_positions));
    group.num_layers = static_cast<int>(std::max<uint64_t>(1, run.settings.cold_bytes / layer_bytes));
    KvLayout layout{.groups = {group}, .layers = {}};
    for (int i = 0; i < group.num_layers; ++i) layout.layers.push_back({.group = 0, .index = i});
    return layout;
  }

  std::unique_ptr<Device> device_ = make_host_device();
  KvCache cache_;
  int next_ = 0;
};

// `num_sequences` sequences, each of `num_rows` tokens behind `depth` positions; all sequences share the blocks of the
// first `shared` positions.
struct AttentionLoad {
  std::pair<Format, Format> formats;
  int64_t num_sequences = 1;
  int64_t num_rows = 1;
  int64_t depth = 0;
  int64_t shared = 0;

  int64_t blocks() const { return (depth + num_rows + kKvBlockSize - 1) / kKvBlockSize; }
  int64_t shared_blocks() const { return shared / kKvBlockSize; }
  int64_t all_blocks() const { return shared_blocks() + num_sequences * (blocks() - shared_blocks()); }
  // Positions whose K and V are read at least once.
  int64_t positions() const { return shared + num_sequences * (depth + num_rows - shared); }
  // Pairs of a query and a position that it attends to.
  double pairs() const {
    return static_cast<double>(num_sequences * num_rows) *
           (static_cast<double>(depth) + static_cast<double>(num_rows + 1) / 2);
  }
  // Block ids of one sequence after the other.
  std::vector<int32_t> block_tables() const {
    std::vector<int32_t> ids;
    for (int64_t s = 0; s < num_sequences; ++s) {
      const int64_t own = s * (blocks() - shared_blocks());
      for (int64_t i = 0; i < blocks(); ++i) ids.push_back(static_cast<int32_t>(i < shared_blocks() ? i : own + i));
    }
    return ids;
  }
};

AlignedBuffer workspace_for(const KernelRun& run, const AttentionLoad& load) {
  const ModelShape& shape = *run.settings.shape;
  return buffer_of(run.table.attention_workspace_bytes({.num_threads = run.exec.num_threads,
                                                        .max_rows = load.num_sequences * load.num_rows,
                                                        .max_sequences = load.num_sequences,
                                                        .max_context = load.depth + load.num_rows,
                                                        .num_heads = static_cast<int>(shape.heads),
                                                        .num_kv_heads = static_cast<int>(shape.kv_heads),
                                                        .head_dim = static_cast<int>(shape.head_dim)}));
}

void attention_of(const KernelRun& run, const char* operation, const AttentionLoad& load) {
  const ModelShape& shape = *run.settings.shape;
  Layers layers(run, load.formats, load.all_blocks() * kKvBlockSize);
  const int64_t width = shape.heads * shape.head_dim;
  AlignedBuffer q = random_floats(load.num_sequences * load.num_rows * width);
  AlignedBuffer out = buffer_of(q.size_bytes());
  AlignedBuffer workspace = workspace_for(run, load);
  const std::vector<int32_t> tables = load.block_tables();
  std::vector<AttentionSequence> sequences;
  for (int64_t s = 0; s < load.num_sequences; ++s) {
    sequences.push_back({s * load.num_rows, load.num_rows, load.depth, tables.data() + s * load.blocks()});
  }
  const auto call = [&](bool share_prefixes) {
    AttentionArgs args;
    args.q = floats(q);
    args.q_stride = width;
    args.out = floats(out);
    args.kv = layers.next();
    args.sequences = sequences.data();
    args.num_sequences = load.num_sequences;
    args.num_heads = static_cast<int>(shape.heads);
    args.scale = 0.1f;
    args.share_prefixes = share_prefixes;
    args.workspace = workspace.data();
    run.table.attention(run.exec, args);
  };
  const std::string k = weight_format(load.formats.first).name, v = weight_format(load.formats.second).name;
  KernelCase what{.operation = operation,
                  .format = k == v ? k : k + "/" + v,
                  .shape = fmt::format("{}/{} x {}", shape.heads, shape.kv_heads, shape.head_dim),
                  .tokens = load.num_sequences * load.num_rows,
                  .depth = load.depth,
                  .shared = load.shared,
                  .bytes = layers.bytes_per_position() * static_cast<double>(load.positions()),
                  .operations = 4.0 * load.pairs() * static_cast<double>(width),
                  .call = [&] { call(true); }};
  if (load.shared > 0) {
    what.against = "sharing off";
    what.against_call = [&] { call(false); };
  }
  run.measure(what);
}

void attention_decode(const KernelRun& run) {
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t depth : run.settings.depths) {
      for (const int64_t count : run.settings.sequences) {
        const int64_t shared = count > 1 && run.settings.shared_prefix < depth ? run.settings.shared_prefix : 0;
        attention_of(run, "attention_decode",
                     {.formats = formats, .num_sequences = count, .depth = depth - 1, .shared = shared});
      }
    }
  }
}

void attention_prefill(const KernelRun& run) {
  constexpr int64_t kMin = 64;  // tokens; fewer do not measure prefill
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      if (m >= kMin) attention_of(run, "attention_prefill", {.formats = formats, .num_rows = m});
    }
  }
}

void write_kv(const KernelRun& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t width = shape.kv_heads * shape.head_dim;
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      Layers layers(run, formats, m);
      AlignedBuffer values = random_floats(m * width);
      std::vector<int64_t> slots;
      for (int64_t i = 0; i < m; ++i) slots.push_back(i);
      run.measure({.operation = "write_kv",
                   .format = weight_format(formats.first).name,
                   .shape = fmt::format("{} x {}", shape.kv_heads, shape.head_dim),
                   .tokens = m,
                   .bytes = layers.bytes_per_position() * static_cast<double>(m),
                   .is_from_memory = false,  // it writes and does not read, so the read roof does not apply
                   .call = [&] {
                     run.table.write_kv(run.exec, {layers.next(), floats(values), width, slots.data(), m},
                                        floats(values), width);
                   }});
    }
  }
}

// Half a block for each of as many branches of draft trees as there would be tokens.
void copy_kv(const KernelRun& run) {
  constexpr int32_t kCount = kKvBlockSize / 2;
  const ModelShape& shape = *run.settings.shape;
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      Layers layers(run, formats, (m + 1) * kKvBlockSize);
      std::vector<KvCopy> copies;
      for (int32_t i = 0; i < m; ++i) copies.push_back({.from = 0, .to = i + 1, .first = 0, .count = kCount});
      run.measure({.operation = "copy_kv",
                   .format = weight_format(formats.first).name,
                   .shape = fmt::format("{} x {} x {}", kCount, shape.kv_heads, shape.head_dim),
                   .tokens = m,
                   .bytes = layers.bytes_per_position() * static_cast<double>(2 * m * kCount),
                   .is_from_memory = false,
                   .call = [&] { run.table.copy_kv(run.exec, layers.next(), copies.data(), m); }});
    }
  }
}

void norm_rope_write_kv(const KernelRun& run) {
  const ModelShape& shape = *run.settings.shape;
  const int64_t head_dim = shape.head_dim, q_width = shape.heads * head_dim, width = shape.kv_heads * head_dim;
  const auto half_dim = static_cast<int>(head_dim / 2);
  AlignedBuffer weight = random_floats(head_dim);
  for (const auto& formats : run.settings.kv_formats) {
    for (const int64_t m : run.settings.tokens) {
      Layers layers(run, formats, m);
      AlignedBuffer values = random_floats(m * (q_width + 2 * width));
      AlignedBuffer cos_sin = rotations(m, head_dim);
      std::vector<int64_t> slots;
      for (int64_t i = 0; i < m; ++i) slots.push_back(i);
      const HeadRows q{floats(values), q_width, static_cast<int>(shape.heads), floats(weight), kEps};
      const HeadRows k{q.x + m * q_width, width, static_cast<int>(shape.kv_heads), floats(weight), kEps};
      const KvWrite v{.kv = {}, .v = k.x + m * width, .v_stride = width, .slots = slots.data(), .num_rows = m};
      run.measure({.operation = "norm_rope_write_kv",
                   .format = weight_format(formats.first).name,
                   .shape = fmt::format("{} + {} x {}", shape.heads, shape.kv_heads, head_dim),
                   .tokens = m,
                   .bytes = layers.bytes_per_position() * static_cast<double>(m) +
                            static_cast<double>(m * (2 * q_width + 3 * width)) * sizeof(float),
                   .is_from_memory = false,
                   .call =
                       [&] {
                         KvWrite write = v;
                         write.kv = layers.next();
                         run.table.norm_rope_write_kv(run.exec, q, k, write,
                                                      {floats(cos_sin), static_cast<int>(head_dim), half_dim});
                       },
                   .against = "norm_rope + write_kv",
                   .against_call =
                       [&] {
                         const HeadRows parts[] = {q, k};
                         run.table.norm_rope(run.exec, parts, 2, m,
                                             {floats(cos_sin), static_cast<int>(head_dim), half_dim, false});
                         run.table.write_kv(run.exec, {layers.next(), v.v, width, slots.data(), m}, k.x, width);
                       }});
    }
  }
}

constexpr KernelOperation kAttention[] = {{"attention_decode", attention_decode},
                                          {"attention_prefill", attention_prefill},
                                          {"write_kv", write_kv},
                                          {"copy_kv", copy_kv},
                                          {"norm_rope_write_kv", norm_rope_write_kv}};

}  // namespace

std::span<const KernelOperation> attention_operations() { return kAttention; }

}  // namespace quire
