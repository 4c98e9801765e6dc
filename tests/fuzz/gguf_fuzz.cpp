// Any bytes as a GGUF file: refused with an Error, or all of it can be read.
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/files/gguf.h"

namespace {

// Every getter on every key: most of them throw Error; none may crash.
void read_metadata(const quire::GgufFile& file) {
  for (const auto& entry : file.metadata()) {
    const std::string& key = entry.first;
    const auto attempt = [](auto&& action) {
      try {
        action();
      } catch (const quire::Error&) {
      }
    };
    attempt([&] { file.get_int(key); });
    attempt([&] { file.get_double(key); });
    attempt([&] { file.get_bool(key); });
    attempt([&] { file.get_string(key); });
    attempt([&] { file.get_strings(key); });
    attempt([&] { file.get_floats(key); });
    attempt([&] { file.get_ints(key); });
  }
}

void read_tensors(const quire::GgufFile& file) {
  for (const auto& [name, view] : file.tensors()) {
    if (!quire::weight_format(view.format).is_weight()) continue;
    std::vector<float> out(static_cast<size_t>(view.num_elements()));
    quire::dequantize(view, out);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size > 0) std::memcpy(aligned.data(), data, size);
  try {
    const auto file = quire::GgufFile::from_bytes(std::as_bytes(std::span(aligned)).first(size), "fuzz");
    read_metadata(file);
    read_tensors(file);
  } catch (const quire::Error&) {
  }
  return 0;
}
