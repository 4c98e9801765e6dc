// The text that methods of compression calibrate on: a file, or one that the model writes itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/options.h"
#include "models/loading/checkpoint.h"

namespace quire {

class Command;

struct CalibrationText {
  std::string file;        // empty: the model's own
  int64_t num_tokens = 0;  // 0: as many as usual

  // Declares --calibration and --calibration-tokens.
  void add_flags(Command& command);
};

// Token ids, each window a sequence of its own. Shows progress while the model writes. Throws Error kInvalidArgument
// for a text that is shorter than a window, kIo.
std::vector<std::vector<int32_t>> calibration_windows(const CalibrationText& text, const ModelOptions& model,
                                                      const Checkpoint& checkpoint);

// "1:05", if what is to do goes on as what was done.
std::string time_left(std::chrono::steady_clock::time_point start, int64_t done, int64_t all);

}  // namespace quire
