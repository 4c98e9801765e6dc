#include "server/answers/generation.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/log.h"
#include "dialogue/thinking_budget.h"
#include "server/answers/answer_errors.h"
#include "server/answers/answer_parts.h"
#include "server/answers/best_of.h"
#include "server/answers/compile_queue.h"
#include "server/answers/grammars.h"
#include "server/answers/merged_pieces.h"
#include "server/answers/prompts.h"
#include "server/answers/tool_choice.h"
#include "server/apis/json_text.h"
#include "server/schema/field_error.h"
#include "text/utf8.h"

namespace quire {
namespace {

bool wants_echoed_logprobs(const ApiRequest& request) { return request.echo && request.logprobs; }

int num_prompt_logprobs(const ApiRequest& request) {
  return std::max(request.prompt_logprobs, wants_echoed_logprobs(request) ? request.top_logprobs.value_or(0) : -1);
}

// They are written all at once, when the first token comes, by a thread that serves other clients too.
void refuse_many_prompt_logprobs(const GenerationPlan& plan, const Limits& limits) {
  const int64_t num_top = num_prompt_logprobs(plan.request);
  if (num_top < 0) return;
  int64_t num_tokens = 0;
  for (const Prompt& prompt : plan.prompts) num_tokens += static_cast<int64_t>(prompt.ids.size());
  const int64_t count = num_tokens * (1 + num_top) * plan.request.num_choices;
  if (count <= limits.prompt_logprobs) return;
  throw ApiError(400, "invalid_request_error", "limit_exceeded",
                 fmt::format("the answer would have {} log probabilities of prompt tokens, at most {} are allowed; ask "
                             "for fewer choices, fewer likeliest tokens or shorter prompts",
                             count, limits.prompt_logprobs),
                 plan.path);
}

// The error of a choice that ended neither by a stop nor by its length.
ApiError failure(const OutputEvent& last) {
  const FinishReason reason = last.finish;
  if (reason == FinishReason::kTimeout) {
    return {408, "timeout_error", "timeout",
            "the request's time ran out before its last token; give it a longer timeout, "
            "fewer tokens or a lower priority value"};
  }
  if (reason == FinishReason::kError) {
    return {500, "server_error", "numeric_error",
            "the model produced NaN or infinity, so no token could be chosen; only this request is affected"};
  }
  if (reason == FinishReason::kConstraint) {
    return {400, "invalid_request_error", "grammar_failed",
            fmt::format("the answer cannot be kept in the form that was asked for: {}", last.error)};
  }
  if (reason == FinishReason::kAborted) {
    return {500, "server_error", "step_failed",
            "the server could not run the model for this request, which ended before its last token; try again"};
  }
  return {503,        "unavailable_error",
          "draining", "the server is shutting down and ended this request before its last token",
          "",         1000};
}

std::string system_fingerprint(const ModelCard& model) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : fmt::format("{} {} {} {} {} {}", model.root, model.architecture, model.num_parameters,
                                  model.weight_bytes, model.trained_context, model.arithmetic)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return fmt::format("fp_{:010x}", hash & 0xffffffffff);
}

AnswerHead head_of(const http::Request& from, const GenerationPlan& plan, bool is_truncated) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.request_id = plan.request.request_id.empty() ? from.id : plan.request.request_id,
          .model = plan.model->card.id,
          .fingerprint = system_fingerprint(plan.model->card),
          .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
          .num_choices = static_cast<int>(plan.prompts.size()) *
                         (plan.num_returned > 0 ? plan.num_returned : plan.request.num_choices),
          .is_truncated = is_truncated};
}

