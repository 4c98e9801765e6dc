#include "apps/bench_offline_cells.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/select.h"

namespace quire {

std::string Cell::text(int64_t shared_prefix) const {
  std::string out = fmt::format("{} {}", is_prefill ? "prefill" : "decode", count);
  if (depth > 0) out += fmt::format(" @ {}", depth);
  if (sequences > 1) out += fmt::format(" x {}", sequences);
  if (shared_prefix > 0 && sequences > 1) out += fmt::format(", {} shared", shared_prefix);
  return out;
}

int64_t blocks_of(int64_t positions) { return (positions + kKvBlockSize - 1) / kKvBlockSize; }

Sequences::Sequences(ModelRunner& runner, int64_t shared_prefix)
    : runner_(runner), num_shared_(shared_prefix / kKvBlockSize) {
  const int64_t num_sequences = runner.options().max_sequences;
  const int64_t own = (runner.options().num_blocks - num_shared_) / num_sequences;
  for (int64_t s = 0; s < num_sequences; ++s) {
    BlockTable& table = tables_.emplace_back();
    for (int64_t i = 0; i < num_shared_; ++i) table.push_back(static_cast<int32_t>(i));
    for (int64_t i = 0; i < own; ++i) table.push_back(static_cast<int32_t>(num_shared_ + s * own + i));
  }
  // The system provides memory at its first use; touching it here keeps that out of the measurement.
  for (int32_t block = 1; block < runner_.options().num_blocks; ++block) runner_.copy_block(0, block);
}

double Sequences::seconds(const Cell& cell) {
  fill(cell.depth);
  const double start = now_s();
  if (cell.is_prefill) {
    prefill(cell.depth, cell.count, cell.sequences);
  } else {
    decode(cell.depth, cell.count, cell.sequences);
  }
  return now_s() - start;
}

void Sequences::fill(int64_t depth) {
  if (depth <= filled_) return;
  prefill(filled_, depth - filled_, 1);
  for (int64_t i = std::max(num_shared_, filled_ / kKvBlockSize); i < blocks_of(depth); ++i) {
    const auto at = static_cast<size_t>(i);
    for (size_t s = 1; s < tables_.size(); ++s) runner_.copy_block(tables_[0][at], tables_[s][at]);
  }
  filled_ = depth;
}

void Sequences::prefill(int64_t depth, int64_t count, int64_t num) {
  const int64_t most = runner_.options().max_batch_tokens;
  batch_.clear();
  for (int64_t s = 0; s < num; ++s) {
    for (int64_t at = depth; at < depth + count;) {
      const int64_t room = most - static_cast<int64_t>(batch_.token_ids.size());
      const int64_t taken = std::min(room, depth + count - at);
      add(s, at, taken);
      at += taken;
      if (at == depth + count) batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()) - 1);
      if (taken == room) run();
    }
  }
  if (!batch_.token_ids.empty()) run();
}

void Sequences::decode(int64_t depth, int64_t count, int64_t num) {
  batch_.clear();
  for (int64_t at = depth; at < depth + count; ++at) {
    for (int64_t s = 0; s < num; ++s) {
      add(s, at, 1);
      batch_.logit_rows.push_back(static_cast<int32_t>(s));
    }
    run();
  }
}

void Sequences::add(int64_t sequence, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    // Any ids do; these are spread over the vocabulary.
    batch_.token_ids.push_back(static_cast<int32_t>(((first + i) * 7919 + 1) % runner_.info().vocab_size));
  }
  const BlockTable& table = tables_[static_cast<size_t>(sequence)];
  batch_.sequences.push_back({.num_tokens = count, .first_position = first, .block_tables = {&table, 1}});
}

void Sequences::run() {
  runner_.run(batch_);
  batch_.clear();
}

RoofShare::RoofShare(const Checkpoint& checkpoint, const ModelRunner& runner, int64_t shared_prefix)
    : pool_(runner.options().num_threads),
      table_(select_kernels(runner.options().isa, runner.options().activations)),
      meter_(pool_, table_),
      memory_(size_t{256} << 20),
      runner_(runner),
      shared_prefix_(shared_prefix) {
  std::fill(memory_.as<std::byte>().begin(), memory_.as<std::byte>().end(), std::byte{1});
  const auto matrix = checkpoint.find_tensor("model.layers.0.mlp.down_proj.weight");
  is_integer_ = table_.activations == Activations::kInt8 && (!matrix || table_.takes_packed(matrix->format));
}

double RoofShare::measure(const Cell& cell, double seconds) {
  const ModelInfo& info = runner_.info();
  const auto count = static_cast<double>(cell.count);
  const auto sequences = static_cast<double>(cell.sequences);
  if (cell.is_prefill) {
    const double ends = static_cast<double>(info.vocab_size * info.hidden_size) * (info.tied_embeddings ? 1 : 2);
    const double layers = static_cast<double>(info.num_parameters) - ends;
    const double roof = is_integer_ ? meter_.dot() : meter_.multiply_add();
    return 2 * layers * count * sequences / seconds / roof;
  }
  const double depth = static_cast<double>(cell.depth) + count / 2;
  const auto shared = cell.sequences > 1 ? static_cast<double>(shared_prefix_) : 0.0;
  const double positions = shared + sequences * (depth - shared);
  const double bytes = static_cast<double>(runner_.plan().weight_bytes) +
                       positions * static_cast<double>(runner_.plan().kv_bytes_per_token);
  return count * bytes / seconds / meter_.read(memory_.as<std::byte>());
}

}  // namespace quire
