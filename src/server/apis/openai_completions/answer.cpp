#include "server/apis/openai/answer.h"
#include "server/apis/answers.h"
#include "server/apis/json_text.h"

namespace quire {
namespace {

class CompletionForm : public OpenAiForm {
 public:
  using OpenAiForm::OpenAiForm;
  std::string_view id_prefix() const override { return "cmpl-"; }
  std::string_view object(bool) const override { return "text_completion"; }
  bool has_prompt_in_choice() const override { return true; }

  void append_choice(std::string& out, const ChoicePart& part) const override {
    out += "{\"index\":";
    append_json_number(out, int64_t{part.index});
    out += ",\"text\":";
    append_json_string(out, part.piece.text);
    out += ",\"logprobs\":";
    append_logprobs(out, part.piece.tokens, /*null_when_empty=*/part.is_stream);
    append_end(out, part);
  }

 private:
  void append_logprobs(std::string& out, const std::vector<PieceToken>& tokens, bool null_when_empty) const {
    if (!logprobs_ || (null_when_empty && tokens.empty())) {
      out += "null";
      return;
    }
    out += "{\"tokens\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_json_string(out, names_.name(from.token.id)); });
    out += ",\"token_logprobs\":";
    append_list(out, tokens, [&](const PieceToken& from) {
      if (!from.has_logprob) {
        out += "null";
      } else {
        append_json_number(out, from.token.logprob);
      }
    });
    out += ",\"top_logprobs\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_top(out, from); });
    out += ",\"text_offset\":";
    append_list(out, tokens, [&](const PieceToken& from) { append_json_number(out, from.text_offset); });
    out += '}';
  }

  // The likeliest tokens and the token itself. If two tokens have the same name, the likelier keeps it.
  void append_top(std::string& out, const PieceToken& from) const {
    if (!from.has_logprob) {
      out += "null";
      return;
    }
    std::vector<std::string> seen;
    out += '{';
    const auto add = [&](int32_t id, float logprob) {
      std::string name = names_.name(id);
      for (const std::string& other : seen) {
        if (other == name) return;
      }
      if (!seen.empty()) out += ',';
      append_json_string(out, name);
      out += ':';
      append_json_number(out, logprob);
      seen.push_back(std::move(name));
    };
    for (const TokenLogprob& top : from.token.top) add(top.id, top.logprob);
    add(from.token.id, from.token.logprob);
    out += '}';
  }
};

}  // namespace

std::shared_ptr<AnswerWriter> make_completions_answer(const AnswerSetup& setup) {
  const TokenNames names{setup.tokenizer, setup.request.tokens_as_ids};
  return make_openai_answer(setup, std::make_unique<CompletionForm>(names, setup.request));
}

}  // namespace quire
