// GGUF model files, versions 2 and 3, little endian: typed metadata and tensors by name, straight from the mapping.
// The layout follows the GGUF description in ggml's documentation. Everything is checked before the object exists:
// counts, lengths, types, duplicate names, and that every tensor lies inside the file without overlapping another
// (docs/model-files.md). Immutable once open; any thread.
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

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
const char* name(GgufType type);

// One metadata value, not decoded: `bytes` is the payload (for a string its text, for an array its elements).
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element_type = GgufType::kU8;  // of an array
  uint64_t count = 1;                     // elements of an array
  std::span<const std::byte> bytes;
};

struct GgufImage;

class GgufFile {
 public:
  // Opens a file, or the first of a split set (`name-00001-of-00003.gguf`) and with it all others. Throws Error naming
  // the file, what was found and what was expected.
  static GgufFile open(const std::filesystem::path& path);
  // Reads a file image that the caller keeps alive, aligned to 8 bytes. `name` stands in for the path in messages.
  static GgufFile from_bytes(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t size_bytes() const { return size_bytes_; }  // of all shards together
  int num_shards() const { return num_shards_; }
  const std::vector<MappedFile>& files() const { return files_; }  // all shards; empty for an image in memory

  // Metadata. `get_*` throw Error kCorrupt naming file and key when the key is absent, `find_*` give the fallback; both
  // throw when the type does not fit. Integers convert from every integer type, floats from integers too. String views
  // live as long as this object.
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return metadata_.contains(key); }
  int64_t get_int(std::string_view key) const;
  int64_t find_int(std::string_view key, int64_t fallback) const;
  double get_double(std::string_view key) const;
  double find_double(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key) const;
  bool find_bool(std::string_view key, bool fallback) const;
  std::string_view get_string(std::string_view key) const;
  std::string_view find_string(std::string_view key, std::string_view fallback) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;
  std::vector<float> get_floats(std::string_view key) const;
  std::vector<int64_t> get_ints(std::string_view key) const;

  // Tensors. GGUF writes the innermost dimension first; views have the outermost first, as everywhere in Quire.
  const TensorMap& tensors() const { return tensors_; }
  const TensorView* find_tensor(std::string_view tensor_name) const;
  const TensorView& get_tensor(std::string_view tensor_name) const;  // throws Error kCorrupt

  // Tells the kernel that the weights have been copied elsewhere (MappedFile::release_pages).
  void release_pages() const;

 private:
  GgufFile() = default;
  void adopt(GgufImage&& image, uint64_t size_bytes);
  void open_other_shards(const std::filesystem::path& first);
  const GgufValue& require(std::string_view key) const;

  std::string name_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 0;
  uint64_t size_bytes_ = 0;
  int num_shards_ = 1;
  std::vector<MappedFile> files_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  TensorMap tensors_;
};

}  // namespace quire
