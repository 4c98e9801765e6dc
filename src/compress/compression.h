// A Hugging Face directory made smaller: layer by layer its matrices become codes, which a layout of files keeps; all
// else is copied. The output has its name when it is complete; until then it lies beside it, and the same command goes
// on where it was stopped. The bytes do not depend on the number of threads. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "compress/methods/method.h"
#include "models/loading/checkpoint.h"

namespace quire {

struct CompressionOptions {
  std::string method = "rtn";
  std::string layout = {};  // empty: the method's usual one
  MethodOptions settings = {};
  std::vector<std::string> keep = {};  // matrices whose name contains one of these stay as they are
  std::filesystem::path output = {};
  bool replaces = false;     // what has the output's name, and what another command has left unfinished
  bool requantizes = false;  // takes a model that is compressed already
  // Calibration: token ids, each window a sequence of its own. Not read by methods that need none.
  std::vector<std::vector<int32_t>> windows = {};
  int num_threads = 0;  // 0: every processor
  std::string isa = {};
};

struct CompressionResult {
  uint64_t source_bytes = 0;  // of the files
  uint64_t output_bytes = 0;
  int64_t num_weights = 0;     // that became codes
  double bits_per_weight = 0;  // of these, scales and zero points included
  int first_layer = 0;         // more than 0: it went on from there
};

// What compress() would refuse, before anything costly is done for it: the same errors, but for those of the text.
void check_compression(const Checkpoint& source, const CompressionOptions& options);
// Calls `progress` after each layer. Throws Error: kInvalidArgument for what does not fit together, kIo.
using CompressionProgress = std::function<void(int num_layers_done, int num_layers)>;
CompressionResult compress(const Checkpoint& source, const CompressionOptions& options,
                           const CompressionProgress& progress = {});

}  // namespace quire
