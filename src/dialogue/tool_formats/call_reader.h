// Reads one call of a tool, once its begin mark is behind. One object per call, used by one thread.
#pragma once

#include <string_view>
#include <vector>

#include "dialogue/output_parser.h"

namespace quire {

enum class ReadState : uint8_t {
  kMore,    // the call goes on; all of the text was taken, or what is left is too short to tell
  kDone,    // the call is complete; the rest of the text comes after it
  kBroken,  // the rest of the text is no call of this format
};

class CallReader {
 public:
  virtual ~CallReader() = default;
  // Takes bytes from the front of `text`, and adds to `parts`: kToolCall first, then kArguments. What is left of `text`
  // after kMore is given again, with more behind it.
  virtual ReadState push(std::string_view& text, std::vector<AnswerPart>& parts) = 0;
  // Whether the name was told. Until then the text may still be content.
  virtual bool has_begun() const = 0;
};

inline void add_part(std::vector<AnswerPart>& parts, AnswerPartKind kind, std::string_view text) {
  if (text.empty() && kind != AnswerPartKind::kToolCall) return;
  if (!parts.empty() && parts.back().kind == kind && kind != AnswerPartKind::kToolCall) {
    parts.back().text += text;
  } else {
    parts.push_back({.kind = kind, .text = std::string(text)});
  }
}

constexpr bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace quire
