#include "compress/calibration/calibration.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/cgroup.h"
#include "base/check.h"
#include "base/error.h"
#include "compress/calibration/input_sums.h"
#include "kernels/select.h"
#include "models/layers/linear.h"

namespace quire {
namespace {

constexpr int64_t kBatchTokens = 512;  // enough rows for the kernels' full speed

// Collects what the matrices of one layer multiply.
class LayerObserver : public InputObserver {
 public:
  LayerObserver(SumWorkers& workers, const StatisticsWanted& wanted, int64_t expected_rows)
      : workers_(workers), wanted_(wanted), expected_rows_(expected_rows) {}

  void observe(std::span<const Linear* const> matrices, const float* x, int64_t num_rows) override {
    const auto [known, is_new] = inputs_.try_emplace(matrices[0], sums_.size());
    if (is_new) add_input(matrices);
    sums_[known->second].add(x, num_rows, workers_);
  }

  CalibratedLayer take() {
    for (InputSums& sums : sums_) layer_.inputs.push_back(sums.take());
    return std::move(layer_);
  }

 private:
  void add_input(std::span<const Linear* const> matrices) {
    const size_t input = sums_.size();
    sums_.emplace_back(matrices[0]->weights.cols, wanted_, expected_rows_);
    for (const Linear* matrix : matrices) {
      CalibratedMatrix* const last = layer_.matrices.empty() ? nullptr : &layer_.matrices.back();
      const bool goes_on = last != nullptr && last->name == matrix->name && last->input == input &&
                           last->first_row + last->rows == matrix->first_row;
      if (goes_on) {
        last->rows += matrix->weights.rows;
      } else {
        layer_.matrices.push_back({.name = matrix->name,
                                   .first_row = matrix->first_row,
                                   .rows = matrix->weights.rows,
                                   .cols = matrix->weights.cols,
                                   .input = input});
      }
    }
  }

