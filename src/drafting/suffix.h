// SuffixDecoding (Oliaro et al., arXiv 2411.04975): what followed the last tokens before, in the sequence itself and in
// earlier answers, by how often it did. Pays where requests resemble each other: agents, pipelines, answers that quote
// their prompt.
//
// Every end of the sequence that occurred before gives a tree of what followed, grown by the likeliest node until its
// path is less likely than suffix_min_probability or it has suffix_factor drafts for each token of the context. The
// tree with the most expected accepted drafts is proposed. Answers are remembered with the end of their prompt, under
// the salt of their request.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

std::unique_ptr<Drafter> make_suffix_drafter(const SpeculationOptions& options);

}  // namespace quire
