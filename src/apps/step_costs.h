// Measures how long steps of many shapes take on this machine with a model, for capacity planning.
#pragma once

#include <functional>

#include "engine/cost_model.h"
#include "models/running/model_runner.h"

namespace quire {

struct MeasuredStep {
  StepShape shape;
  double ms = 0.0;  // median of several
};

// Runs decode steps of 1 to max_sequences sequences, prefill chunks, and mixtures at several depths.
std::vector<MeasuredStep> measure_step_costs(ModelRunner& runner, int repetitions);
CostModel fit_costs(const std::vector<MeasuredStep>& steps);

}  // namespace quire
