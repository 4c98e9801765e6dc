// The list of drafters that have a model of their own: a draft model, or parts that read the target's hidden states.
//
// Such a part is an ordinary ModelRunner with its own KV pool. Multi-token prediction layers (DeepSeek's "mtp", arXiv
// 2412.19437) would be one more row: their layer reads a token's embedding and the hidden state before it as EAGLE's
// does, with a norm on either, so architectures/eagle.cpp loads them once it knows their names.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "models/loading/checkpoint.h"
#include "models/runner_options.h"

namespace quire {

struct DraftParts {
  SpeculationOptions options = {};
  const Checkpoint* checkpoint = nullptr;  // of the drafter; both checkpoints must outlive it
  const Checkpoint* target = nullptr;
  // Of the target, as asked for or resolved: the drafter has room for as many sequences, and for as many tokens where
  // num_blocks says how many. It may take memory_bytes.
  RunnerOptions target_options = {};
  // By token id, in one spelling; only draft_model reads them, when it is made.
  std::span<const std::string> target_texts = {};
  std::span<const std::string> texts = {};  // of the drafter's vocabulary
};

struct ModelDrafterKind {
  std::string_view name;     // SpeculationOptions::method
  std::string_view summary;  // a line for --help
  MemoryPlan (*plan)(const DraftParts& parts);
  std::unique_ptr<Drafter> (*make)(const DraftParts& parts);
};

std::span<const ModelDrafterKind> model_drafter_kinds();
bool has_model(std::string_view method);
// The method that a checkpoint is made for, by its configuration and tensors: "draft_model" for a model of its own.
std::string_view method_for(const Checkpoint& checkpoint);

// The memory that the drafter will take, from headers alone; its total_bytes are what the target must leave. Both
// throw Error for a method that is not in the list, and for a checkpoint that does not go with the target.
MemoryPlan plan_model_drafter(const DraftParts& parts);
std::unique_ptr<Drafter> make_model_drafter(const DraftParts& parts);

// The target's options with what it must be loaded with for the drafter to read its hidden states.
RunnerOptions for_drafter(RunnerOptions target_options, const Drafter& drafter);

}  // namespace quire
