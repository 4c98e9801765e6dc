// Several drafters in turn: each is asked for the sequences that have no drafts yet. The cheapest is asked first,
// except that a sequence prefers the drafter whose drafts it accepted lately.
#pragma once

#include <memory>
#include <vector>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

// `drafters`: the cheapest first, at least one.
std::unique_ptr<Drafter> combine_drafters(std::vector<std::unique_ptr<Drafter>> drafters);

// Those that need no model of their own and no tree of guesses: ngram, suffix.
std::unique_ptr<Drafter> make_auto_drafter(const SpeculationOptions& options);

}  // namespace quire
