// Lines that coding agents put into system prompts for the service they were written for, and that change with every
// request: with them no prompt would find its beginning in the prefix cache. Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>

namespace quire {

// A part of a system prompt without them: a first line `x-anthropic-billing-header: ...`, and
// `<total_tokens>N tokens left</total_tokens>` anywhere, with the white space before it. Linear time.
std::string without_client_markers(std::string_view text);

}  // namespace quire
