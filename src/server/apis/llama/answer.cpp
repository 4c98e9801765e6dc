// The answer of llama-server's /completion and /infill: an object for each choice, whole or as the last of a stream.
#include <fmt/format.h>

#include <vector>

#include "base/json.h"
#include "decoding/generation_defaults.h"
#include "server/apis/answers.h"
#include "server/apis/error_form.h"
#include "server/apis/json_text.h"
#include "server/apis/openai/wire.h"
#include "server/apis/stream_output.h"

namespace quire {
namespace {

double rate(int64_t count, double ms) { return ms > 0.0 ? static_cast<double>(count) / ms * 1000.0 : 0.0; }
double each(int64_t count, double ms) { return count > 0 ? ms / static_cast<double>(count) : 0.0; }

// {"id", "token", "bytes", "logprob"} without the closing brace.
void append_probability(std::string& out, const TokenNames& names, int32_t id, float logprob) {
  out += fmt::format("{{\"id\":{},\"token\":", id);
  append_json_string(out, names.name(id));
  out += ",\"bytes\":[";
  const std::string bytes = names.tokenizer.token_bytes(id);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_json_number(out, static_cast<int64_t>(static_cast<unsigned char>(bytes[i])));
  }
  out += "],\"logprob\":";
  append_json_number(out, logprob);
}

void append_probabilities(std::string& out, const TokenNames& names, const std::vector<PieceToken>& tokens) {
  out += ",\"completion_probabilities\":";
  append_list(out, tokens, [&](const PieceToken& from) {
    append_probability(out, names, from.token.id, from.token.logprob);
    out += ",\"top_logprobs\":";
    append_list(out, from.token.top, [&](const TokenLogprob& top) {
      append_probability(out, names, top.id, top.logprob);
      out += '}';
    });
    out += '}';
  });
}

std::string settings_of(const ApiRequest& request) {
  json::object settings = to_json(request.sampling);
  settings["n_predict"] = request.max_tokens.value_or(-1);
  settings["stream"] = request.stream;
  settings["ignore_eos"] = request.ignore_eos;
  settings["n_probs"] = request.logprobs ? request.top_logprobs.value_or(0) : 0;
  settings["seed"] = request.sampling.seed ? json::value(*request.sampling.seed) : json::value(-1);
  json::array stop;
  for (const std::string& text : request.stop) stop.emplace_back(text);
  settings["stop"] = std::move(stop);
  return json::serialize(settings);
}

class LlamaAnswer : public AnswerWriter {
 public:
  LlamaAnswer(const AnswerSetup& setup, bool shows_tokens)
      : exchange_(setup.exchange),
        names_{setup.tokenizer},
        has_logprobs_(setup.request.logprobs),
        shows_tokens_(shows_tokens),
        model_(setup.head.model),
        is_truncated_(setup.head.is_truncated),
        settings_(settings_of(setup.request)),
        choices_(static_cast<size_t>(setup.head.num_choices)) {
    if (setup.request.stream) output_ = StreamOutput::begin(setup.exchange, kEventStream, setup.buffer_bytes);
  }

  void begin(ChoiceRange range, std::span<const int32_t> prompt, std::span<const SampledToken>) override {
    const auto text =
        std::make_shared<const std::string>(names_.tokenizer.decode(prompt, /*skip_special_tokens=*/false));
    for (int i = range.first; i < range.first + range.count; ++i) {
      choices_[static_cast<size_t>(i)].prompt = text;
      choices_[static_cast<size_t>(i)].num_prompt_tokens = static_cast<int64_t>(prompt.size());
    }
  }

  void text(int index, TextPiece piece) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    take(choice, std::move(piece));
    if (output_ == nullptr) return;
    std::string& out = output_->pending();
    out += "data: ";
    append_begin(out, index);
    out += fmt::format(",\"stop\":false,\"tokens_predicted\":{},\"tokens_evaluated\":{}}}\n\n", choice.num_tokens,
                       choice.num_prompt_tokens);
    choice.text.clear();
    choice.tokens.clear();
  }

  void end(int index, TextPiece rest, const ChoiceEnd& end, bool) override {
    Choice& choice = choices_[static_cast<size_t>(index)];
    take(choice, std::move(rest));
    choice.end = end;
    if (output_ == nullptr) return;
    output_->pending() += "data: " + object_of(index) + "\n\n";
  }

  void usage(const UsageCounts& usage) override { num_cached_ = usage.cached_tokens; }
  void timings(const AnswerTimings& timings) override { timings_ = timings; }
  void flush() override {
    if (output_ != nullptr) output_->flush();
  }

