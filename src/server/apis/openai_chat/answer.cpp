#include "server/apis/openai/answer.h"

#include <algorithm>

#include "server/apis/answers.h"
#include "server/apis/json_text.h"

namespace quire {
namespace {

class ChatForm : public OpenAiForm {
 public:
  using OpenAiForm::OpenAiForm;
  std::string_view id_prefix() const override { return "chatcmpl-"; }
  std::string_view object(bool is_stream) const override {
    return is_stream ? "chat.completion.chunk" : "chat.completion";
  }
  bool has_prompt_in_choice() const override { return false; }

  void append_choice(std::string& out, const ChoicePart& part) const override {
    out += "{\"index\":";
    append_json_number(out, int64_t{part.index});
    out += part.is_stream ? ",\"delta\":{" : ",\"message\":{";
    if (part.is_first) out += "\"role\":\"assistant\"";
    if (part.is_first || !part.piece.text.empty() || part.end == nullptr) {
      out += part.is_first ? ",\"content\":" : "\"content\":";
      append_json_string(out, part.piece.text);
    }
    out += part.is_stream ? "}" : ",\"refusal\":null}";
    out += ",\"logprobs\":";
    append_logprobs(out, part.piece.tokens, /*null_when_empty=*/part.is_stream);
    append_end(out, part);
  }

 private:
  void append_logprobs(std::string& out, const std::vector<PieceToken>& tokens, bool null_when_empty) const {
    const bool has_shown =
        std::any_of(tokens.begin(), tokens.end(), [](const PieceToken& token) { return !token.is_end; });
    if (!logprobs_ || (null_when_empty && !has_shown)) {
      out += "null";
      return;
    }
    out += "{\"content\":";
    append_token_logprobs(out, names_, tokens);
    out += ",\"refusal\":null}";
  }
};

}  // namespace

std::shared_ptr<AnswerWriter> make_chat_answer(const AnswerSetup& setup) {
  const TokenNames names{setup.tokenizer, setup.request.tokens_as_ids};
  return make_openai_answer(setup, std::make_unique<ChatForm>(names, setup.request));
}

}  // namespace quire