  SumWorkers& workers_;
  StatisticsWanted wanted_;
  int64_t expected_rows_;
  std::map<const Linear*, size_t> inputs_;  // by the first matrix that reads them
  std::vector<InputSums> sums_;
  CalibratedLayer layer_;
};

}  // namespace

Calibrator::Calibrator(const Checkpoint& checkpoint, std::vector<std::vector<int32_t>> windows,
                       const CalibrationOptions& options)
    : checkpoint_(checkpoint),
      options_(options),
      windows_(std::move(windows)),
      overlay_(checkpoint),
      threads_(options.num_threads > 0 ? options.num_threads : available_processors()) {
  const ModelInfo info = ModelRunner::info(checkpoint);
  num_layers_ = info.num_layers;
  hidden_size_ = info.hidden_size;
  for (const std::vector<int32_t>& window : windows_) {
    const auto length = static_cast<int64_t>(window.size());
    CHECK(length > 0);
    num_rows_ += length;
    longest_ = std::max(longest_, length);
  }
  if (windows_.empty() || longest_ > info.max_context) {
    fail(ErrorCode::kInvalidArgument,
         "{}: the calibration text has {} windows of up to {} tokens, expected 1 or more of "
         "up to {}",
         checkpoint.name(), windows_.size(), longest_, info.max_context);
  }
  group_windows();
  residual_.resize(static_cast<size_t>(num_rows_ * hidden_size_));
}

Calibrator::~Calibrator() = default;

void Calibrator::group_windows() {
  for (size_t i = 0; i < windows_.size(); ++i) {
    const auto length = static_cast<int64_t>(windows_[i].size());
    if (groups_.empty() || groups_.back().num_tokens + length > kBatchTokens)
      groups_.push_back({.first = i, .last = i});
    Group& group = groups_.back();
    ++group.last;
    group.num_tokens += length;
    group.num_blocks += blocks_for(length);
  }
}

std::unique_ptr<ModelRunner> Calibrator::load_layer(const Checkpoint& checkpoint) {
  CHECK(next_layer_ < num_layers_);
  int64_t num_tokens = 1, num_sequences = 1, num_blocks = 1;
  for (const Group& group : groups_) {
    num_tokens = std::max(num_tokens, group.num_tokens);
    num_sequences = std::max(num_sequences, static_cast<int64_t>(group.last - group.first));
    num_blocks = std::max(num_blocks, group.num_blocks);
  }
  auto layer = ModelRunner::load(checkpoint, {.stage = LayerRange{next_layer_, next_layer_ + 1},
                                              .weight_format = Format::kF32,
                                              .num_threads = threads_.num_threads(),
                                              .device = "cpu",
                                              .isa = options_.isa,
                                              .activations = Activations::kF32,
                                              .max_batch_tokens = num_tokens,
                                              .max_sequences = num_sequences,
                                              .max_logit_rows = 1,
                                              .max_hidden_rows = num_tokens,
                                              .max_context = longest_,
                                              .num_blocks = num_blocks,
                                              .keep_all_positions = true,
                                              .k_format = Format::kF32,
                                              .v_format = Format::kF32,
                                              .pages = PageSize::kSmall});
  layer_bytes_ = std::max(layer_bytes_, layer->plan().total_bytes);
  return layer;
}

void Calibrator::run(ModelRunner& layer, bool keeps) {
  float* residual = residual_.data();
  for (const Group& group : groups_) {
    Batch batch;
    std::vector<BlockTable> tables(group.last - group.first);
    int32_t num_blocks = 0;
    for (size_t i = group.first; i < group.last; ++i) {
      const std::vector<int32_t>& window = windows_[i];
      const auto length = static_cast<int64_t>(window.size());
      batch.token_ids.insert(batch.token_ids.end(), window.begin(), window.end());
      BlockTable& table = tables[i - group.first];
      table.resize(static_cast<size_t>(blocks_for(length)));
      std::iota(table.begin(), table.end(), num_blocks);
      num_blocks += static_cast<int32_t>(table.size());
      batch.sequences.push_back(
          {.num_tokens = length, .block_tables = {&table, 1}, .is_long = layer.info().is_long(length)});
    }
    const int64_t num_floats = group.num_tokens * hidden_size_;
    if (layer.info().hidden_input_size > 0) batch.hidden_input.assign(residual, residual + num_floats);
    // All rows: those that nobody wants are not multiplied after the attention.
    batch.hidden_rows.resize(batch.token_ids.size());
    std::iota(batch.hidden_rows.begin(), batch.hidden_rows.end(), 0);
    layer.run(batch);
    if (keeps) std::ranges::copy(layer.hidden(), residual);
    residual += num_floats;
  }
}

CalibratedLayer Calibrator::see() {
  CHECK(!has_seen_);
  has_seen_ = true;
  const auto layer = load_layer(checkpoint_);
  SumWorkers workers(select_kernels(options_.isa, Activations::kF32), threads_);
  LayerObserver observer(workers, options_.wanted, num_rows_);
  layer->observe(&observer);
  run(*layer, !options_.sees_replaced);
  return observer.take();
}

void Calibrator::pass() {
  if (!has_seen_ || options_.sees_replaced) run(*load_layer(overlay_), /*keeps=*/true);
  overlay_.clear();
  has_seen_ = false;
  ++next_layer_;
}

void Calibrator::resume(int next_layer, std::vector<float> residual) {
  CHECK(next_layer >= 0 && next_layer <= num_layers_ && residual.size() == residual_.size());
  next_layer_ = next_layer;
  residual_ = std::move(residual);
}

InputStatistics Calibrator::see_head() {
  CHECK(next_layer_ == num_layers_);
  SumWorkers workers(select_kernels(options_.isa, Activations::kF32), threads_);
  InputSums sums(hidden_size_, options_.wanted, num_rows_);
  for (int64_t row = 0; row < num_rows_; row += kBatchTokens) {
    sums.add(&residual_[static_cast<size_t>(row * hidden_size_)], std::min(kBatchTokens, num_rows_ - row), workers);
  }
  return sums.take();
}

}  // namespace quire