class GenerationReader : public StreamReader {
 public:
  GenerationReader(const ServerContext& context, const ExchangePtr& exchange, StreamGroup& group, GenerationPlan plan,
                   bool is_truncated)
      : exchange_(exchange), group_(group), plan_(std::move(plan)), prompts_(plan_.prompts.size()) {
    const AnswerHead head = head_of(exchange->request(), plan_, is_truncated);
    choices_.resize(plan_.prompts.size() * num_choices());
    num_open_ = static_cast<int>(choices_.size());
    writer_ = plan_.make_answer({.exchange = exchange,
                                 .request = plan_.request,
                                 .tokenizer = plan_.model->text->tokenizer(),
                                 .head = head,
                                 .buffer_bytes = context.limits.stream_buffer_bytes});
    if (plan_.num_returned > 0) {
      writer_ = best_of(writer_, static_cast<int>(plan_.prompts.size()), plan_.request.num_choices, plan_.num_returned);
    }
    const int interval = plan_.request.stream_interval.value_or(context.stream_interval);
    if (plan_.request.stream && interval > 1) writer_ = merge_pieces(writer_, head.num_choices, interval);
    for (const Prompt& prompt : plan_.prompts) usage_.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
    if (!plan_.request.prediction.empty()) usage_.prediction.emplace();
    writer_->usage(usage_);
    // If no log probabilities are needed, an echo is complete at once.
    if (num_prompt_logprobs(plan_.request) < 0) {
      for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) open_prompt(prompt, {});
    }
  }

  bool has_room() const override { return writer_->has_room(); }

  // A stop string ends the answer at its token.
  size_t num_at_once() const override {
    constexpr size_t kMany = 64;
    return plan_.request.stream || !plan_.request.stop.empty() ? 1 : kMany;
  }

  void on_event(size_t prompt, OutputEvent event) override {
    try {
      receive(prompt, std::move(event));
    } catch (const std::exception& error) {
      log::warning("request {} failed: {}", exchange_->request().id, error.what());
      fail({500, "server_error", "internal_error",
            fmt::format("the server failed to finish this answer; its log has the reason under request id {}",
                        exchange_->request().id)});
    }
  }

  void on_pause(bool is_complete) override {
    if (is_complete) {
      writer_->done();
    } else {
      writer_->flush();
    }
  }

  void on_refused(const ApiError& error) override { fail(error); }

  void on_gone() override {
    OutputEvent end;
    end.finish = FinishReason::kCancelled;
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (!choices_[i].is_closed) count(i / num_choices(), choices_[i], end);
    }
  }

 private:
  struct Choice {
    std::optional<ChoiceText> text;
    std::unique_ptr<AnswerParts> parts;  // null: all text is content
    std::optional<ChoiceEnd> end;        // decided; the finishing event has not arrived yet
    bool is_closed = false;
    int64_t num_tokens = 0;  // sampled, those after a stop string included
    double last_token_ms = 0.0;
  };
  struct PromptProgress {
    bool is_open = false;  // echo and text may be written
    bool has_events = false;
    std::vector<OutputEvent> early;  // of other choices, until the first one brings the prompt's log probabilities
  };

  size_t num_choices() const { return static_cast<size_t>(plan_.request.num_choices); }

  void receive(size_t prompt, OutputEvent event) {
    PromptProgress& progress = prompts_[prompt];
    if (!progress.is_open) {
      if (event.choice != 0 && event.finish != FinishReason::kTimeout && event.finish != FinishReason::kCancelled) {
        progress.early.push_back(std::move(event));
        return;
      }
      open_prompt(prompt, std::move(event.prompt_logprobs));
    }
    handle(prompt, std::move(event));
    while (!progress.early.empty() && !is_failed_) {
      std::vector<OutputEvent> early = std::move(progress.early);
      progress.early.clear();
      for (OutputEvent& later : early) {
        if (!is_failed_) handle(prompt, std::move(later));
      }
    }
  }

  void open_prompt(size_t index, std::vector<SampledToken> logprobs) {
    prompts_[index].is_open = true;
    const ApiRequest& request = plan_.request;
    const Prompt& prompt = plan_.prompts[index];
    const Tokenizer& tokenizer = plan_.model->text->tokenizer();
    writer_->begin({.first = static_cast<int>(index * num_choices()), .count = request.num_choices}, prompt.ids,
                   logprobs);
    TextPiece echo;
    if (request.echo) {
      for (SampledToken& token : logprobs) {
        token.top.resize(std::min(token.top.size(), static_cast<size_t>(request.top_logprobs.value_or(0))));
      }
      if (!wants_echoed_logprobs(request)) logprobs.clear();
      echo = echo_piece(tokenizer, prompt.ids, std::move(logprobs), request.skip_special_tokens);
      if (prompt.is_text) echo.text = prompt.text;
    }
    const bool has_parts = plan_.is_conversation && reads_parts(*plan_.model->text, request);
    const ChoiceTextOptions options{
        .stops = request.stop,
        .include_stop = request.include_stop,
        .skip_special_tokens = request.skip_special_tokens,
        .shown_tokens = has_parts ? plan_.model->text->mark_tokens(may_call(request)) : std::vector<int32_t>(),
        .min_tokens = request.sampling.min_tokens,
        .keep_tokens = request.logprobs || request.return_token_ids || request.draft_marks || request.keeps_tokens ||
                       plan_.num_returned > 0,
        .first_offset = static_cast<int64_t>(count_characters(echo.text))};
    for (size_t i = 0; i < num_choices(); ++i) {
      const size_t choice = index * num_choices() + i;
      choices_[choice].text.emplace(
          tokenizer, options,
          plan_.is_continuation ? std::span<const int32_t>(prompt.ids) : std::span<const int32_t>());
      if (has_parts) {
        choices_[choice].parts = std::make_unique<AnswerParts>(*plan_.model->text, request, prompt.ids,
                                                               exchange_->request().id, static_cast<int>(choice));
      }
      if (!echo.empty()) writer_->text(static_cast<int>(choice), echo);
    }
  }

  void handle(size_t prompt, OutputEvent event) {
    const size_t index = prompt * num_choices() + static_cast<size_t>(event.choice);
    Choice& choice = choices_[index];
    // Later waves of choices find in the cache what the first one computed.
    if (!std::exchange(prompts_[prompt].has_events, true)) {
      usage_.cached_tokens += event.num_cached_tokens;
      writer_->usage(usage_);
    }
    if (event.has_token) take_token(prompt, index, event);
    if (event.finish == FinishReason::kNone) return;

    count(prompt, choice, event);
    count_drafts(event.drafts);
    if (!choice.end && event.finish != FinishReason::kStop && event.finish != FinishReason::kLength) {
      return fail(failure(event));
    }
    TextPiece rest = choice.text->finish();
    // The last text may still complete a stop string.
    if (!choice.end) {
      choice.end = choice.text->is_stopped() ? stop_string_end(choice) : token_end(event);
    }
    if (choice.parts != nullptr) {
      choice.parts->push(std::move(rest));
      rest = choice.parts->finish(*writer_);
      choice.end->has_tool_calls = choice.parts->num_calls() > 0;
    }
    if (!rest.text.empty()) writer_->text(static_cast<int>(index), std::exchange(rest, {}));
    choice.is_closed = true;
    --num_open_;
    if (plan_.request.timings && num_open_ == 0) writer_->timings(timings_of(choice, event));
    writer_->end(static_cast<int>(index), std::move(rest), *choice.end, num_open_ == 0);
  }

  void take_token(size_t prompt, size_t index, OutputEvent& event) {
    Choice& choice = choices_[index];
    ++choice.num_tokens;
    if (choice.last_token_ms > 0.0 && event.time_ms > 0.0) {
      plan_.model->metrics->add_inter_token((event.time_ms - choice.last_token_ms) / 1000.0);
    }
    choice.last_token_ms = event.time_ms;
    if (choice.end) return;  // sampled before the engine learned of the stop string
    ++usage_.completion_tokens;
    end_token_ = event.token.id;
    TextPiece piece = choice.text->push(std::move(event.token), event.is_stop_token, event.is_accepted_draft);
    if (choice.parts != nullptr) {
      const bool was_reasoning = choice.parts->is_reasoning();
      choice.parts->push(std::exchange(piece, {}));
      if (was_reasoning || choice.parts->is_reasoning()) ++usage_.reasoning_tokens;
    }
    writer_->usage(usage_);
    if (choice.text->is_stopped()) {
      choice.end = stop_string_end(choice);
      if (event.finish == FinishReason::kNone) group_.cancel(prompt, event.choice);
    }
    if (choice.parts != nullptr) return choice.parts->write(*writer_);
    if (!piece.empty()) writer_->text(static_cast<int>(index), std::move(piece));
  }

  static ChoiceEnd stop_string_end(const Choice& choice) { return {.stop_string = choice.text->stop_string()}; }

  ChoiceEnd token_end(const OutputEvent& event) const {
    if (event.finish == FinishReason::kLength) return {.reason = FinishReason::kLength};
    const std::vector<int32_t>& ids = plan_.request.stop_token_ids;
    const bool is_callers = event.has_token && std::find(ids.begin(), ids.end(), end_token_) != ids.end();
    return {.stop_token = is_callers ? std::optional(end_token_) : std::nullopt};
  }

  AnswerTimings timings_of(const Choice& choice, const OutputEvent& event) const {
    const RequestTiming& timing = event.timing;
    const double decode_ms = timing.last_token_ms - timing.first_token_ms;
    const double rate = decode_ms > 0.0 ? static_cast<double>(choice.num_tokens - 1) / decode_ms * 1000.0 : 0.0;
    return {.ttft_ms = timing.first_token_ms - timing.arrival_ms,
            .decode_ms = decode_ms,
            .queue_ms = timing.first_scheduled_ms - timing.arrival_ms,
            .tokens_per_second = rate,
            .cached_tokens = usage_.cached_tokens,
            .drafts = drafts_};
  }

  void count_drafts(const DraftCounts& drafts) {
    drafts_.add(drafts);
    if (plan_.request.prediction.empty()) return;
    // A stop string may have cut the answer before the last of them.
    usage_.prediction = {.accepted_tokens = std::min(drafts_.num_predicted_accepted, usage_.completion_tokens),
                         .rejected_tokens = drafts_.num_predicted - drafts_.num_predicted_accepted};
    writer_->usage(usage_);
  }

  void count(size_t prompt, const Choice& choice, const OutputEvent& last) {
    OutputEvent event;
    event.finish = choice.end ? FinishReason::kStop : last.finish;
    event.timing = last.timing;
    event.num_cached_tokens = last.choice == 0 ? last.num_cached_tokens : 0;
    plan_.model->metrics->add_finished(
        ModelMetrics::finished(event, static_cast<int64_t>(plan_.prompts[prompt].ids.size()), choice.num_tokens,
                               plan_.max_tokens, plan_.request.num_choices));
  }

  void fail(const ApiError& error) {
    is_failed_ = true;
    writer_->fail(error);
    group_.stop();
  }

  const ExchangePtr exchange_;
  StreamGroup& group_;  // owns this
  GenerationPlan plan_;
  UsageCounts usage_;
  DraftCounts drafts_;  // of the choices that have ended
  std::shared_ptr<AnswerWriter> writer_;
  std::vector<PromptProgress> prompts_;
  std::vector<Choice> choices_;  // prompt x choice
  int num_open_ = 0;
  int32_t end_token_ = -1;  // the token of the current event
  bool is_failed_ = false;
};

