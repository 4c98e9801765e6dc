// The weights of layers that are not always in memory: a layer's are acquired before a step reads them and released
// behind it. Their addresses never change, so matrices and kernels know nothing of it.
#pragma once

#include <cstdint>

namespace quire {

// What reading them has come to so far.
struct WeightReads {
  uint64_t bytes = 0;
  uint64_t num_acquired = 0;  // layers that do not stay in memory
  uint64_t num_waited = 0;    // of these, layers that were not there when they were needed
  double wait_seconds = 0;

  WeightReads operator-(const WeightReads& before) const {
    return {bytes - before.bytes, num_acquired - before.num_acquired, num_waited - before.num_waited,
            wait_seconds - before.wait_seconds};
  }
};

class LayerWeights {
 public:
  virtual ~LayerWeights() = default;
  // Waits until the layer's weights are in memory. Layers come in ascending order; a step that ends early begins with
  // the first one again. Throws Error kIo when they cannot be had; the layer is then not acquired.
  virtual void acquire(int layer) = 0;
  virtual void release(int layer) = 0;
};

// Holds a layer's weights as long as it lives; null: all are in memory.
class LayerUse {
 public:
  LayerUse(LayerWeights* weights, int layer) : weights_(weights), layer_(layer) {
    if (weights_ != nullptr) weights_->acquire(layer_);
  }
  LayerUse(const LayerUse&) = delete;
  LayerUse& operator=(const LayerUse&) = delete;
  ~LayerUse() {
    if (weights_ != nullptr) weights_->release(layer_);
  }

 private:
  LayerWeights* weights_;
  int layer_;
};

}  // namespace quire
