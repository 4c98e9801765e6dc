// A model as the commands see it: the open checkpoint and its text side; the weights only when a command asks.
#pragma once

#include <memory>
#include <string>

#include "dialogue/text_processor.h"
#include "models/running/model_runner.h"

namespace quire {

// `model`: a path, or "demo" for the model inside the program.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& model);

// Throws Error kUnsupported for a model without an output matrix.
void require_logits(const ModelInfo& info);

// Loads the weights, with a progress line on standard error when that is a terminal.
std::unique_ptr<ModelRunner> load_runner(const Checkpoint& checkpoint, const RunnerOptions& options);

}  // namespace quire
