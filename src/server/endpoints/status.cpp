// GET /status: the numbers of the live view, for the model that the query names or for the first; among them the block
// map of every KV group as one character per block.

#include "base/json.h"
#include "server/answers/answer_errors.h"
#include "server/endpoints/endpoints.h"
#include "server/metrics/metrics.h"

namespace quire {
namespace {

const char* name(ServerState state) {
  switch (state) {
    case ServerState::kLoading: return "loading";
    case ServerState::kReady: return "ready";
    case ServerState::kLeaving: return "leaving";
    case ServerState::kDraining: return "draining";
  }
  return "unknown";
}

std::string block_map(const std::vector<EngineStatus::Block>& blocks) {
  std::string map;
  map.reserve(blocks.size());
  for (const EngineStatus::Block block : blocks) {
    switch (block) {
      case EngineStatus::Block::kFree: map += 'f'; break;
      case EngineStatus::Block::kActive: map += 'a'; break;
      case EngineStatus::Block::kShared: map += 's'; break;
      case EngineStatus::Block::kCached: map += 'c'; break;
    }
  }
  return map;
}

// The maps are missing until a step, or an idle moment, has drawn them.
json::array groups_json(const EngineStatus& status) {
  json::array groups;
  for (size_t i = 0; i < status.kv_groups.size(); ++i) {
    const EngineStatus::KvGroup& group = status.kv_groups[i];
    groups.push_back({{"window", group.window},
                      {"blocks_total", group.blocks_total},
                      {"blocks_active", group.blocks_active},
                      {"blocks_cached", group.blocks_cached},
                      {"blocks", i < status.blocks.size() ? block_map(status.blocks[i]) : ""}});
  }
  return groups;
}

json::object engine_json(const EngineStatus& status) {
  return {{"num_running", status.num_running},
          {"num_waiting", status.num_waiting},
          {"num_swapped", status.num_swapped},
          {"block_size", status.block_size},
          {"groups", groups_json(status)},
          {"num_steps", status.num_steps},
          {"prompt_tokens", status.prompt_tokens},
          {"cached_tokens", status.cached_tokens},
          {"computed_tokens", status.computed_tokens},
          {"generated_tokens", status.generated_tokens},
          {"num_drafts", status.num_drafts},
          {"draft_tokens", status.draft_tokens},
          {"accepted_tokens", status.accepted_tokens},
          {"accepted_by_position", json::value_from(status.accepted_by_position)},
          {"num_preemptions", status.num_preemptions},
          {"num_swaps", status.num_swaps},
          {"num_cancelled", status.num_cancelled},
          {"num_timed_out", status.num_timed_out},
          {"num_failed", status.num_failed},
          {"num_aborted", status.num_aborted},
          {"num_failed_steps", status.num_failed_steps},
          {"refused_requests", status.refused_requests},
          {"refused_tokens", status.refused_tokens},
          {"plan_ms", status.plan_ms},
          {"run_ms", status.run_ms},
          {"decode_ms", status.decode_ms}};
}

json::object model_json(const ModelCard& card) {
  return {{"id", card.id},
          {"root", card.root},
          {"architecture", card.architecture},
          {"max_model_len", card.max_model_len},
          {"vocab_size", card.vocab_size},
          {"num_parameters", card.num_parameters},
          {"weight_bytes", card.weight_bytes},
          {"kv_bytes", card.kv_bytes},
          {"activation_bytes", card.activation_bytes}};
}

}  // namespace

void handle_status(ServerContext& context, const ExchangePtr& exchange) {
  const ServerState state = context.state;
  json::object out = context.metrics->summary();
  out["version"] = QUIRE_VERSION;
  out["state"] = name(state);
  const std::string wanted = exchange->request().parameter("model");
  const ServedModel* model = nullptr;
  if (state != ServerState::kLoading)
    model = wanted.empty() ? context.models.find("") : &require_model(context, wanted);
  out["model"] = model != nullptr ? json::value(model_json(model->card)) : json::value(nullptr);
  out["engine"] = model != nullptr && model->engine != nullptr ? json::value(engine_json(model->engine->status(true)))
                                                               : json::value(nullptr);
  const ModelMetrics none;
  for (const auto& member : (model != nullptr ? *model->metrics : none).summary()) out[member.key()] = member.value();
  exchange->reply({.body = json::serialize(out)});
}

}  // namespace quire
