// Prompt lookup (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding): the last tokens stood before in
// the prompt or the answer, or stand in the answer that the client predicted, and what followed there is proposed. Pays
// where an answer repeats its prompt: edits, extraction, code.
//
// No token is generated twice for nothing: the longest match wins, the client's prediction among equals, then the last
// place. A copy that reaches the end of the text goes on with its own tokens, so a loop is proposed at full length.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

std::unique_ptr<Drafter> make_ngram_drafter(const SpeculationOptions& options);

}  // namespace quire
