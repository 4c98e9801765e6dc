// Answers as the Harmony format of gpt-oss writes them: messages, each with a head that names a channel. `analysis` is
// reasoning, `final` and `commentary` are content, and a message to a recipient is a call of a tool:
//
//   <|channel|>analysis<|message|>Rome, then.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather
//   <|constrain|>json<|message|>{"city": "Rome"}<|call|>
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "dialogue/output_parser.h"

namespace quire {

namespace channels {
inline constexpr std::string_view kChannel = "<|channel|>", kMessage = "<|message|>", kStart = "<|start|>",
                                  kEnd = "<|end|>", kCall = "<|call|>", kReturn = "<|return|>",
                                  kConstrain = "<|constrain|>";
inline constexpr std::array kMarks = {kChannel, kMessage, kStart, kEnd, kCall, kReturn, kConstrain};
// Stands between reasoning and the next message, and before the text of a last message.
inline constexpr std::string_view kNextMessage = "<|start|>assistant", kFinal = "<|channel|>final<|message|>";
}  // namespace channels

// Tells reasoning; `answer` gets the text of content, and calls with their marks.
std::unique_ptr<OutputParser> make_channel_reasoning_parser(std::unique_ptr<OutputParser> answer);
// Tells calls; everything else is content. Text before a first head is, too.
std::unique_ptr<OutputParser> make_channel_call_parser();

}  // namespace quire
