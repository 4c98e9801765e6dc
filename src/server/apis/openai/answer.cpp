#include "server/apis/openai/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "server/apis/error_form.h"
#include "server/apis/json_text.h"
#include "server/apis/stream_output.h"

namespace quire {
namespace {

// What both writers know. The request's wishes are copied: the answer outlives it.
class OpenAiAnswer : public AnswerWriter {
 public:
  OpenAiAnswer(const AnswerSetup& setup, std::unique_ptr<OpenAiForm> form)
      : exchange_(setup.exchange),
        form_(std::move(form)),
        prompt_token_ids_(setup.request.return_token_ids),
        num_prompt_logprobs_(setup.request.prompt_logprobs),
        prompts_(static_cast<size_t>(setup.head.num_choices)) {}

  void begin(ChoiceRange choices, std::span<const int32_t> prompt, std::span<const SampledToken> logprobs) override {
    std::string members;
    if (prompt_token_ids_) {
      members = ",\"prompt_token_ids\":";
      append_token_ids(members, prompt);
    }
    if (num_prompt_logprobs_ >= 0) {
      members += ",\"prompt_logprobs\":";
      append_prompt_logprobs(members, form_->names(), logprobs, num_prompt_logprobs_);
    }
    const auto shared = std::make_shared<const std::string>(std::move(members));
    std::fill_n(prompts_.begin() + choices.first, choices.count, shared);
  }

  void usage(const UsageCounts& usage) override { usage_ = usage; }

  void timings(const AnswerTimings& timings) override {
    timings_ = fmt::format(
        "{{\"ttft_ms\":{:.3f},\"decode_ms\":{:.3f},\"queue_ms\":{:.3f},\"tokens_per_second\":{:.3f},"
        "\"cached_tokens\":{}",
        timings.ttft_ms, timings.decode_ms, timings.queue_ms, timings.tokens_per_second, timings.cached_tokens);
    // llama-server's names, there only with drafts as in its answers.
    if (timings.drafts.num_verified > 0) {
      timings_ += fmt::format(",\"draft_n\":{},\"draft_n_accepted\":{}", timings.drafts.num_verified,
                              timings.drafts.num_accepted);
    }
    timings_ += '}';
  }

 protected:
  std::string envelope(const AnswerHead& head, bool is_stream) const {
    std::string out = "{\"id\":" + json_string(std::string(form_->id_prefix()) + head.request_id) + ",\"object\":";
    append_json_string(out, form_->object(is_stream));
    out += ",\"created\":";
    append_json_number(out, head.created);
    out += ",\"model\":" + json_string(head.model) + ",\"system_fingerprint\":" + json_string(head.fingerprint);
    if (head.is_truncated) out += ",\"truncated\":true";
    return out;
  }

  const ExchangePtr exchange_;
  const std::unique_ptr<OpenAiForm> form_;
  const bool prompt_token_ids_;
  const int num_prompt_logprobs_;
  // Of each choice: members about its prompt, each with a comma before it. Long, and the same for all of a prompt.
  std::vector<std::shared_ptr<const std::string>> prompts_;
  UsageCounts usage_;
  std::string timings_;  // JSON object, empty when not asked for
};

class StreamedAnswer : public OpenAiAnswer {
 public:
  StreamedAnswer(const AnswerSetup& setup, std::unique_ptr<OpenAiForm> form)
      : OpenAiAnswer(setup, std::move(form)),
        include_usage_(setup.request.include_usage),
        continuous_usage_(setup.request.continuous_usage),
        output_(StreamOutput::begin(setup.exchange, kEventStream, setup.buffer_bytes)),
        head_("data: " + envelope(setup.head, /*is_stream=*/true)),
        is_started_(static_cast<size_t>(setup.head.num_choices), false) {}

  void text(int index, TextPiece piece) override { chunk({.index = index, .piece = piece}, false); }
  void reasoning(int index, TextPiece piece) override {
    const TextPiece tokens{.text = {}, .tokens = std::move(piece.tokens)};
    chunk({.index = index, .piece = tokens, .reasoning = piece.text}, false);
  }
  void tool_call(int index, const ToolCallPiece& call, std::vector<PieceToken> tokens) override {
    const TextPiece piece{.text = {}, .tokens = std::move(tokens)};
    chunk({.index = index, .piece = piece, .calls = {&call, 1}}, false);
  }
  void end(int index, TextPiece rest, const ChoiceEnd& end, bool is_last) override {
    chunk({.index = index, .piece = rest, .end = &end}, is_last && !include_usage_);
  }

  void flush() override { output_->flush(); }

  void done() override {
    if (include_usage_) {
      out_ += head_ + ",\"choices\":[],\"usage\":";
      append_usage(out_, usage_);
      finish_event(/*with_timings=*/true);
    }
    out_ += "data: [DONE]\n\n";
    output_->end();
  }

  void fail(const ApiError& error) override {
    out_ += kOpenAiErrors.stream_end(error);
    output_->end();
  }

  bool has_room() const override { return output_->has_room(); }

