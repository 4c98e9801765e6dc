#include <algorithm>
#include <utility>

#include "server/apis/answers.h"
#include "server/apis/json_text.h"
#include "server/apis/openai/answer.h"

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
    append_message(out, part);
    out += part.is_stream ? "}" : ",\"refusal\":null}";
    out += ",\"logprobs\":";
    append_logprobs(out, part.piece.tokens, /*null_when_empty=*/part.is_stream);
    append_end(out, part);
  }

 private:
  void append_message(std::string& out, const ChoicePart& part) const {
    const char* separator = "";
    const auto member = [&](std::string_view name) {
      out += std::exchange(separator, ",");
      out += name;
    };
    if (part.is_first) member("\"role\":\"assistant\"");
    const bool is_other = !part.reasoning.empty() || !part.calls.empty();
    if (!part.piece.text.empty() || (!is_other && (part.is_first || part.end == nullptr))) {
      member("\"content\":");
      append_json_string(out, part.piece.text);
    } else if (part.is_first) {
      member("\"content\":null");
    }
    // Clients read the one name or the other.
    for (const std::string_view name : {"\"reasoning\":", "\"reasoning_content\":"}) {
      if (part.reasoning.empty()) break;
      member(name);
      append_json_string(out, part.reasoning);
    }
    if (part.calls.empty()) return;
    if (calls_functions_) {
      member("\"function_call\":");
      return append_function(out, part.calls[0]);
    }
    member("\"tool_calls\":");
    append_list(out, part.calls, [&](const ToolCallPiece& call) { append_call(out, call, part.is_stream); });
  }

  // The first piece of a call has an id.
  static void append_call(std::string& out, const ToolCallPiece& call, bool is_stream) {
    out += '{';
    if (is_stream) {
      out += "\"index\":";
      append_json_number(out, int64_t{call.index});
      out += ',';
    }
    if (!call.id.empty()) out += "\"id\":" + json_string(call.id) + ",\"type\":\"function\",";
    out += "\"function\":";
    append_function(out, call);
    out += '}';
  }

  static void append_function(std::string& out, const ToolCallPiece& call) {
    out += '{';
    if (!call.id.empty()) out += "\"name\":" + json_string(call.name) + ',';
    out += "\"arguments\":" + json_string(call.arguments) + '}';
  }

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
