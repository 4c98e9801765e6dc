// The importance of columns (imatrix.h) from a calibration text, as llama-imatrix finds it: of every matrix of the
// layers and of an output matrix of its own the sums of the squares of what it multiplies. Layer by layer
// (calibration.h). One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compress/blocks/imatrix.h"
#include "models/loading/checkpoint.h"

namespace quire {

struct ImportanceOptions {
  std::vector<std::vector<int32_t>> windows;  // token ids, of one length
  std::string dataset;                        // what the file calls the text
  int num_threads = 0;                        // 0: every processor
  std::string isa = {};
};

// `checkpoint` is a GGUF file. Calls `progress` after each layer.
ImportanceFile measure_importance(const Checkpoint& checkpoint, const ImportanceOptions& options,
                                  const std::function<void(int num_layers_done, int num_layers)>& progress = {});

}  // namespace quire
