// What `quire tune` measured: MatmulTuning per format and size of a matrix, for one kernel table, its activations,
// processor and number of threads, kept in a JSON file. It changes how fast a model is, never what it computes.
//
// The file is untrusted: it is checked, and its numbers are clamped to their ranges. Any thread; values own their
// memory.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "kernels/kernels.h"
#include "kernels/select.h"

namespace quire {

struct MatrixShape {
  Format format = Format::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  auto operator<=>(const MatrixShape&) const = default;
  std::string text() const;  // "Q4_0 5632x2048"
};

// Matrices that are not in it keep the defaults.
using MatmulTunings = std::map<MatrixShape, MatmulTuning>;

struct TuningFile {
  std::string isa;  // Kernels::name
  Activations activations = kUsualActivations;
  std::string processor;  // processor_name()
  int num_threads = 0;
  MatmulTunings tunings = {};
};

// As the system calls it: "AMD EPYC 9354 32-Core Processor".
std::string processor_name();
// $XDG_CACHE_HOME/quire/tuning-<isa>.json, or the same in ~/.cache; empty when there is no home. Of other activations
// than the usual ones: tuning-<isa>-<activations>.json.
std::filesystem::path tuning_cache_file(std::string_view isa, Activations activations);

json::object tuning_json(const MatrixShape& shape, const MatmulTuning& tuning);

// Throws Error saying what is wrong with the file.
TuningFile read_tuning(const std::filesystem::path& path);
// Makes the folder when it is missing. Readers see the old file or the new one, always complete. Throws Error kIo,
// also when another process is writing the file.
void write_tuning(const TuningFile& tuning, const std::filesystem::path& path);
// The tunings for this machine. Empty when there is no such file; empty, with a warning that says why, when it is
// malformed or for another processor, kernel table, kind of activations or number of threads.
MatmulTunings load_tuning(const std::filesystem::path& path, std::string_view isa, Activations activations,
                          int num_threads);

}  // namespace quire
