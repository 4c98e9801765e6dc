// The envelope of OpenAI's answers: events of a stream, or one reply. What a choice looks like is the API's own.
//
// One object per request, used on the exchange's executor.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "server/apis/answer_writer.h"
#include "server/apis/openai/wire.h"
#include "server/schema/api_request.h"

namespace quire {

// An element of "choices".
struct ChoicePart {
  int index = 0;
  bool is_stream = false;
  bool is_first = false;   // of this choice
  const TextPiece& piece;  // the content, and the tokens of all that the part says
  std::string_view reasoning = {};
  std::span<const ToolCallPiece> calls = {};
  const ChoiceEnd* end = nullptr;  // null: more follows
  std::string_view prompt = {};    // members about the prompt, each with a comma before it
};

class OpenAiForm {
 public:
  OpenAiForm(TokenNames names, const ApiRequest& request)
      : names_(names),
        logprobs_(request.logprobs),
        token_ids_(request.return_token_ids),
        draft_marks_(request.draft_marks),
        calls_functions_(request.calls_functions) {}
  virtual ~OpenAiForm() = default;

  virtual std::string_view id_prefix() const = 0;
  virtual std::string_view object(bool is_stream) const = 0;
  // Members about the prompt are in each choice, or beside "choices".
  virtual bool has_prompt_in_choice() const = 0;
  virtual void append_choice(std::string& out, const ChoicePart& part) const = 0;

  const TokenNames& names() const { return names_; }

 protected:
  void append_end(std::string& out, const ChoicePart& part) const;

  TokenNames names_;
  bool logprobs_;
  bool token_ids_;
  bool draft_marks_;
  bool calls_functions_;
};

// A stream begins at once.
std::shared_ptr<AnswerWriter> make_openai_answer(const AnswerSetup& setup, std::unique_ptr<OpenAiForm> form);

}  // namespace quire
