// From the text of one choice to the events of its writer: content, reasoning and calls of tools.
//
// One object per choice, used on the exchange's executor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dialogue/output_parser.h"
#include "dialogue/text_processor.h"
#include "server/apis/answer_writer.h"
#include "server/schema/api_request.h"

namespace quire {

// What an answer to a conversation begins with, as its prompt and the model's format of reasoning tell.
enum class AnswerStart : uint8_t {
  kContent,
  kReasoning,  // the prompt has the begin mark
  kEither,     // reasoning, if the answer begins with that mark
};
AnswerStart answer_start(const TextProcessor& text, std::span<const int32_t> prompt);

// Whether answers to a conversation may have other parts than content.
bool reads_parts(const TextProcessor& text, const ApiRequest& request);

class AnswerParts {
 public:
  // `prompt`: its end may begin the reasoning. `salt`: what tells the ids of calls from those of other requests. `text`
  // and `request` outlive this.
  AnswerParts(const TextProcessor& text, const ApiRequest& request, std::span<const int32_t> prompt, std::string salt,
              int choice);

  // More text with its tokens. What it means waits for write().
  void push(TextPiece piece);
  void write(AnswerWriter& writer);
  // The choice ends: writes everything, but returns tokens that are left.
  TextPiece finish(AnswerWriter& writer);

  bool is_reasoning() const { return parser_->is_reasoning(); }
  int num_calls() const { return num_calls_; }

 private:
  void write(AnswerWriter& writer, AnswerPart part);
  std::string call_id(std::string_view name) const;

  const ApiRequest& request_;
  const CallIds ids_;
  const std::string salt_;
  const int choice_;
  std::unique_ptr<OutputParser> parser_;
  std::vector<AnswerPart> parts_;
  std::vector<PieceToken> tokens_;  // of text that no event has told
  int num_calls_ = 0;
  bool is_left_out_ = false;  // the call that is being read
};

}  // namespace quire
