// A model as the methods that write Hugging Face directories read it: a directory. A GGUF file is converted to one
// beside the output, which stays until the compression is complete, so that one that was stopped goes on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "models/loading/checkpoint.h"

namespace quire {

struct DirectorySourceOptions {
  std::string model;
  std::filesystem::path output;
  bool takes_codes = false;  // GGUF files in blocks too
  bool replaces = false;     // an output that exists
  int num_threads = 0;
};

class DirectorySource {
 public:
  // Throws Error kInvalidArgument for an output that exists and for a file in blocks, before anything is converted.
  explicit DirectorySource(const DirectorySourceOptions& options);
  DirectorySource(const DirectorySource&) = delete;
  DirectorySource& operator=(const DirectorySource&) = delete;
  // Removes the converted directory, unless the output is left unfinished.
  ~DirectorySource();

  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
  std::filesystem::path output_;
  std::filesystem::path converted_;  // empty: the model is a directory
};

}  // namespace quire
