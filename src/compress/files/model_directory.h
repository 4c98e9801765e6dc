// A Hugging Face directory that is being made: built under its name with kUnfinishedSuffix behind, renamed when it is
// complete. A directory that was left unfinished is taken up where the caller says so. While it is being made it is
// locked: nobody else makes it, with --force neither. One thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"
#include "models/loading/checkpoint.h"
#include "tensor/files/tensor_file_layout.h"

namespace quire {

class ModelDirectory {
 public:
  // Throws what refuse_existing() does; kInvalidArgument while another process makes it; kIo.
  ModelDirectory(const std::filesystem::path& path, bool replaces);

  ModelDirectory(const ModelDirectory&) = delete;
  ModelDirectory& operator=(const ModelDirectory&) = delete;
  ~ModelDirectory();  // leaves the unfinished directory, unless it is empty; unlocks it

  // Where to write: the unfinished directory, which exists.
  const std::filesystem::path& folder() const { return folder_; }
  // Removes what an earlier run has left there: all but the files of `layout`, which a writer has open.
  void remove_leftovers(const TensorFileLayout& layout) const;
  void write_json(std::string_view file_name, const json::value& value) const;
  void write_text(std::string_view file_name, std::string_view text) const;
  // Tokenizer files, chat template, generation settings, licence and readme of a directory: whatever is no weight and
  // no config.json.
  void copy_companions(const std::filesystem::path& source) const;
  // Gives the directory its name; what has the name already, and may be replaced, is removed afterwards.
  void finish();
  void abandon();  // removes the unfinished directory

 private:
  void lock();

  std::filesystem::path path_;
  std::filesystem::path folder_;
  bool replaces_;
  int fd_ = -1;  // of the unfinished directory, locked
};

// Throws Error kInvalidArgument when an output exists that may not be replaced: any without `replaces`, with it a
// directory that is no model.
void refuse_existing(const std::filesystem::path& path, bool replaces);
// Throws Error kInvalidArgument when the files of the source lie in the directory `path`.
void refuse_source(const std::filesystem::path& path, const Checkpoint& source);

}  // namespace quire
