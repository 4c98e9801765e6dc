// Which of a model's weights are loaded, and in which form. Plain data.
#pragma once

#include <cstdint>
#include <optional>

#include "models/layer_range.h"
#include "models/loading/rank_share.h"
#include "tensor/format.h"

namespace quire {

struct WeightsWanted {
  RankShare share = {};
  std::optional<LayerRange> stage = {};  // none: all layers
  // Matrices of floats are quantised to this format while they are loaded, those with codes stay as they are. With F32
  // all become floats. None: as the file has them.
  std::optional<Format> format = {};
};

// `format`, or where its blocks do not divide rows of `cols` elements, the format that llama.cpp's quantiser uses
// instead.
Format format_that_divides(Format format, int64_t cols);

}  // namespace quire