// Where the answer begins: in reasoning, in content, or in either.
AnswerStart start_of(const GenerationPlan& plan) {
  return plan.is_conversation ? answer_start(*plan.model->text, plan.prompts.front().ids) : AnswerStart::kContent;
}

// The request's grammar, or that of its tools.
std::optional<GrammarSpec> grammar_of(const ServerContext& context, const GenerationPlan& plan) {
  const TextProcessor& text = *plan.model->text;
  const AnswerStart start = start_of(plan);
  ReasoningMarks marks;
  if (start != AnswerStart::kContent) {
    const ReasoningFormat& format = *text.reasoning_format();
    marks = {.end = std::string(format.end), .next = std::string(format.next)};
    if (start == AnswerStart::kEither) marks.begin = format.begin;
    if (!opens_content(text, plan.request)) marks.opening = format.opening;
  }
  return grammar_of(plan.request, std::move(marks), context.any_property_order);
}

// A form with the bound of reasoning, if there is one.
std::shared_ptr<const ConstraintSource> with_thinking_limit(const ServerContext& context, const GenerationPlan& plan,
                                                            std::span<const int32_t> eog_ids,
                                                            std::shared_ptr<const ConstraintSource> form) {
  const AnswerStart start = start_of(plan);
  // Beams cannot have a form, so the server's own bound does not hold for them.
  const int64_t usual = plan.request.use_beam_search ? -1 : context.reasoning_budget;
  const int64_t budget = plan.request.thinking_token_budget.value_or(usual);
  if (budget < 0 || start == AnswerStart::kContent) return form;
  const TextProcessor& text = *plan.model->text;
  return limit_thinking(text.tokenizer(), *text.reasoning_format(), eog_ids,
                        {.max_tokens = budget, .is_open = start == AnswerStart::kReasoning}, std::move(form));
}

}  // namespace

