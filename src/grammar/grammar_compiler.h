// Compiles grammars for one model.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "grammar/compile.h"

namespace quire {

// May throw Error, as parse_grammar() and compile_grammar() do. Any thread.
using CompileGrammar = std::function<std::shared_ptr<const CompiledGrammar>(const GrammarSpec&)>;

// The vocabulary is made when a grammar is first compiled. `tokenizer` outlives the result.
CompileGrammar grammar_compiler(const Tokenizer& tokenizer, int64_t vocab_size, std::vector<int32_t> eog_ids,
                                const GrammarLimits& limits);

}  // namespace quire
