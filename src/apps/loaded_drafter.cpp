#include "apps/loaded_drafter.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "apps/loaded_model.h"
#include "apps/units.h"
#include "base/error.h"
#include "base/log.h"
#include "dialogue/text_processor.h"
#include "drafting/model_drafters.h"
#include "models/running/model_runner.h"

namespace quire {
namespace {

// What each token adds to a text, whatever the spelling of the vocabulary. None for a file without a tokenizer.
std::vector<std::string> token_texts(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf() && checkpoint.gguf()->find_string("tokenizer.ggml.model", "no_vocab") == "no_vocab")
    return {};
  const auto text = TextProcessor::load(checkpoint);
  std::vector<std::string> texts;
  for (int32_t id = 0; id < text->tokenizer().vocab_size(); ++id) texts.push_back(text->tokenizer().token_bytes(id));
  return texts;
}

// Null where nothing is loaded. A method that is not named is set to what the checkpoint is made for.
std::unique_ptr<Checkpoint> open_drafter(SpeculationOptions& options) {
  const bool is_named = !options.method.empty();
  if (is_named ? !has_model(options.method) : options.model.empty()) return nullptr;
  if (options.model.empty()) {
    fail(ErrorCode::kInvalidArgument, "the method of speculation \"{}\" needs a model; name its file or folder",
         options.method);
  }
  std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model);
  if (!is_named) options.method = method_for(*checkpoint);
  return checkpoint;
}

// Of a target that is known alone: with the drafter's rows, and without the memory that the drafter takes.
RunnerOptions beside_drafter(const RunnerOptions& target_options, const MemoryPlan& alone, const DrafterPlan& drafter) {
  RunnerOptions options = for_drafter(target_options, drafter);
  // 0 would stand for the whole machine.
  options.memory_bytes =
      std::max<uint64_t>(1, alone.allowed_bytes - std::min(alone.allowed_bytes, drafter.memory.total_bytes));
  return options;
}

struct Plans {
  std::unique_ptr<Checkpoint> checkpoint;  // of the drafter, or none
  DrafterPlan drafter;
  RunnerOptions target_options;
};

Plans plan(SpeculationOptions& options, const Checkpoint& target, const RunnerOptions& target_options,
           bool compares_vocabularies) {
  Plans plans{.checkpoint = open_drafter(options), .drafter = {}, .target_options = target_options};
  if (plans.checkpoint == nullptr) return plans;
  const MemoryPlan alone = ModelRunner::plan(target, target_options);
  DraftParts parts{
      .options = options, .checkpoint = plans.checkpoint.get(), .target = &target, .target_options = target_options};
  parts.target_options.num_blocks = alone.num_blocks;  // the drafter's pool is to match the target's
  if (compares_vocabularies) parts.texts_of = token_texts;
  plans.drafter = plan_model_drafter(parts);
  plans.target_options = beside_drafter(target_options, alone, plans.drafter);
  return plans;
}

PlannedModels planned(SpeculationOptions options, const Checkpoint& target, const RunnerOptions& target_options,
                      bool compares_vocabularies) {
  const Plans plans = plan(options, target, target_options, compares_vocabularies);
  return {.target = ModelRunner::plan(target, plans.target_options), .drafter_bytes = plans.drafter.memory.total_bytes};
}

}  // namespace

PlannedModels plan_with_drafter(const SpeculationOptions& options, const Checkpoint& target,
                                const RunnerOptions& target_options) {
  return planned(options, target, target_options, /*compares_vocabularies=*/false);
}

PlannedModels check_with_drafter(const SpeculationOptions& options, const Checkpoint& target,
                                 const RunnerOptions& target_options) {
  return planned(options, target, target_options, /*compares_vocabularies=*/true);
}

LoadedModels load_with_drafter(SpeculationOptions& options, const Checkpoint& target,
                               const RunnerOptions& target_options) {
  Plans plans = plan(options, target, target_options, /*compares_vocabularies=*/true);
  LoadedModels loaded{.drafter_checkpoint = std::move(plans.checkpoint),
                      .target = load_runner(target, plans.target_options),
                      .drafter = nullptr};
  if (loaded.drafter_checkpoint == nullptr) return loaded;
  loaded.drafter = plans.drafter.load(loaded.target.get());
  log::info("speculation: {} with {}, {}", options.method, loaded.drafter_checkpoint->name(),
            format_bytes(plans.drafter.memory.total_bytes));
  return loaded;
}

}  // namespace quire
