// llama.cpp's files of importance ("imatrix"): of every matrix the sums of its squared input columns over a calibration
// text. Both of their forms are read and written: GGUF, and the older binary one (.dat). Matrices have GGUF's names;
// those of a mixture of experts are one entry with a row of sums for each expert.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct ImportanceEntry {
  std::vector<float> sums;    // [num_matrices, cols] of squares
  std::vector<float> counts;  // [num_matrices] rows that were summed; one for all in .dat files, where it counts chunks
};

struct ImportanceFile {
  std::map<std::string, ImportanceEntry, std::less<>> entries;  // by tensor name: "blk.0.attn_q.weight"
  std::vector<std::string> datasets;                            // the texts, as the writer named them
  uint32_t num_chunks = 0;
  uint32_t chunk_tokens = 0;  // 0 in .dat files, which do not say it

  // The mean squares of the columns of matrix `index` among `num_matrices` of this name, [cols]; all 1 for an expert
  // that saw nothing, empty where there is no entry. Throws Error where the file was made for another shape.
  std::vector<float> importance(std::string_view name, int64_t index, int64_t num_matrices, int64_t cols) const;
};

// Either form. Throws Error naming the file, what was found and what was expected.
ImportanceFile read_imatrix(const std::filesystem::path& path);

// In the older form where the path ends in .dat, otherwise GGUF. Replaces a file of that name.
void write_imatrix(const ImportanceFile& file, const std::filesystem::path& path);

}  // namespace quire
