// A Hugging Face directory of which whole parts are left out: layers, heads with their KV groups, feed-forward
// channels, dimensions of the residual stream. Those leave that matter least to a calibration text (structured.h). The
// output appears under its name when it is complete. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/pruning/structured.h"
#include "models/loading/checkpoint.h"

namespace quire {

// Of the smaller model, each a number ("24") or a share of the original's ("0.8"); empty: all.
struct SmallerSizes {
  std::string layers = {};
  std::string heads = {};
  std::string channels = {};  // of the feed-forward network
  std::string hidden = {};    // dimensions
};

struct SmallerModelOptions {
  SmallerSizes sizes;
  std::filesystem::path output;
  bool replaces = false;
  std::vector<std::vector<int32_t>> windows = {};  // token ids of the calibration text
  int num_threads = 0;                             // 0: every processor
  std::string isa = {};
};

// The shape that the sizes ask for: shares of channels and dimensions become multiples of 32, heads whole KV groups.
// Throws Error kInvalidArgument for what is no size or more than the original has.
DecoderShape smaller_shape(const DecoderShape& original, const SmallerSizes& sizes);

// What write_smaller_model() would refuse, before a text is made for it.
void check_smaller_model(const Checkpoint& source, const SmallerModelOptions& options);
// Calls `progress` after each layer that has read the text. Returns what remains. Throws Error: kInvalidArgument,
// kUnsupported for tensors whose axes are not known, kIo.
using LayersSeen = std::function<void(int num_layers_done, int num_layers)>;
KeptParts write_smaller_model(const Checkpoint& source, const SmallerModelOptions& options,
                              const LayersSeen& progress = {});

}  // namespace quire
