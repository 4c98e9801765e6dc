// What the matrices of a model see of a text, layer by layer: each layer is loaded alone with float weights, runs over
// all windows of the text and makes room for the next. So the memory is that of two layers and of the text's residual
// rows, however large the model is. Replaced matrices count for the layers after them (GPTQ, arXiv 2210.17323): each is
// calibrated on what the compressed ones before it give.
//
// One thread; sums are over the text in its order, so the results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "models/loading/overlay_checkpoint.h"
#include "models/running/model_runner.h"

namespace quire {

// A matrix that multiplies: the rows of the tensor `name` from first_row on. Q, K and V in one tensor count as one
// matrix, the experts in one tensor as several.
struct CalibratedMatrix {
  std::string name;  // Hugging Face's
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  size_t input = 0;  // of CalibratedLayer::inputs
};

struct CalibratedLayer {
  std::vector<CalibratedMatrix> matrices;  // in the order in which they multiply
  std::vector<InputStatistics> inputs;     // matrices that multiply the same rows share one
};

struct CalibrationOptions {
  StatisticsWanted wanted;
  // Whether a layer sees what the replaced matrices of those before it give, and not what the original ones do. It
  // costs a second run of every layer.
  bool sees_replaced = false;
  int num_threads = 0;  // 0: every processor
  std::string isa = {};
};

class Calibrator {
 public:
  // `windows`: token ids, each window a sequence of its own. Throws Error kInvalidArgument when they are empty or
  // longer than the model's context. The checkpoint must outlive this.
  Calibrator(const Checkpoint& checkpoint, std::vector<std::vector<int32_t>> windows,
             const CalibrationOptions& options);
  ~Calibrator();

  int num_layers() const { return num_layers_; }
  int next_layer() const { return next_layer_; }
  ThreadPool& threads() { return threads_; }
  // Matrices that are replaced here before pass() count for the layers that follow; pass() forgets them.
  OverlayCheckpoint& overlay() { return overlay_; }

  // Runs the next layer over the text.
  CalibratedLayer see();
  // Leaves the layer behind: its residual rows become the input of the next one.
  void pass();

  // The residual rows of all windows, [tokens, hidden_size], before the next layer; and a start from those that an
  // earlier run had come to.
  std::span<const float> residual() const { return residual_; }
  void resume(int next_layer, std::vector<float> residual);

  // After the last layer: what the head multiplies.
  InputStatistics see_head();

  // The most that weights and workspace of a layer took, and the residual rows: for tests and messages.
  uint64_t layer_bytes() const { return layer_bytes_; }
  uint64_t residual_bytes() const { return residual_.size() * sizeof(float); }

 private:
  // Windows that run in one step.
  struct Group {
    size_t first = 0;
    size_t last = 0;  // not itself
    int64_t num_tokens = 0;
    int64_t num_blocks = 0;
  };
  void group_windows();
  std::unique_ptr<ModelRunner> load_layer(const Checkpoint& checkpoint);
  // Runs the layer over all windows; its residual rows replace the ones before if `keeps`.
  void run(ModelRunner& layer, bool keeps);

  const Checkpoint& checkpoint_;
  CalibrationOptions options_;
  std::vector<std::vector<int32_t>> windows_;
  std::vector<Group> groups_;
  OverlayCheckpoint overlay_;
  ThreadPool threads_;
  int num_layers_ = 0;
  int64_t hidden_size_ = 0;
  int64_t num_rows_ = 0;  // tokens of all windows
  int64_t longest_ = 0;   // window
  int next_layer_ = 0;
  bool has_seen_ = false;        // the next layer
  std::vector<float> residual_;  // [num_rows, hidden_size] before the next layer; after the last one normed
  uint64_t layer_bytes_ = 0;
};

}  // namespace quire
