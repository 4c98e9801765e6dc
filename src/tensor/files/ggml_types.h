// The numbers of tensor types in GGUF files. A type is readable once there is a format of its name. Immutable table;
// any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tensor/format.h"

namespace quire {

std::optional<Format> format_of_ggml_type(uint32_t type);
std::optional<uint32_t> ggml_type_of_format(Format format);

// For messages: "IQ2_XXS", or "number 77" for one that was not known when this was built.
std::string ggml_type_name(uint32_t type);
std::string readable_ggml_types();  // "F32, F16, Q4_0, ..."

}  // namespace quire