 private:
  void chunk(ChoicePart part, bool with_timings) {
    const auto index = static_cast<size_t>(part.index);
    part.is_stream = true;
    part.is_first = !is_started_[index];
    is_started_[index] = true;
    const std::string_view prompt = part.is_first ? std::string_view(*prompts_[index]) : std::string_view();
    const bool in_choice = form_->has_prompt_in_choice();
    if (in_choice) part.prompt = prompt;
    out_ += head_;
    if (!in_choice) out_ += prompt;
    out_ += ",\"choices\":[";
    form_->append_choice(out_, part);
    out_ += ']';
    if (continuous_usage_) {
      out_ += ",\"usage\":";
      append_usage(out_, usage_);
    }
    finish_event(with_timings);
  }

  void finish_event(bool with_timings) {
    if (with_timings && !timings_.empty()) out_ += ",\"timings\":" + timings_;
    out_ += "}\n\n";
  }

  const bool include_usage_;
  const bool continuous_usage_;
  const std::shared_ptr<StreamOutput> output_;
  std::string& out_ = output_->pending();
  const std::string head_;  // of every event
  std::vector<bool> is_started_;
};

class WholeAnswer : public OpenAiAnswer {
 public:
  WholeAnswer(const AnswerSetup& setup, std::unique_ptr<OpenAiForm> form)
      : OpenAiAnswer(setup, std::move(form)),
        head_(envelope(setup.head, /*is_stream=*/false)),
        choices_(prompts_.size()) {}

  void text(int index, TextPiece piece) override { choices_[static_cast<size_t>(index)].add(std::move(piece)); }
  void reasoning(int index, TextPiece piece) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    choice.reasoning += piece.text;
    choice.add({.text = {}, .tokens = std::move(piece.tokens)});
  }
  void tool_call(int index, const ToolCallPiece& call, std::vector<PieceToken> tokens) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    if (static_cast<size_t>(call.index) == choice.calls.size()) {
      choice.calls.push_back(call);
    } else {
      choice.calls[static_cast<size_t>(call.index)].arguments += call.arguments;
    }
    choice.add({.text = {}, .tokens = std::move(tokens)});
  }
  void end(int index, TextPiece rest, const ChoiceEnd& end, bool) override {
    choices_[static_cast<size_t>(index)].add(std::move(rest));
    choices_[static_cast<size_t>(index)].end = end;
  }

  void done() override {
    std::string body = head_;
    const bool in_choice = form_->has_prompt_in_choice();
    if (!in_choice) body += *prompts_[0];
    body += ",\"choices\":[";
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) body += ',';
      form_->append_choice(body, {.index = static_cast<int>(i),
                                  .is_first = true,
                                  .piece = choices_[i].piece,
                                  .reasoning = choices_[i].reasoning,
                                  .calls = choices_[i].calls,
                                  .end = &choices_[i].end,
                                  .prompt = in_choice ? std::string_view(*prompts_[i]) : ""});
    }
    body += "],\"usage\":";
    append_usage(body, usage_);
    if (!timings_.empty()) body += ",\"timings\":" + timings_;
    body += '}';
    exchange_->reply({.body = std::move(body)});
  }

  void fail(const ApiError& error) override { exchange_->reply(error_response(error, kOpenAiErrors)); }

  void flush() override {}
  bool has_room() const override { return true; }

 private:
  struct Choice {
    TextPiece piece;
    std::string reasoning;
    std::vector<ToolCallPiece> calls;
    ChoiceEnd end;

    void add(TextPiece more) {
      piece.text += more.text;
      std::move(more.tokens.begin(), more.tokens.end(), std::back_inserter(piece.tokens));
    }
  };

  const std::string head_;
  std::vector<Choice> choices_;
};

void append_stop(std::string& out, const ChoiceEnd& end) {
  if (end.stop_string) {
    append_json_string(out, *end.stop_string);
  } else if (end.stop_token) {
    append_json_number(out, int64_t{*end.stop_token});
  } else {
    out += "null";
  }
}

}  // namespace

void OpenAiForm::append_end(std::string& out, const ChoicePart& part) const {
  out += ",\"finish_reason\":";
  if (part.end == nullptr) {
    out += "null";
  } else {
    const bool is_cut = part.end->reason == FinishReason::kLength;
    const std::string_view call = calls_functions_ ? "\"function_call\"" : "\"tool_calls\"";
    out += is_cut ? "\"length\"" : part.end->has_tool_calls ? call : "\"stop\"";
    out += ",\"stop_reason\":";
    append_stop(out, *part.end);
  }
  if (token_ids_) {
    out += ",\"token_ids\":";
    append_list(out, part.piece.tokens,
                [&](const PieceToken& from) { append_json_number(out, int64_t{from.token.id}); });
  }
  if (draft_marks_) {
    out += ",\"quire_drafts\":";
    append_list(out, part.piece.tokens, [&](const PieceToken& from) {
      out += '[';
      append_json_number(out, from.text_offset);
      out += from.is_accepted_draft ? ",true]" : ",false]";
    });
  }
  out += part.prompt;
  out += '}';
}

std::shared_ptr<AnswerWriter> make_openai_answer(const AnswerSetup& setup, std::unique_ptr<OpenAiForm> form) {
  if (!setup.request.stream) return std::make_shared<WholeAnswer>(setup, std::move(form));
  return std::make_shared<StreamedAnswer>(setup, std::move(form));
}

}  // namespace quire
