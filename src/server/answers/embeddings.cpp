#include "server/answers/embeddings.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

#include "base/check.h"
#include "server/answers/prompts.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

std::vector<float> logprobs_of(const SampledToken& token, std::span<const int32_t> ids) {
  std::vector<float> values;
  for (const int32_t id : ids) {
    const auto found =
        std::find_if(token.top.begin(), token.top.end(), [&](const TokenLogprob& each) { return each.id == id; });
    CHECK(found != token.top.end());  // the request asked for them
    values.push_back(found->logprob);
  }
  return values;
}

class EmbeddingReader : public StreamReader {
 public:
  EmbeddingReader(const ExchangePtr& exchange, StreamGroup& group, EmbeddingPlan plan)
      : exchange_(exchange), group_(group), plan_(std::move(plan)), done_(plan_.num_tokens.size()) {}

  void on_event(size_t input, OutputEvent event) override {
    if (event.has_token) done_[input].embedding = logprobs_of(event.token, plan_.next_tokens);
    if (event.finish == FinishReason::kNone) return;
    done_[input].is_finished = true;
    count(input, event);
    if (event.finish == FinishReason::kTimeout) {
      return fail({408, "timeout_error", "timeout", "the request's time ran out; give it a longer timeout"});
    }
    if (event.finish == FinishReason::kCancelled) {
      return fail(
          {503, "unavailable_error", "draining", "the server is shutting down and ended this request", "", 1000});
    }
    if (event.finish == FinishReason::kError) {
      return fail({500, "server_error", "numeric_error", "the model produced NaN or infinity for this input"});
    }
    if (event.finish == FinishReason::kAborted) {
      return fail({500, "server_error", "step_failed", "the server could not run the model for this input; try again"});
    }
    if (!plan_.next_tokens.empty()) return;
    if (event.embedding.empty()) {
      return fail({501, "not_supported_error", "not_supported", "this model gives no embeddings"});
    }
    const auto size = static_cast<int>(event.embedding.size());
    if (plan_.dimensions && *plan_.dimensions > size) {
      return fail({400, "invalid_request_error", "",
                   fmt::format("'dimensions' is {}, this model's embeddings have {}", *plan_.dimensions, size),
                   "dimensions"});
    }
    if (plan_.dimensions) event.embedding.resize(static_cast<size_t>(*plan_.dimensions));
    if (plan_.normalize) normalise(event.embedding);
    done_[input].embedding = std::move(event.embedding);
  }

  void on_pause(bool is_complete) override {
    if (!is_complete) return;
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin_;
    Embeddings embeddings{.model = plan_.model->card.id,
                          .vectors = {},
                          .num_tokens = plan_.num_tokens,
                          .is_truncated = plan_.is_truncated,
                          .total_ms = time.count()};
    for (Done& done : done_) embeddings.vectors.push_back(std::move(done.embedding));
    try {
      exchange_->reply({.body = plan_.write(embeddings)});
    } catch (const ApiError& error) {
      fail(error);
    }
  }

  void on_refused(const ApiError& error) override { fail(error); }

  void on_gone() override {
    OutputEvent end;
    end.finish = FinishReason::kCancelled;
    for (size_t i = 0; i < done_.size(); ++i) {
      if (!done_[i].is_finished) count(i, end);
    }
  }

 private:
  struct Done {
    bool is_finished = false;
    std::vector<float> embedding;
  };

  void count(size_t input, const OutputEvent& event) {
    plan_.model->metrics->add_finished(ModelMetrics::finished(event, plan_.num_tokens[input], 0, 0, 1));
  }

  void fail(const ApiError& error) {
    exchange_->reply(error_response(error, *plan_.errors));
    group_.stop();
  }

  const ExchangePtr exchange_;
  StreamGroup& group_;  // owns this
  const EmbeddingPlan plan_;
  std::vector<Done> done_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Of text `index` in the request.
std::string place_of(const EmbeddingAnswer& answer, size_t index, size_t num_queries, size_t count) {
  if (index < num_queries) return num_queries == 1 ? answer.query_path : at(answer.query_path, index);
  return count == 1 ? answer.path : at(answer.path, index - num_queries);
}

}  // namespace

void normalise(std::vector<float>& vector) {
  double sum = 0.0;
  for (const float x : vector) sum += static_cast<double>(x) * x;
  if (!(sum > 0.0)) return;
  const double scale = 1.0 / std::sqrt(sum);
  for (float& x : vector) x = static_cast<float>(x * scale);
}

std::unique_ptr<StreamReader> make_embedding_reader(const ExchangePtr& exchange, StreamGroup& group,
                                                    EmbeddingPlan plan) {
  return std::make_unique<EmbeddingReader>(exchange, group, std::move(plan));
}

void start_embeddings(ServerContext& context, const ExchangePtr& exchange, const ServedModel& model,
                      const ApiRequest& request, const EmbeddingAnswer& answer) {
  GenerateRequest common = engine_request(model, exchange->request(), request);
  const EmbeddingUse& use = model.engine->runner().info().embedding;
  common.pooling = request.pooling.value_or(use.pooling);
  common.max_tokens = 0;
  EmbeddingPlan plan{.model = &model,
                     .dimensions = request.dimensions,
                     .normalize = answer.normalize.value_or(use.normalize),
                     .write = answer.write,
                     .errors = &answer.errors};
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string place = place_of(answer, i, static_cast<size_t>(request.num_queries), request.prompts.size());
    GenerateRequest out = common;
    out.prompt =
        plain_prompt(model, request, request.prompts[i], request.parse_special.value_or(context.parse_special), place);
    plan.is_truncated |= fit_prompt(out.prompt, request, 0, model.engine->max_sequence_tokens(), place);
    plan.num_tokens.push_back(static_cast<int64_t>(out.prompt.size()));
    requests.push_back(std::move(out));
  }
  const auto group = std::make_shared<StreamGroup>(exchange, *model.engine, std::move(requests));
  exchange->post(
      [exchange, group, plan = std::move(plan)] { group->start(make_embedding_reader(exchange, *group, plan)); });
}

}  // namespace quire
