// The list of drafters that have a model of their own: a draft model, or parts that read the target's hidden states.
//
// Such a part is an ordinary ModelRunner with its own KV pool. Multi-token prediction layers (DeepSeek's "mtp", arXiv
// 2412.19437) would be one more row: their layer reads a token's embedding and the hidden state before it as EAGLE's
// does, with a norm on either, so architectures/eagle.cpp loads them once it knows their names.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"

namespace quire {

struct DraftParts {
  SpeculationOptions options = {};
  const Checkpoint* checkpoint = nullptr;  // of the drafter; both checkpoints must outlive it
  const Checkpoint* target = nullptr;
  // Of the target, as asked for or resolved: the drafter has room for as many sequences, and for as many tokens where
  // num_blocks says how many. It may take memory_bytes.
  RunnerOptions target_options = {};
  // The texts of a checkpoint's tokens, by id, in one spelling for both; only draft_model asks for them. Null: its
  // vocabulary is not compared with the target's, and it cannot be loaded.
  std::function<std::vector<std::string>(const Checkpoint& checkpoint)> texts_of = {};
};

// A drafter that goes with its target.
struct DrafterPlan {
  MemoryPlan memory;  // its total_bytes are what the target must leave
  HiddenUse hidden_use = HiddenUse::kNone;
  std::vector<int> tapped_layers = {};
  // `target`: loaded with for_drafter()'s options; must outlive the drafter, which multiplies by its output matrix
  // where it has none of its own. Null: the drafter packs that matrix for itself, beyond the plan.
  std::function<std::unique_ptr<Drafter>(const ModelRunner* target)> load;
};

struct ModelDrafterKind {
  std::string_view name;     // SpeculationOptions::method
  std::string_view summary;  // a line for --help
  DrafterPlan (*plan)(const DraftParts& parts);
};

std::span<const ModelDrafterKind> model_drafter_kinds();
bool has_model(std::string_view method);
// The method that a checkpoint is made for, by its configuration and tensors: "draft_model" for a model of its own.
std::string_view method_for(const Checkpoint& checkpoint);

// Loads no weights. Throws Error for a method that is not in the list, and for a checkpoint
// that does not go with the target.
DrafterPlan plan_model_drafter(const DraftParts& parts);

// The target's options with what it must be loaded with for the drafter to read its hidden states.
RunnerOptions for_drafter(RunnerOptions target_options, const DrafterPlan& drafter);

}  // namespace quire
