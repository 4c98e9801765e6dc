// A whole model from one kind of file to another: weights, configuration, tokenizer, chat template, generation
// settings. The output appears under its name when it is complete. One thread; weights are converted on those of
// `exec`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "models/loading/checkpoint.h"
#include "text/tokenizer.h"

namespace quire {

struct ConvertOptions {
  std::filesystem::path out;  // ".gguf": a file; else a directory
  // Of matrices; norms and biases of GGUF stay F32. None: as they are where the output can hold that, F16 where not.
  std::optional<Format> type = {};
  bool replaces = false;                       // what has the name already
  const GgufVocabulary* vocabulary = nullptr;  // of a GGUF source that has one
  std::function<void(uint64_t bytes_done, uint64_t bytes)> progress = {};
};

struct ConvertResult {
  uint64_t size_bytes = 0;
  std::vector<std::string> lost;  // what could not be carried over, as sentences
};

// Throws Error: kUnsupported naming what the output cannot hold and the model needs, kIo, kInvalidArgument.
ConvertResult convert(const Checkpoint& source, const ConvertOptions& options, const Exec& exec);

}  // namespace quire
