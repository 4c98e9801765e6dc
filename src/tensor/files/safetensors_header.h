// The JSON of safetensors: a file's header and a sharded set's index, parsed and checked. Used by the readers and the
// writer beside it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace quire {

// Where a tensor of the header lies, from the first byte behind the header.
struct SafetensorsRange {
  TensorMap::iterator tensor;
  uint64_t begin;
  uint64_t end;
};

struct SafetensorsHeader {
  std::map<std::string, std::string, std::less<>> metadata;
  TensorMap tensors;  // without data
  std::vector<SafetensorsRange> ranges;
};

// Whether a header may name tensors of this format.
bool is_safetensors_format(Format format);

// Each range has the size that its tensor's shape and type need; the caller checks where it lies.
SafetensorsHeader parse_safetensors_header(std::string_view json_text, const std::string& file_name);

}  // namespace quire
