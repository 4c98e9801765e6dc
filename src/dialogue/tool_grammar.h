// What keeps a model to calls of tools: a format's calls as structural tags (grammar/compile.h), with each tool's
// JSON Schema for its arguments.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "dialogue/tool.h"
#include "dialogue/tool_formats/tool_format.h"

namespace quire {

struct CallRules {
  bool is_required = false;  // the answer is calls and nothing else; else free text, in which calls keep their form
  bool is_parallel = true;   // more than one call, where the format has that
  // The answer is calls, or JSON that is valid under this schema.
  std::optional<json::value> content_schema = {};
};

// The text of a GrammarSpec of kind kStructuralTag. The writing of `format` is known. `tools`: those that may be
// called. Without is_required, arguments of tools that are not strict may be any object.
std::string call_structure(const ToolFormat& format, std::span<const Tool> tools, const CallRules& rules);

}  // namespace quire
