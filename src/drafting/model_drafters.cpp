#include "drafting/model_drafters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "drafting/draft_model.h"
#include "drafting/eagle.h"
#include "drafting/medusa.h"
#include "models/loading/part_checkpoint.h"

namespace quire {
namespace {

// A chunk that a draft model computes in one call: every stream waits for it.
constexpr int64_t kChunkTokens = 128;
constexpr int64_t kLayerChunkTokens = 512;  // of a part with one layer

// A part runs on one device: ranks would wait for each other longer than they compute.
RunnerOptions runner_options(const DraftParts& parts, const ModelInfo& info) {
  const RunnerOptions& target = parts.target_options;
  RunnerOptions options = target;
  options.tensor_parallel = 1;
  options.max_batch_tokens = std::max(kChunkTokens, target.max_sequences);
  options.max_logit_rows = target.max_sequences;
  options.max_hidden_rows = 0;
  options.max_branches = 0;
  options.tapped_layers.clear();
  options.keep_all_positions = true;
  options.num_swap_blocks = 0;
  options.swap_bytes = 0;
  options.max_context = target.max_context == 0 ? info.max_context : std::min(target.max_context, info.max_context);
  if (target.num_blocks > 0) {
    options.num_blocks = std::min(target.num_blocks, target.max_sequences * blocks_for(options.max_context));
  }
  return options;
}

// Of so few weights a step takes less time than threads need to meet; and they would spin beside the target's, on the
// same processors.
RunnerOptions with_threads(const Checkpoint& part, RunnerOptions options) {
  constexpr uint64_t kSmallBytes = uint64_t{4} << 20;
  if (ModelRunner::plan(part, options).weight_bytes < kSmallBytes) options.num_threads = 1;
  return options;
}

// Threads choose among the target's tokens, whatever the part's vocabulary is.
uint64_t sampling_bytes_per_token(const ModelInfo& target, const ModelInfo& part) {
  const uint64_t bytes = static_cast<uint64_t>(target.vocab_size) * DraftChooser::bytes_per_token();
  const auto num_tokens = static_cast<uint64_t>(part.vocab_size);
  return (bytes + num_tokens - 1) / num_tokens;
}

// `num_floats`: of hidden states that the drafter holds beside its runner.
MemoryPlan plan_with_states(const Checkpoint& part, const RunnerOptions& options, int64_t num_floats) {
  MemoryPlan plan = ModelRunner::plan(part, options);
  const uint64_t bytes = static_cast<uint64_t>(num_floats) * sizeof(float);
  plan.workspace_bytes += bytes;
  plan.total_bytes += bytes;
  plan.fits = plan.total_bytes <= plan.allowed_bytes;
  return plan;
}

void check_target(const DraftParts& parts, const ModelInfo& target) {
  if (target.has_head) return;
  fail(ErrorCode::kInvalidArgument, "{} has no output matrix: it generates nothing that {} could draft",
       parts.target->name(), parts.options.method);
}

// ---- draft_model ----------------------------------------------------------------------------------------------------

RunnerOptions draft_model_options(const DraftParts& parts, const ModelInfo& target) {
  const ModelInfo info = ModelRunner::info(*parts.checkpoint);
  if (!info.has_head) {
    fail(ErrorCode::kInvalidArgument, "{} has no output matrix, so it cannot draft; expected a model that generates",
         parts.checkpoint->name());
  }
  RunnerOptions options = runner_options(parts, info);
  options.sampling_bytes_per_token = sampling_bytes_per_token(target, info);
  return with_threads(*parts.checkpoint, std::move(options));
}

DraftVocabulary compare_vocabularies(const DraftParts& parts) {
  const std::vector<std::string> target_texts = parts.texts_of(*parts.target);
  const std::vector<std::string> texts = parts.texts_of(*parts.checkpoint);
  return DraftVocabulary(
      {.name = parts.target->name(), .size = ModelRunner::info(*parts.target).vocab_size, .texts = target_texts},
      {.name = parts.checkpoint->name(), .size = ModelRunner::info(*parts.checkpoint).vocab_size, .texts = texts});
}

DrafterPlan plan_draft_model(const DraftParts& parts) {
  const ModelInfo target = ModelRunner::info(*parts.target);
  check_target(parts, target);
  const RunnerOptions options = draft_model_options(parts, target);
  std::optional<DraftVocabulary> vocabulary;
  if (parts.texts_of) vocabulary = compare_vocabularies(parts);
  return {.memory = ModelRunner::plan(*parts.checkpoint, options),
          .load = [checkpoint = parts.checkpoint, options, vocabulary,
                   min_probability = parts.options.min_probability](const ModelRunner*) -> std::unique_ptr<Drafter> {
            CHECK(vocabulary.has_value());
            return std::make_unique<DraftModel>(ModelRunner::load(*checkpoint, options), *vocabulary, min_probability);
          }};
}

// ---- parts that read the target's hidden states ---------------------------------------------------------------------

// An integer for each row of a part's logits.
std::vector<int64_t> read_numbers(const Checkpoint& part, const TensorView& view, const char* name) {
  const auto read = [&]<typename T>(T) {
    std::vector<T> values(static_cast<size_t>(view.num_elements()));
    std::memcpy(values.data(), view.data, view.size_bytes);
    return std::vector<int64_t>(values.begin(), values.end());
  };
  if (view.format == Format::kI64) return read(int64_t{});
  if (view.format == Format::kI32) return read(int32_t{});
  fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is {}, expected I64 or I32", part.name(), name,
       weight_format(view.format).name);
}

// `num_rows`: of the part's logits. vLLM's Medusa has the target's ids in "token_map", EAGLE-3 has what must be added
// to its own in "d2t".
DraftVocabulary vocabulary_of_part(const Checkpoint& part, int64_t num_rows, int64_t target_size) {
  std::vector<int64_t> numbers;
  bool are_offsets = true;
  for (const char* name : {"d2t", "token_map"}) {
    const std::optional<TensorView> view = part.find_tensor(name);
    if (!view || view->num_elements() != num_rows) continue;
    numbers = read_numbers(part, *view, name);
    are_offsets = std::string_view(name) == "d2t";
  }
  // A padded matrix has rows that are no tokens.
  if (numbers.empty()) numbers.resize(static_cast<size_t>(std::min(num_rows, target_size)));
  std::vector<int32_t> ids;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const int64_t id = numbers[i] + (are_offsets ? static_cast<int64_t>(i) : 0);
    ids.push_back(static_cast<int32_t>(std::clamp<int64_t>(id, -1, target_size)));
  }
  return DraftVocabulary(target_size, ids, part.name());
}

