// Prompt lookup (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding): where the last tokens stood
// before, in the prompt or the answer, what followed there is proposed. Pays where an answer repeats its prompt: edits,
// extraction, code.
//
// The longest match wins, among equals the last one; it gives four drafts for each of its tokens at most. A copy that
// reaches the end of the text goes on with its own tokens, so a loop is proposed at full length.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

std::unique_ptr<Drafter> make_ngram_drafter(const SpeculationOptions& options);

}  // namespace quire
