// The models that a server answers for, by the names that clients use.
//
// Filled before the server is ready, unchanged from then on: any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decoding/sampling_params.h"
#include "dialogue/text_processor.h"
#include "engine/engine.h"
#include "grammar/grammar_cache.h"
#include "server/metrics/model_metrics.h"

namespace quire {

// A model as /v1/models describes it.
struct ModelCard {
  std::string id;                    // the name clients use
  std::vector<std::string> aliases;  // further names
  std::string root;                  // the path or name it was loaded from, without folders
  int64_t created = 0;
  int64_t max_model_len = 0;    // positions of a sequence as it is served
  int64_t trained_context = 0;  // positions that the model was made for
  int64_t vocab_size = 0;
  uint64_t num_parameters = 0;
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;          // the KV pool
  uint64_t activation_bytes = 0;  // a step's
  std::string architecture;
  std::string arithmetic;  // what else the bits of an answer depend on: kernels, KV formats, ranks

  bool has_name(std::string_view name) const;  // the id or an alias
};

// A name and what answers for it. Several may share an engine.
struct ServedModel {
  ModelCard card;
  SamplingParams default_sampling = {};  // of requests that leave them out
  Engine* engine = nullptr;              // outlives the server
  const TextProcessor* text = nullptr;   // outlives the server
  std::unique_ptr<ModelMetrics> metrics = std::make_unique<ModelMetrics>();
  std::unique_ptr<GrammarCache> grammars = nullptr;  // of an engine that generates
};

class ServedModels {
 public:
  // Throws Error when another model has one of its names, or it has one twice.
  ServedModel& add(ServedModel model);

  // By id or alias, else by the root; the first for an empty name. Null when there is none.
  const ServedModel* find(std::string_view name) const;
  const std::deque<ServedModel>& all() const { return models_; }
  std::string ids() const;  // "a, b"

 private:
  std::deque<ServedModel> models_;  // a pointer to one stays valid
};

}  // namespace quire