// On one device the target has packed its output matrix for the part too. For a plan: the same without data.
std::optional<Linear> planned_head(const DraftParts& parts, const ModelInfo& target) {
  if (parts.target_options.tensor_parallel > 1) return std::nullopt;
  Linear head{};
  head.name = target.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return head;
}

std::unique_ptr<ModelRunner> load_part(PartCheckpoint& part, const RunnerOptions& options, const ModelRunner* target) {
  const Linear* const head = target != nullptr ? target->output_matrix() : nullptr;
  part.lend_head(head != nullptr ? std::optional(*head) : std::nullopt);
  return ModelRunner::load(part, options);
}

// ---- medusa ---------------------------------------------------------------------------------------------------------

RunnerOptions medusa_options(const DraftParts& parts, const ModelInfo& target, const PartCheckpoint& part) {
  const ModelInfo info = ModelRunner::info(part);
  RunnerOptions options = runner_options(parts, info);
  options.max_batch_tokens = options.max_logit_rows = parts.target_options.max_sequences;
  options.num_blocks = 1;
  options.sampling_bytes_per_token = sampling_bytes_per_token(target, info);
  return with_threads(part, std::move(options));
}

DrafterPlan plan_medusa(const DraftParts& parts) {
  const ModelInfo target = ModelRunner::info(*parts.target);
  check_target(parts, target);
  const auto part = std::make_shared<PartCheckpoint>(*parts.checkpoint, *parts.target, "medusa");
  const RunnerOptions options = medusa_options(parts, target, *part);
  const ModelInfo info = ModelRunner::info(*part);
  const DraftVocabulary vocabulary = vocabulary_of_part(*part, info.vocab_size, target.vocab_size);
  part->lend_head(planned_head(parts, target));
  // The last state of each sequence, and those of a step.
  const int64_t num_floats = 2 * parts.target_options.max_sequences * info.hidden_size;
  return {.memory = plan_with_states(*part, options, num_floats),
          .hidden_use = MedusaDrafter::kHiddenUse,
          .load = [part, options, vocabulary,
                   speculation = parts.options](const ModelRunner* runner) -> std::unique_ptr<Drafter> {
            return std::make_unique<MedusaDrafter>(part, load_part(*part, options, runner), vocabulary, speculation);
          }};
}

// ---- eagle, eagle3 --------------------------------------------------------------------------------------------------

RunnerOptions eagle_options(const DraftParts& parts, const ModelInfo& target, const PartCheckpoint& part) {
  const ModelInfo info = ModelRunner::info(part);
  RunnerOptions options = runner_options(parts, info);
  options.max_sequences *= EagleDrafter::kBeam;
  options.max_batch_tokens = std::max(kLayerChunkTokens, options.max_sequences);
  options.max_logit_rows = options.max_hidden_rows = options.max_sequences;
  // A branch has its last blocks for itself.
  if (options.num_blocks > 0) options.num_blocks += 2 * options.max_sequences;
  options.sampling_bytes_per_token = sampling_bytes_per_token(target, info);
  return with_threads(part, std::move(options));
}

// The layer embeds the target's tokens.
void check_embedding(const DraftParts& parts, const ModelInfo& part, int64_t num_tokens) {
  if (part.vocab_size >= num_tokens) return;
  fail(ErrorCode::kInvalidArgument,
       "{}: its embedding has {} tokens, the target's vocabulary {}; it was made for another model",
       parts.checkpoint->name(), part.vocab_size, num_tokens);
}

