// Text for calibration that a model writes itself, by sampling from its own distribution (LLM-QAT, arXiv 2305.17888):
// it needs no file and is what the model's use looks like. The same model, table and seed give the same text, whatever
// the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/running/model_runner.h"

namespace quire {

struct OwnTextOptions {
  int64_t num_windows = 32;
  int64_t window = 512;             // tokens
  std::vector<int32_t> begin = {};  // what the model puts before texts; empty: a drawn token begins a window
  uint64_t seed = 1;
};

// What write_own_text needs of a runner, beside the caller's choices.
RunnerOptions own_text_runner(RunnerOptions options, const OwnTextOptions& text);
// Calls `progress` with the tokens of each window that are written.
std::vector<std::vector<int32_t>> write_own_text(ModelRunner& runner, const OwnTextOptions& options,
                                                 const std::function<void(int64_t)>& progress = {});

}  // namespace quire
