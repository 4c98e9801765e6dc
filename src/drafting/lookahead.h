// Lookahead decoding (Fu et al., arXiv 2402.02057): Jacobi iteration of the target model itself makes n-grams that are
// likely to come; they are proposed when their first token does. Pays where rows are free; needs no trained part.
//
// A window of columns 1..W stands over the next tokens. Column i holds guesses at n - 1 consecutive tokens, the first
// of which is c_i at the i-th position after the last token x. All are drafts in one tree:
//
//   x ── a ── b           n-grams of the pool that begin with x ("guesses")
//   ├─── d
//   └─── c1 ── c2 ── c3   the first tokens of the columns, one after the other
//        │     │     └ ..
//        │     └ .. ..    the further tokens of column 2
//        └ .. ..          the further tokens of column 1
//
// The target's likeliest token after a column's last one makes it an n-gram, which enters the pool, and the column
// drops its first token. The paper's mask lets the further tokens of a column see the first tokens of those before it:
// here a path of the tree. Without trees the drafts are a chain, whose columns are one token long: plain Jacobi
// decoding, begun by a guess.
#pragma once

#include <memory>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

std::unique_ptr<Drafter> make_lookahead_drafter(const SpeculationOptions& options);

}  // namespace quire
