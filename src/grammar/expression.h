// Regular expressions in the syntax of ECMA-262 (flag u) as regular languages.
#pragma once

#include <string_view>

#include "grammar/regular.h"

namespace quire {

// Throws Error kInvalidArgument for a wrong expression, kUnsupported for one without a regular language here (back
// references, look-behind, look-ahead within a group, \b), kLimit; each names the byte.
RegularLanguages::Id parse_expression(RegularLanguages& regular, std::string_view pattern, bool is_anchored,
                                      const GrammarLimits& limits);

}  // namespace quire
