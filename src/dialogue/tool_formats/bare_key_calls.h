// Calls as the Gemma models write them: call:name{key:value,...} with bare keys, and strings between two equal marks.
#pragma once

#include <memory>
#include <string_view>

#include "dialogue/tool_formats/call_reader.h"

namespace quire {

// `quote`: the mark around strings, which is constant. Arguments may as well be written as JSON.
std::unique_ptr<CallReader> make_bare_key_call_reader(std::string_view quote);

}  // namespace quire
