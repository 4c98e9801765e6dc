// What an unfinished compression leaves beside its output, so that the same command goes on after a kill: what is being
// done, how many layers are written, and the residual rows that the next layer reads. One file, replaced as a whole
// after each layer. One thread.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

inline constexpr std::string_view kCompressionStateFile = "compress.state";

struct CompressionState {
  int num_layers_done = 0;
  std::vector<float> residual;  // empty for methods that do not calibrate
};

class CompressionStateFile {
 public:
  // `task`: names all that the output depends on; what another task has left is not gone on with.
  CompressionStateFile(std::filesystem::path path, std::string task) : path_(std::move(path)), task_(std::move(task)) {}

  // Nothing where there is no file, or one that is damaged. What another task has left counts as nothing, too, if it
  // `may_be_lost`; else Error kInvalidArgument.
  std::optional<CompressionState> read(bool may_be_lost) const;
  // Throws Error kIo.
  void write(int num_layers_done, std::span<const float> residual) const;
  void remove() const;

 private:
  std::filesystem::path path_;
  std::string task_;
};

}  // namespace quire
