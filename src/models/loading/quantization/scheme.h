// How the weights of a Hugging Face directory are quantised: `quantization_config` names the method and its options,
// and the tensors say which matrices it was applied to. GGUF files need no scheme, except for the scales of NVFP4. A
// method is a file beside this one and a row in scheme.cpp. Immutable; one thread while loading.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "models/loading/checkpoint.h"
#include "models/loading/quantization/matrix.h"

namespace quire {

class QuantizationScheme {
 public:
  // Null when config.json names no method, and for a GGUF file without NVFP4. Throws Error kUnsupported for a method or
  // an option this build does not read.
  static std::unique_ptr<QuantizationScheme> read(const Checkpoint& checkpoint);

  virtual ~QuantizationScheme() = default;
  // The matrix whose plain form would be the tensor "<module name>.weight"; none when the file has the plain form.
  // Reads headers, and the tensors that decide the format: column orders, zero points of eight bits, and the
  // codes of weights that were pruned. Throws Error
  // kCorrupt when the tensors do not fit each other.
  virtual std::optional<QuantizedMatrix> find(const QuantizedModule& module) const = 0;
  // "GPTQ, 4 bits, groups of 128 columns"
  virtual std::string description() const = 0;
};

std::unique_ptr<QuantizationScheme> read_gptq(const json::object& config);
std::unique_ptr<QuantizationScheme> read_awq(const json::object& config);
std::unique_ptr<QuantizationScheme> read_compressed_tensors(const json::object& config);
std::unique_ptr<QuantizationScheme> read_fp8(const json::object& config);
std::unique_ptr<QuantizationScheme> read_gguf_scales(const Checkpoint& checkpoint);

// "group_size": -1 is one group for all columns.
int64_t read_group_size(const json::object& config);
std::string describe_groups(int64_t group_size);

}  // namespace quire
