#include "server/answers/judgements.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "dialogue/relevance.h"
#include "server/answers/prompts.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr int64_t kJudgementTokens = 1;

// The question's end stays: it is what the model answers.
std::vector<int32_t> question_prompt(const ServedModel& model, const ApiRequest& request,
                                     const RelevanceQuestion& question, const std::string& place, bool& is_cut) {
  for (const std::string_view part : {question.query, question.document}) {
    refuse_overlong(model, request, part, place);
  }
  const RelevancePrompt prompt = relevance_prompt(*model.text->relevance_format(), question);
  std::vector<int32_t> ids = model.text->encode_rendered(prompt.text);
  const std::vector<int32_t> end = model.text->encode_rendered(prompt.end);
  const int64_t context_length = model.engine->max_sequence_tokens();
  const auto num_of_end = static_cast<int64_t>(end.size());
  if (const std::optional<int64_t> keep = kept_tokens(request, kJudgementTokens, context_length)) {
    const auto most = static_cast<size_t>(std::max<int64_t>(*keep - num_of_end, 1));
    is_cut |= ids.size() > most;
    ids.resize(std::min(ids.size(), most));
  }
  ids.insert(ids.end(), end.begin(), end.end());
  is_cut |= fit_prompt(ids, request, kJudgementTokens, context_length, place);
  return ids;
}

}  // namespace

double yes_probability(const std::vector<float>& yes_and_no) {
  const double difference = static_cast<double>(yes_and_no[1]) - static_cast<double>(yes_and_no[0]);
  return 1.0 / (1.0 + std::exp(difference));
}

void start_judgements(const ExchangePtr& exchange, const ServedModel& model, const ApiRequest& request,
                      const std::vector<JudgedPair>& pairs, const EmbeddingAnswer& answer) {
  const RelevanceFormat& format = *model.text->relevance_format();
  EmbeddingPlan plan{
      .model = &model, .next_tokens = {format.yes_id, format.no_id}, .write = answer.write, .errors = &answer.errors};
  GenerateRequest common = engine_request(model, exchange->request(), request);
  common.max_tokens = kJudgementTokens;
  common.max_drafts = 0;
  common.sampling = {};
  common.sampling.temperature = 0.0f;
  common.sampling.num_logprobs = static_cast<int>(plan.next_tokens.size());
  common.sampling.logprob_token_ids = plan.next_tokens;
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < pairs.size(); ++i) {
    GenerateRequest out = common;
    const RelevanceQuestion question{.instruction = request.instruction,
                                     .query = request.prompts[pairs[i].query].text,
                                     .document = request.prompts[pairs[i].document].text};
    const std::string place = pairs.size() == 1 ? answer.path : at(answer.path, i);
    out.prompt = question_prompt(model, request, question, place, plan.is_truncated);
    plan.num_tokens.push_back(static_cast<int64_t>(out.prompt.size()));
    requests.push_back(std::move(out));
  }
  const auto group = std::make_shared<StreamGroup>(exchange, *model.engine, std::move(requests));
  exchange->post(
      [exchange, group, plan = std::move(plan)] { group->start(make_embedding_reader(exchange, *group, plan)); });
}

}  // namespace quire
