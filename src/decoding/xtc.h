// XTC, "exclude top choices": now and then leaves out the likeliest tokens. By P. E. Weidmann (text-generation-webui,
// pull request 6335).
#pragma once

#include <cstddef>

#include "decoding/candidates.h"

namespace quire {

// How many of the first `count` candidates to leave out: all that have at least `threshold` of `mass`, but the least
// likely one of these. `mass`: of these candidates together.
inline size_t num_top_choices(LazyOrder& order, size_t count, double mass, double threshold) {
  size_t num_above = 0;
  while (num_above < count && order.at(num_above).probability >= threshold * mass) ++num_above;
  return num_above < 2 ? 0 : num_above - 1;
}

}  // namespace quire
