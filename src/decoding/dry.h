// DRY, "don't repeat yourself": a token that would lengthen a repetition of the text's end is less likely, the more the
// longer the repetition is already. By P. E. Weidmann (text-generation-webui, pull request 5677); the way of breakers
// follows llama.cpp (pull request 9702).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "decoding/sampling_params.h"

namespace quire {

// The tokens of one sequence. The time for a token grows linearly with the window.
class DryHistory {
 public:
  DryHistory(const DryParams& params, std::span<const int32_t> prompt);

  void accept(int32_t id);
  // Of every token that would lengthen a repetition of at least the allowed length: its id and what is subtracted from
  // its logit, which may be infinite.
  std::vector<std::pair<int32_t, double>> penalties() const;

 private:
  std::vector<int32_t> newest_first() const;
  size_t longest_repetition(std::span<const int32_t> newest_first) const;

  DryParams params_;
  size_t window_ = 0;
  std::vector<int32_t> tokens_;  // the last window_ or more
};

}  // namespace quire
