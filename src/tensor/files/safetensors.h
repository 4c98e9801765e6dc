// Safetensors: one file, or a directory with `model.safetensors` or a sharded set named by
// `model.safetensors.index.json`. The header is a JSON object; the rules are those of the format's documentation
// (docs/model-files.md): no holes, no overlap, no duplicate names, nothing outside the file. Immutable once open; any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/tensor.h"

namespace quire {

class SafetensorsFile {
 public:
  // Throws Error naming the file, the tensor, what was found and what was expected.
  static SafetensorsFile open(const std::filesystem::path& path);
  // Reads a file image that the caller keeps alive. `name` stands in for the path in messages.
  static SafetensorsFile from_bytes(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return size_bytes_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }  // `__metadata__`
  const TensorMap& tensors() const { return tensors_; }
  const MappedFile& file() const { return file_; }  // without a path for an image in memory
  void release_pages() const { file_.release_pages(); }

 private:
  SafetensorsFile() = default;
  void read(std::span<const std::byte> bytes);

  std::string name_;
  uint64_t size_bytes_ = 0;
  MappedFile file_;
  std::map<std::string, std::string, std::less<>> metadata_;
  TensorMap tensors_;
};

// All tensors of a Hugging Face model directory.
class SafetensorsDirectory {
 public:
  // `path` is the directory, or a single .safetensors file. Throws Error kNotFound when there is neither
  // model.safetensors nor an index.
  static SafetensorsDirectory open(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return size_bytes_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  const TensorMap& tensors() const { return tensors_; }
  const TensorView* find_tensor(std::string_view tensor_name) const;
  const TensorView& get_tensor(std::string_view tensor_name) const;  // throws Error kCorrupt
  void release_pages() const;

 private:
  SafetensorsDirectory() = default;
  void open_shards(const std::filesystem::path& path);

  std::string name_;
  uint64_t size_bytes_ = 0;
  std::vector<SafetensorsFile> files_;
  TensorMap tensors_;
};

// tensor name -> shard file name, from the text of an index; shard names are checked to be plain names of files beside
// it. `name` stands for the index in messages.
std::map<std::string, std::string, std::less<>> parse_safetensors_index(std::string_view text, std::string_view name);

}  // namespace quire