std::unique_ptr<StreamReader> make_generation_reader(ServerContext& context, const ExchangePtr& exchange,
                                                     StreamGroup& group, GenerationPlan plan, bool is_truncated) {
  return std::make_unique<GenerationReader>(context, exchange, group, std::move(plan), is_truncated);
}

namespace {

// The engine makes all choices that one is taken from; tokens that were asked for by name are all reported.
void prepare(GenerationPlan& plan) {
  ApiRequest& request = plan.request;
  if (request.best_of && *request.best_of > request.num_choices) {
    plan.num_returned = std::exchange(request.num_choices, *request.best_of);
  }
  if (!request.sampling.logprob_token_ids.empty()) {
    request.top_logprobs = static_cast<int>(request.sampling.logprob_token_ids.size());
  }
}

// A plan and what the engine is asked for, but for the form of its answers.
struct Admission {
  GenerationPlan plan;
  std::vector<GenerateRequest> requests;  // of each prompt
  bool is_truncated = false;

  // Of what waits with it.
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Prompt& prompt : plan.prompts) sum += prompt.text.size() + 2 * prompt.ids.size() * sizeof(int32_t);
    return sum;
  }
};

std::shared_ptr<Admission> make_admission(const ServerContext& context, const ExchangePtr& exchange,
                                          GenerationPlan plan) {
  auto made = std::make_shared<Admission>();
  const ApiRequest& request = plan.request;
  const GenerateRequest common = engine_request(*plan.model, exchange->request(), request);
  if (!common.prediction.empty() && plan.prompts.size() > 1) {
    refuse_field("prediction",
                 fmt::format("'prediction' is the answer to one prompt, but there are {}; send them one by "
                             "one or leave it out",
                             plan.prompts.size()));
  }
  for (Prompt& prompt : plan.prompts) {
    made->is_truncated = made->is_truncated || prompt.is_shortened;
    if (fit_prompt(prompt.ids, request, plan.max_tokens, plan.model->engine->max_sequence_tokens(), plan.path)) {
      made->is_truncated = true;
      prompt.is_text = false;  // the given text is no longer the prompt's text
    }
    GenerateRequest out = common;
    out.prompt = prompt.ids;
    out.max_tokens = plan.max_tokens;
    out.num_prompt_logprobs = num_prompt_logprobs(request);
    out.sampling.num_logprobs = request.logprobs ? request.top_logprobs.value_or(0) : -1;
    if (plan.num_returned > 0) out.sampling.num_logprobs = std::max(out.sampling.num_logprobs, 0);
    made->requests.push_back(std::move(out));
  }
  refuse_many_prompt_logprobs(plan, context.limits);
  made->plan = std::move(plan);
  return made;
}

