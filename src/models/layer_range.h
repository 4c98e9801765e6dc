// A stage of a model: consecutive layers of it, with the embedding where they begin and the head where they end. The
// first stage reads tokens, the others the residual stream that the stage before them has left; the last one gives
// logits, the others their residual stream. Plain data.
#pragma once

namespace quire {

struct LayerRange {
  int first = 0;
  int last = 0;  // not itself

  int size() const { return last - first; }
  bool operator==(const LayerRange&) const = default;
};

}  // namespace quire
