#include "apps/loaded_drafter.h"

#include <algorithm>
#include <string>
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

// `alone`: the plan of the target without a drafter, whose pool the drafter's is to match.
DraftParts parts_of(const SpeculationOptions& options, const Checkpoint& drafter, const Checkpoint& target,
                    const RunnerOptions& target_options, const MemoryPlan& alone) {
  DraftParts parts{.options = options, .checkpoint = &drafter, .target = &target, .target_options = target_options};
  parts.target_options.num_blocks = alone.num_blocks;
  return parts;
}

}  // namespace

uint64_t plan_drafter(SpeculationOptions options, const Checkpoint& target, const RunnerOptions& target_options) {
  const std::unique_ptr<Checkpoint> checkpoint = open_drafter(options);
  if (checkpoint == nullptr) return 0;
  const MemoryPlan alone = ModelRunner::plan(target, target_options);
  return plan_model_drafter(parts_of(options, *checkpoint, target, target_options, alone)).total_bytes;
}

RunnerOptions beside_drafter(RunnerOptions target_options, const MemoryPlan& alone, uint64_t drafter_bytes) {
  if (drafter_bytes == 0) return target_options;
  // 0 would stand for the whole machine.
  target_options.memory_bytes =
      std::max<uint64_t>(1, alone.allowed_bytes - std::min(alone.allowed_bytes, drafter_bytes));
  return target_options;
}

LoadedDrafter load_drafter(SpeculationOptions& options, const Checkpoint& target, RunnerOptions& target_options) {
  LoadedDrafter loaded;
  loaded.checkpoint = open_drafter(options);
  if (loaded.checkpoint == nullptr) return loaded;
  std::vector<std::string> target_texts, texts;
  if (options.method == "draft_model") {
    target_texts = token_texts(target);
    texts = token_texts(*loaded.checkpoint);
  }
  const MemoryPlan alone = ModelRunner::plan(target, target_options);
  DraftParts parts = parts_of(options, *loaded.checkpoint, target, target_options, alone);
  parts.target_texts = target_texts;
  parts.texts = texts;
  loaded.memory_bytes = plan_model_drafter(parts).total_bytes;
  loaded.drafter = make_model_drafter(parts);
  target_options = beside_drafter(for_drafter(target_options, *loaded.drafter), alone, loaded.memory_bytes);
  log::info("speculation: {} with {}, {}", options.method, loaded.checkpoint->name(),
            format_bytes(loaded.memory_bytes));
  return loaded;
}

}  // namespace quire
