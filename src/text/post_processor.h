// Post-processors put special tokens around an encoded text. Immutable, any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"
#include "text/vocabulary.h"

namespace quire {

struct PostProcessor {
  std::vector<int32_t> before, after;  // the text's ids stand between them
};

// From a component of tokenizer.json, in its form for one sequence. Throws Error kUnsupported for an unknown type or
// template, kCorrupt when a special token is not defined.
PostProcessor parse_post_processor(const json::object& description, int depth = 0);

}  // namespace quire
