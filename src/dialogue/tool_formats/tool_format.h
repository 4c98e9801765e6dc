// How families of models write calls of tools: a row for each format, found by the model's own chat template.
//
// Rows are constant; any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dialogue/output_parser.h"
#include "dialogue/tool.h"
#include "dialogue/tool_formats/marked_parser.h"

namespace quire {

// The text of calls, as a grammar forces it: begin, calls with `between` between them, end. A call is before_name, the
// name, before_arguments, the arguments as JSON, after_arguments.
struct CallWriting {
  std::string_view begin = {};
  std::string_view before_name = {};
  std::string_view before_arguments = {};
  std::string_view after_arguments = {};
  std::string_view between = {};
  std::string_view end = {};
  bool may_repeat = true;
  // The beginning of `begin` and before_name that tells a call from other text.
  std::string_view trigger = {};
  // Where an answer is either content or calls: stands before content.
  std::string_view before_content = {};

  bool is_known() const { return !trigger.empty(); }
};

// What the ids of calls look like where a template reads them.
enum class CallIds : uint8_t {
  kAny,    // call_ and 24 characters
  kNine,   // nine letters and digits, which Mistral's templates insist on
  kNamed,  // functions.name:index
};

struct ToolFormat {
  std::string_view name;
  std::span<const std::string_view> aliases;  // other servers' names of it
  bool (*is_in)(std::string_view chat_template);
  CallMarks marks;
  std::unique_ptr<CallReader> (*make_reader)(char first, bool in_list, std::span<const Tool> tools);
  CallWriting writing = {};
  CallIds ids = CallIds::kAny;
  // Reads whole answers, of formats whose calls are not told by marks alone; else null.
  std::unique_ptr<OutputParser> (*make_own_parser)() = nullptr;

  // `tools` are kept by reference.
  std::unique_ptr<OutputParser> make_parser(std::span<const Tool> tools) const {
    if (make_own_parser != nullptr) return make_own_parser();
    return make_marked_parser(marks, make_reader, tools);
  }
};

// In the order in which templates are asked. The last one, generic, is for models whose template says nothing of tools:
// they are told of them and of this format in words of ours (describe_tools()).
std::span<const ToolFormat> tool_formats();
const ToolFormat& generic_tool_format();
// By name or alias; null when there is none.
const ToolFormat* find_tool_format(std::string_view name);
// The first whose marks the template has, else generic.
const ToolFormat& detect_tool_format(std::string_view chat_template);
std::string tool_format_names();  // "hermes, mistral, ..."

}  // namespace quire