void admit(ServerContext& context, const ExchangePtr& exchange, Admission& admission,
           std::shared_ptr<const ConstraintSource> form) {
  GenerationPlan& plan = admission.plan;
  form = with_thinking_limit(context, plan, admission.requests.front().eog_ids, std::move(form));
  for (GenerateRequest& request : admission.requests) request.constraint = form;
  const auto group = std::make_shared<StreamGroup>(exchange, *plan.model->engine, std::move(admission.requests));
  exchange->post([&context, exchange, group, is_truncated = admission.is_truncated,
                  plan = std::make_shared<GenerationPlan>(std::move(plan))] {
    const bool is_stream = plan->request.stream;
    group->start(make_generation_reader(context, exchange, *group, std::move(*plan), is_truncated));
    if (!is_stream) return;
    exchange->on_sent([weak = std::weak_ptr(group)] {
      if (const auto sent = weak.lock()) sent->pump();
    });
  });
}

}  // namespace

void start_generation(ServerContext& context, const ExchangePtr& exchange, GenerationPlan plan) {
  prepare(plan);
  if (plan.is_conversation) constrain_calls(*plan.model->text, plan.request);
  const auto admission = make_admission(context, exchange, std::move(plan));
  std::optional<GrammarSpec> spec = grammar_of(context, admission->plan);
  if (!spec) return admit(context, exchange, *admission, nullptr);
  const ServedModel& model = *admission->plan.model;
  if (auto form = find_form(model, *spec)) return admit(context, exchange, *admission, std::move(form));

  const uint64_t bytes = spec->text.size() + admission->bytes();
  const auto compile = [&context, exchange, admission, spec = std::move(*spec)] {
    const GenerationPlan& compiled = admission->plan;
    admit(context, exchange, *admission, compile_form(*compiled.model, spec, compiled.request.grammar_path));
  };
  if (context.compilations == nullptr) return compile();
  context.compilations->run(exchange, bytes, compile);
}

}  // namespace quire
