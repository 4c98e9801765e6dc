// Which names a scope hides before it assigns them.
//
// Jinja decides when it compiles, not when it runs, whether a name belongs to a scope. If the first use of a name in a
// scope, in reading order and outside its inner scopes, is an assignment, the scope owns that name from its start:
// until the assignment the name is undefined there, even inside inner scopes and even when the caller's context has a
// value for it.
#pragma once

#include "jinja/ast.h"

namespace quire::jinja {

// Fills in every `hidden` list of the template.
void find_hidden_names(Template& parsed);

}  // namespace quire::jinja
