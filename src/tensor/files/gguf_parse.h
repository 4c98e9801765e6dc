// Reads one GGUF file image: every check that needs no other file. Used by GgufFile only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/files/gguf.h"

namespace quire {

struct GgufImage {
  uint32_t version = 0;
  uint64_t alignment = 32;
  std::map<std::string, GgufValue, std::less<>> metadata;
  TensorMap tensors;
};

GgufImage parse_gguf(std::span<const std::byte> bytes, const std::string& file_name);

// The strings of an array of strings; checks lengths again, so that a file that changes while mapped cannot cause reads
// outside the mapping.
std::vector<std::string_view> gguf_strings(const GgufValue& value, const std::string& file_name);

// nullopt when the value (or element) is not of an integer type or exceeds int64.
std::optional<int64_t> gguf_integer(GgufType type, const std::byte* payload);
// Also from integer types.
std::optional<double> gguf_number(GgufType type, const std::byte* payload);
size_t gguf_scalar_bytes(GgufType type);  // 0 for strings and arrays

}  // namespace quire