// Of EAGLE-3: as its configuration says, or layer 2, the middle one and the third from the end.
std::vector<int> tapped_layers_of(const Checkpoint& part, int num_taps, int num_layers) {
  constexpr const char* kKey = "eagle_aux_hidden_state_layer_ids";
  const json::object* config = find_object(part.config(), "eagle_config");
  if (config == nullptr || !config->contains(kKey)) config = &part.config();
  std::vector<int> layers = {2, num_layers / 2, num_layers - 3};
  if (const json::array* listed = find_array(*config, kKey)) {
    layers.clear();
    for (const json::value& layer : *listed) {
      layers.push_back(layer.is_int64() ? static_cast<int>(std::clamp<int64_t>(layer.get_int64(), -1, num_layers))
                                        : -1);
    }
  }
  const bool ascend = std::ranges::adjacent_find(layers, std::greater_equal()) == layers.end();
  if (static_cast<int>(layers.size()) != num_taps || !ascend || layers.front() < 0 || layers.back() >= num_layers) {
    fail(ErrorCode::kInvalidArgument,
         "{}: it reads layers [{}] of the target, expected {} ascending numbers of its {} layers; \"{}\" of its "
         "configuration says which",
         part.name(), fmt::join(layers, ", "), num_taps, num_layers, kKey);
  }
  return layers;
}

DrafterPlan plan_eagle(const DraftParts& parts) {
  const ModelInfo target = ModelRunner::info(*parts.target);
  check_target(parts, target);
  const auto part = std::make_shared<PartCheckpoint>(*parts.checkpoint, *parts.target, parts.options.method);
  const ModelInfo info = ModelRunner::info(*part);
  check_embedding(parts, info, target.vocab_size);
  EagleDrafter::Options drafting{.speculation = parts.options};
  if (info.hidden_input_size != info.hidden_size) {
    drafting.tapped_layers =
        tapped_layers_of(*part, static_cast<int>(info.hidden_input_size / info.hidden_size), target.num_layers);
  }
  const RunnerOptions options = eagle_options(parts, target, *part);
  const DraftVocabulary vocabulary = vocabulary_of_part(*part, info.num_logits(1), target.vocab_size);
  part->lend_head(planned_head(parts, target));
  const int64_t num_states =
      parts.target_options.max_sequences * EagleDrafter::kMaxWaitingRows + options.max_batch_tokens;
  return {.memory = plan_with_states(*part, options, num_states * info.hidden_input_size),
          .hidden_use = EagleDrafter::kHiddenUse,
          .tapped_layers = drafting.tapped_layers,
          .load = [part, options, vocabulary, drafting](const ModelRunner* runner) -> std::unique_ptr<Drafter> {
            return std::make_unique<EagleDrafter>(part, load_part(*part, options, runner), vocabulary, drafting);
          }};
}

constexpr ModelDrafterKind kKinds[] = {
    {"draft_model", "a smaller model with the same vocabulary", plan_draft_model},
    {"medusa", "Medusa heads on the model's last hidden state", plan_medusa},
    {"eagle", "an EAGLE layer on the model's hidden states", plan_eagle},
    {"eagle3", "an EAGLE-3 layer on hidden states of several layers", plan_eagle},
};

const ModelDrafterKind& find_kind(std::string_view method) {
  std::string names;
  for (const ModelDrafterKind& kind : kKinds) {
    if (kind.name == method) return kind;
    names += names.empty() ? kind.name : ", " + std::string(kind.name);
  }
  fail(ErrorCode::kInvalidArgument, "the method of speculation \"{}\" takes no model; those that do: {}", method,
       names);
}

}  // namespace

std::span<const ModelDrafterKind> model_drafter_kinds() { return kKinds; }

bool has_model(std::string_view method) {
  return std::ranges::any_of(kKinds, [&](const ModelDrafterKind& kind) { return kind.name == method; });
}

std::string_view method_for(const Checkpoint& checkpoint) {
  const json::object& config = checkpoint.config();
  const json::array* names = find_array(config, "architectures");
  const bool is_named_medusa = names != nullptr && !names->empty() && names->at(0) == "MedusaModel";
  if (is_named_medusa || config.contains("medusa_num_heads")) return "medusa";
  const std::optional<TensorView> fuse = checkpoint.find_tensor("fc.weight");
  if (!fuse) return "draft_model";
  return fuse->cols() > 2 * fuse->rows() || checkpoint.find_tensor("d2t") ? "eagle3" : "eagle";
}

DrafterPlan plan_model_drafter(const DraftParts& parts) { return find_kind(parts.options.method).plan(parts); }

RunnerOptions for_drafter(RunnerOptions target_options, const DrafterPlan& drafter) {
  target_options.tapped_layers = drafter.tapped_layers;
  if (drafter.hidden_use == HiddenUse::kAll) target_options.max_hidden_rows = target_options.max_batch_tokens;
  return target_options;
}

}  // namespace quire
