// Writes a GGUF version 3 file: collect metadata and tensors, then write at once, one tensor in memory at a time; or
// lay the file out and write its tensors as they come. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/files/gguf.h"
#include "tensor/files/tensor_file_layout.h"
#include "tensor/format.h"

namespace quire {

class GgufWriter {
 public:
  static constexpr uint64_t kAlignment = 32;

  // Keys and tensor names are unique; adding one twice is an Error kInvalidArgument.
  void add_uint32(std::string_view key, uint32_t value);
  void add_int32(std::string_view key, int32_t value);
  void add_uint64(std::string_view key, uint64_t value);
  void add_float(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_floats(std::string_view key, std::span<const float> values);
  void add_ints(std::string_view key, std::span<const int32_t> values);
  // As another file has it.
  void add_value(std::string_view key, const GgufValue& value);

  // `fill` writes exactly the bytes of the tensor (zeroed before) when its turn comes. `shape` is outermost first, 1 to
  // 4 dimensions, the last a multiple of the format's block. Without `fill` the tensor is zeros, a hole in the file;
  // to_bytes() cannot have one.
  using Fill = std::function<void(std::span<std::byte> out)>;
  void add_tensor(std::string_view name, Format format, std::span<const int64_t> shape, Fill fill);
  // Floats, quantised to `format` while writing. `values` must outlive write().
  void add_tensor(std::string_view name, Format format, std::span<const int64_t> shape, std::span<const float> values);

  // The file that write() would make, for a TensorFileWriter and tensors that come later and in any order.
  TensorFileLayout layout(std::string file_name) const;

  // Writes beside `path` and renames, so that a reader never sees half a file. Throws Error kIo.
  void write(const std::filesystem::path& path) const;
  std::string to_bytes() const;

 private:
  struct Tensor {
    std::string name;
    Format format;
    std::vector<int64_t> shape;
    uint64_t size_bytes;
    Fill fill;

    std::vector<std::byte> filled() const;
  };
  void add_value(std::string_view key, GgufType type, std::string_view payload);

  std::string metadata_;  // encoded key-value pairs
  uint64_t num_keys_ = 0;
  std::set<std::string, std::less<>> names_;  // keys and tensor names, each with a letter in front
  std::vector<Tensor> tensors_;
};

}  // namespace quire
