// GET /v1/models and /v1/models/{id}. Clients also take the list's 200 as readiness, so it is not 200 while loading.

#include "base/json.h"
#include "decoding/generation_defaults.h"
#include "server/api_error.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

constexpr std::string_view kListPath = "/v1/models";
constexpr double kRetryMs = 1000.0;

json::object model_json(const ServerContext& context, std::string_view name) {
  const ModelCard& card = context.model;
  return {{"id", name},
          {"object", "model"},
          {"created", card.created},
          {"owned_by", "quire"},
          {"root", card.root},
          {"parent", nullptr},
          {"max_model_len", card.max_model_len},
          {"permission", json::array()},
          {"meta",
           {{"architecture", card.architecture},
            {"n_ctx_train", card.trained_context},
            {"n_vocab", card.vocab_size},
            {"n_params", card.num_parameters},
            {"size", card.weight_bytes},
            {"default_generation_settings", to_json(context.default_sampling)}}}};
}

}  // namespace

void handle_models(ServerContext& context, const ExchangePtr& exchange) {
  if (context.state == ServerState::kLoading) {
    return exchange->reply(
        error_response(ApiError(503, "unavailable_error", "model_loading", "the model is being loaded", "", kRetryMs)));
  }
  const std::string_view path = exchange->request().path;
  const ModelCard& card = context.model;
  if (path == kListPath) {
    json::array data = {model_json(context, card.id)};
    for (const std::string& alias : card.aliases) data.push_back(model_json(context, alias));
    return exchange->reply({.body = json::serialize(json::object{{"object", "list"}, {"data", data}})});
  }
  const std::string_view name = path.substr(kListPath.size() + 1);
  if (card.has_name(name)) return exchange->reply({.body = json::serialize(model_json(context, name))});
  exchange->reply(
      error_response(ApiError(404, "not_found_error", "model_not_found",
                              "there is no model of this name here; the one loaded is '" + card.id + "'", "model")));
}

}  // namespace quire
