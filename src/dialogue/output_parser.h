// Reads what a model's text means: content, reasoning and calls of tools, each family of models in its own format.
//
// One object per choice. Time is linear in the text. Text that may still become the beginning of something else is
// held back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

enum class AnswerPartKind : uint8_t {
  kContent,    // text: more of what the user reads
  kReasoning,  // text: more of what the model thinks before it answers
  kToolCall,   // a call begins; text: the tool's name
  kArguments,  // text: more of the JSON text of the last call's arguments
};

struct AnswerPart {
  AnswerPartKind kind = AnswerPartKind::kContent;
  std::string text = {};
};

class OutputParser {
 public:
  virtual ~OutputParser() = default;
  // Adds to `parts`. The arguments of a call join to valid JSON when the model wrote valid JSON.
  virtual void push(std::string_view text, std::vector<AnswerPart>& parts) = 0;
  // The choice ends: what is held back. A call that is not complete keeps what it has.
  virtual void finish(std::vector<AnswerPart>& parts) = 0;
  // Whether what comes next is, as far as is known, reasoning or its end mark.
  virtual bool is_reasoning() const { return false; }
};

}  // namespace quire
