// How families of models mark what they think before they answer: a row for each, found by the chat template.
//
// Rows are constant; any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dialogue/output_parser.h"

namespace quire {

struct ReasoningFormat {
  std::string_view name;
  std::span<const std::string_view> aliases;  // other servers' names of it
  std::string_view begin;
  std::string_view end;
  // Reasoning is one of the channels of an answer (channels.h): where the answer has a form, `next` stands between the
  // end of reasoning and it, and `opening` before its text.
  bool has_channels = false;
  std::string_view next = {};
  std::string_view opening = {};
};

// In the order in which templates are asked for their marks.
std::span<const ReasoningFormat> reasoning_formats();
// By name or alias; null when there is none.
const ReasoningFormat* find_reasoning_format(std::string_view name);
// Null: the template has the marks of none.
const ReasoningFormat* detect_reasoning_format(std::string_view chat_template);
std::string reasoning_format_names();  // "mistral, think, ..."

// Whether the answer continues reasoning that the prompt's text begins.
bool opens_reasoning(const ReasoningFormat& format, std::string_view prompt_end);

// Reasoning at the beginning of an answer, then `answer` reads the rest; or, of a format with channels, reasoning
// anywhere. Space around reasoning is left out. `is_open`: the prompt has the begin mark.
std::unique_ptr<OutputParser> make_reasoning_parser(const ReasoningFormat& format, bool is_open,
                                                    std::unique_ptr<OutputParser> answer);
// All text is content.
std::unique_ptr<OutputParser> make_plain_parser();

}  // namespace quire
