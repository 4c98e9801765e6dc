// GET /v1/models and /v1/models/{id}. Clients also take the list's 200 as readiness, so it is not 200 while loading.

#include "base/json.h"
#include "decoding/generation_defaults.h"
#include "server/answers/answer_errors.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

constexpr std::string_view kListPath = "/v1/models";

json::object model_json(const ServedModel& model, std::string_view name) {
  const ModelCard& card = model.card;
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
            {"default_generation_settings", to_json(model.default_sampling)}}}};
}

}  // namespace

void handle_models(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const std::string_view path = exchange->request().path;
  if (path != kListPath) {
    const std::string_view name = path.substr(kListPath.size() + 1);
    return exchange->reply({.body = json::serialize(model_json(require_model(context, name), name))});
  }
  json::array data;
  for (const ServedModel& model : context.models.all()) {
    data.push_back(model_json(model, model.card.id));
    for (const std::string& alias : model.card.aliases) data.push_back(model_json(model, alias));
  }
  exchange->reply({.body = json::serialize(json::object{{"object", "list"}, {"data", data}})});
}

}  // namespace quire
