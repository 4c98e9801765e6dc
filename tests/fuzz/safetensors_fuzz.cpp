// Any bytes as a safetensors file and as the index of a sharded set: refused with an Error, or all of it can be read.
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "tensor/files/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = quire::SafetensorsFile::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
    for (const auto& [name, view] : file.tensors()) {
      [[maybe_unused]] volatile std::byte last{};
      if (view.size_bytes > 0) last = view.row(0)[view.size_bytes - 1];
      if (!quire::weight_format(view.format).is_weight()) continue;
      std::vector<float> out(static_cast<size_t>(view.num_elements()));
      quire::dequantize(view, out);
    }
  } catch (const quire::Error&) {
  }
  try {
    quire::parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const quire::Error&) {
  }
  return 0;
}
