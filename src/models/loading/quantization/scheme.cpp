#include "models/loading/quantization/scheme.h"

#include <fmt/format.h>

#include "base/error.h"

namespace quire {
namespace {

struct Method {
  const char* name;  // quant_method
  std::unique_ptr<QuantizationScheme> (*read)(const json::object& config);
};

constexpr Method kMethods[] = {
    {"gptq", read_gptq},
    {"awq", read_awq},
    {"compressed-tensors", read_compressed_tensors},
    {"fp8", read_fp8},
};

}  // namespace

std::unique_ptr<QuantizationScheme> QuantizationScheme::read(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf()) return read_gguf_scales(checkpoint);
  const json::object* config = find_object(checkpoint.config(), "quantization_config");
  if (config == nullptr) config = find_object(checkpoint.config(), "compression_config");  // early compressed-tensors
  if (config == nullptr) return nullptr;
  const std::string found = find_string(*config, "quant_method", "an unnamed method");
  std::string known;
  for (const Method& method : kMethods) {
    known += known.empty() ? "" : ", ";
    known += method.name;
    if (found != method.name) continue;
    try {
      return method.read(*config);
    } catch (const Error& error) {
      fail(error.code(), "{}: quantization_config: {}", checkpoint.name(), error.what());
    }
  }
  fail(
      ErrorCode::kUnsupported,
      "{}: the weights are quantised with \"{}\" (quantization_config in config.json); this build reads {}, plain F32, "
      "F16, BF16 safetensors and quantised GGUF files",
      checkpoint.name(), printable(found), known);
}

int64_t read_group_size(const json::object& config) {
  const int64_t size = find_int(config, "group_size", 128);
  if (size != -1 && (size < 1 || size > (int64_t{1} << 20))) {
    fail(ErrorCode::kCorrupt, "\"group_size\" is {}, expected -1 or 1 to 1048576", size);
  }
  return size;
}

std::string describe_groups(int64_t group_size) {
  return group_size < 0 ? "a scale per row" : fmt::format("groups of {} columns", group_size);
}

}  // namespace quire
