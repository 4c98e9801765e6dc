#include "drafting/model_drafters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

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

void check_target(const DraftParts& parts, const ModelInfo& target) {
  if (target.has_head) return;
  fail(ErrorCode::kInvalidArgument, "{} has no output matrix: it generates nothing that {} could draft",
       parts.target->name(), parts.options.method);
}

// ---- draft_model ----------------------------------------------------------------------------------------------------

RunnerOptions draft_model_options(const DraftParts& parts) {
  const ModelInfo info = ModelRunner::info(*parts.checkpoint);
  if (!info.has_head) {
    fail(ErrorCode::kInvalidArgument, "{} has no output matrix, so it cannot draft; expected a model that generates",
         parts.checkpoint->name());
  }
  RunnerOptions options = runner_options(parts, info);
  options.sampling_bytes_per_token = DraftChooser::bytes_per_token();
  return with_threads(*parts.checkpoint, std::move(options));
}

MemoryPlan plan_draft_model(const DraftParts& parts) {
  return ModelRunner::plan(*parts.checkpoint, draft_model_options(parts));
}

std::unique_ptr<Drafter> make_draft_model(const DraftParts& parts) {
  check_target(parts, ModelRunner::info(*parts.target));
  DraftVocabulary vocabulary(
      {.name = parts.target->name(), .size = ModelRunner::info(*parts.target).vocab_size, .texts = parts.target_texts},
      {.name = parts.checkpoint->name(),
       .size = ModelRunner::info(*parts.checkpoint).vocab_size,
       .texts = parts.texts});
  return std::make_unique<DraftModel>(ModelRunner::load(*parts.checkpoint, draft_model_options(parts)),
                                      std::move(vocabulary), parts.options.min_probability);
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

// ---- medusa ---------------------------------------------------------------------------------------------------------

RunnerOptions medusa_options(const DraftParts& parts, const PartCheckpoint& part) {
  RunnerOptions options = runner_options(parts, ModelRunner::info(part));
  options.max_batch_tokens = options.max_logit_rows = parts.target_options.max_sequences;
  options.num_blocks = 1;
  options.sampling_bytes_per_token = DraftChooser::bytes_per_token();
  return with_threads(part, std::move(options));
}

MemoryPlan plan_medusa(const DraftParts& parts) {
  const PartCheckpoint part(*parts.checkpoint, *parts.target, "medusa");
  return ModelRunner::plan(part, medusa_options(parts, part));
}

std::unique_ptr<Drafter> make_medusa_drafter(const DraftParts& parts) {
  const ModelInfo target = ModelRunner::info(*parts.target);
  check_target(parts, target);
  auto part = std::make_unique<PartCheckpoint>(*parts.checkpoint, *parts.target, "medusa");
  auto runner = ModelRunner::load(*part, medusa_options(parts, *part));
  DraftVocabulary vocabulary = vocabulary_of_part(*part, runner->info().vocab_size, target.vocab_size);
  return std::make_unique<MedusaDrafter>(std::move(part), std::move(runner), std::move(vocabulary), parts.options);
}

// ---- eagle, eagle3 --------------------------------------------------------------------------------------------------

RunnerOptions eagle_options(const DraftParts& parts, const PartCheckpoint& part) {
  RunnerOptions options = runner_options(parts, ModelRunner::info(part));
  options.max_sequences *= EagleDrafter::kBeam;
  options.max_batch_tokens = std::max(kLayerChunkTokens, options.max_sequences);
  options.max_logit_rows = options.max_hidden_rows = options.max_sequences;
  // A branch has its last blocks for itself.
  if (options.num_blocks > 0) options.num_blocks += 2 * options.max_sequences;
  options.sampling_bytes_per_token = DraftChooser::bytes_per_token();
  return with_threads(part, std::move(options));
}

// The layer embeds the target's tokens.
void check_embedding(const DraftParts& parts, const ModelInfo& part) {
  const int64_t num_tokens = ModelRunner::info(*parts.target).vocab_size;
  if (part.vocab_size >= num_tokens) return;
  fail(ErrorCode::kInvalidArgument,
       "{}: its embedding has {} tokens, the target's vocabulary {}; it was made for another model",
       parts.checkpoint->name(), part.vocab_size, num_tokens);
}

MemoryPlan plan_eagle(const DraftParts& parts) {
  const PartCheckpoint part(*parts.checkpoint, *parts.target, parts.options.method);
  MemoryPlan plan = ModelRunner::plan(part, eagle_options(parts, part));
  const ModelInfo info = ModelRunner::info(part);
  check_embedding(parts, info);
  const int64_t waiting = parts.target_options.max_sequences * EagleDrafter::kMaxWaitingRows * info.hidden_input_size;
  plan.workspace_bytes += static_cast<uint64_t>(waiting) * sizeof(float);
  plan.total_bytes += static_cast<uint64_t>(waiting) * sizeof(float);
  plan.fits = plan.total_bytes <= plan.allowed_bytes;
  return plan;
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

std::unique_ptr<Drafter> make_eagle_drafter(const DraftParts& parts) {
  const ModelInfo target = ModelRunner::info(*parts.target);
  check_target(parts, target);
  auto part = std::make_unique<PartCheckpoint>(*parts.checkpoint, *parts.target, parts.options.method);
  EagleDrafter::Options options{.speculation = parts.options};
  const ModelInfo info = ModelRunner::info(*part);
  check_embedding(parts, info);
  if (info.hidden_input_size != info.hidden_size) {
    options.tapped_layers =
        tapped_layers_of(*part, static_cast<int>(info.hidden_input_size / info.hidden_size), target.num_layers);
  }
  DraftVocabulary vocabulary = vocabulary_of_part(*part, info.num_logits(1), target.vocab_size);
  auto runner = ModelRunner::load(*part, eagle_options(parts, *part));
  return std::make_unique<EagleDrafter>(std::move(part), std::move(runner), std::move(vocabulary), options);
}

constexpr ModelDrafterKind kKinds[] = {
    {"draft_model", "a smaller model with the same vocabulary", plan_draft_model, make_draft_model},
    {"medusa", "Medusa heads on the model's last hidden state", plan_medusa, make_medusa_drafter},
    {"eagle", "an EAGLE layer on the model's hidden states", plan_eagle, make_eagle_drafter},
    {"eagle3", "an EAGLE-3 layer on hidden states of several layers", plan_eagle, make_eagle_drafter},
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

MemoryPlan plan_model_drafter(const DraftParts& parts) { return find_kind(parts.options.method).plan(parts); }

std::unique_ptr<Drafter> make_model_drafter(const DraftParts& parts) {
  return find_kind(parts.options.method).make(parts);
}

RunnerOptions for_drafter(RunnerOptions target_options, const Drafter& drafter) {
  target_options.tapped_layers = drafter.tapped_layers();
  if (drafter.hidden_use() == HiddenUse::kAll) target_options.max_hidden_rows = target_options.max_batch_tokens;
  return target_options;
}

}  // namespace quire