  void done() override {
    if (output_ != nullptr) return output_->end();
    std::string body = choices_.size() > 1 ? "[" : "";
    for (size_t i = 0; i < choices_.size(); ++i) body += (i > 0 ? "," : "") + object_of(static_cast<int>(i));
    exchange_->reply({.body = body + (choices_.size() > 1 ? "]" : "")});
  }

  void fail(const ApiError& error) override {
    if (output_ == nullptr) return exchange_->reply(error_response(error, kTokenizeErrors));
    output_->pending() += kTokenizeErrors.stream_end(error);
    output_->end();
  }

  bool has_room() const override { return output_ == nullptr || output_->has_room(); }

 private:
  struct Choice {
    std::shared_ptr<const std::string> prompt;
    int64_t num_prompt_tokens = 0;
    std::string text;  // not written yet
    std::vector<PieceToken> tokens;
    int64_t num_tokens = 0;
    bool has_new_line = false;
    ChoiceEnd end;
  };

  static void take(Choice& choice, TextPiece piece) {
    choice.text += piece.text;
    choice.has_new_line = choice.has_new_line || piece.text.find('\n') != std::string::npos;
    choice.num_tokens += static_cast<int64_t>(piece.tokens.size());
    choice.tokens.insert(choice.tokens.end(), std::make_move_iterator(piece.tokens.begin()),
                         std::make_move_iterator(piece.tokens.end()));
  }

  void append_begin(std::string& out, int index) const {
    const Choice& choice = choices_[static_cast<size_t>(index)];
    out += fmt::format("{{\"index\":{},\"content\":", index);
    append_json_string(out, choice.text);
    out += ",\"tokens\":";
    append_list(out, shows_tokens_ ? choice.tokens : std::vector<PieceToken>(),
                [&](const PieceToken& from) { append_json_number(out, int64_t{from.token.id}); });
    out += ",\"id_slot\":0";
    if (has_logprobs_) append_probabilities(out, names_, choice.tokens);
  }

  std::string object_of(int index) const {
    const Choice& choice = choices_[static_cast<size_t>(index)];
    std::string out;
    append_begin(out, index);
    out += ",\"stop\":true,\"model\":" + json_string(model_);
    out += fmt::format(",\"tokens_predicted\":{},\"tokens_evaluated\":{},\"tokens_cached\":{}", choice.num_tokens,
                       choice.num_prompt_tokens, num_cached_);
    out += ",\"generation_settings\":" + settings_ + ",\"prompt\":" + json_string(*choice.prompt);
    const ChoiceEnd& end = choice.end;
    const char* const kind = end.stop_string ? "word" : end.reason == FinishReason::kLength ? "limit" : "eos";
    out += fmt::format(",\"has_new_line\":{},\"truncated\":{},\"stop_type\":\"{}\",\"stopping_word\":",
                       choice.has_new_line, is_truncated_, kind);
    append_json_string(out, end.stop_string.value_or(""));
    out += ",\"timings\":" + timings_of(choice) + '}';
    return out;
  }

  std::string timings_of(const Choice& choice) const {
    const double prompt_ms = timings_.ttft_ms - timings_.queue_ms;
    const int64_t num_computed = choice.num_prompt_tokens - timings_.cached_tokens;
    return fmt::format(
        "{{\"cache_n\":{},\"prompt_n\":{},\"prompt_ms\":{:.3f},\"prompt_per_token_ms\":{:.3f},"
        "\"prompt_per_second\":{:.3f},\"predicted_n\":{},\"predicted_ms\":{:.3f},\"predicted_per_token_ms\":{:.3f},"
        "\"predicted_per_second\":{:.3f}}}",
        timings_.cached_tokens, num_computed, prompt_ms, each(num_computed, prompt_ms), rate(num_computed, prompt_ms),
        choice.num_tokens, timings_.decode_ms, each(choice.num_tokens, timings_.decode_ms), timings_.tokens_per_second);
  }

  const ExchangePtr exchange_;
  const TokenNames names_;
  const bool has_logprobs_;
  const bool shows_tokens_;
  const std::string model_;
  const bool is_truncated_;
  const std::string settings_;
  std::vector<Choice> choices_;
  std::shared_ptr<StreamOutput> output_;  // null: one reply
  int64_t num_cached_ = 0;
  AnswerTimings timings_;
};

}  // namespace

std::shared_ptr<AnswerWriter> make_llama_answer(const AnswerSetup& setup) {
  return std::make_shared<LlamaAnswer>(setup, setup.request.return_token_ids);
}

}  // namespace quire
