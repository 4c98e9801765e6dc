// llama.cpp's GBNF, and EBNF in the way that vLLM takes it (name ::= ...). docs/guided.md has the syntax.
#pragma once

#include "grammar/grammar.h"

namespace quire {

// The symbol of the rule `root`. Throws Error kInvalidArgument, kUnsupported or kLimit, which names the line.
Symbol gbnf(GrammarBuilder& builder, std::string_view text, const GrammarLimits& limits = {});

}  // namespace quire
