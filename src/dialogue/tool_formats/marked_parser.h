// Content with calls of tools in it, told apart by marks.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dialogue/output_parser.h"
#include "dialogue/tool.h"
#include "dialogue/tool_formats/call_reader.h"

namespace quire {

// The marks of a format. Each is ASCII, or begins with the first byte of a character.
struct CallMarks {
  std::span<const std::string_view> begins = {};  // a call follows, or a list of calls
  std::span<const std::string_view> ends = {};    // after a call or a list; none: other text ends them
  std::span<const std::string_view> silent = {};  // stand around calls and are no content
  std::span<const std::string_view> inner = {};   // within calls, which their reader knows
  // An answer may begin with a call of a known tool, without a mark before it: the first bytes of such calls.
  std::string_view bare = {};
};

// Makes the reader of a call whose text begins with `first`; null: no call begins so. `in_list`: after a '['.
using MakeCallReader =
    std::function<std::unique_ptr<CallReader>(char first, bool in_list, std::span<const Tool> tools)>;

// `tools` are kept by reference.
std::unique_ptr<OutputParser> make_marked_parser(const CallMarks& marks, MakeCallReader make_reader,
                                                 std::span<const Tool> tools);

}  // namespace quire
