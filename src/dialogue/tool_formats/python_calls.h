// Calls written as Python writes them: name(key=value, ...), with Python's literals for values. The arguments become
// one JSON object.
#pragma once

#include <memory>

#include "dialogue/tool_formats/call_reader.h"

namespace quire {

std::unique_ptr<CallReader> make_python_call_reader();

}  // namespace quire
