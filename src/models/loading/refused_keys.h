// What a model file may say that changes the model's answers and that this build does not follow: such a model is
// refused when it is loaded, by the key's name. docs/model-files.md lists what is read, ignored and refused.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "models/loading/checkpoint.h"

namespace quire {

struct RefusedKey {
  std::string_view key;      // of config.json; in GGUF it stands behind "<architecture>."
  std::string_view meaning;  // what such a file asks for
  // Values under which it asks for nothing. Booleans are 0 and 1, so are lists without an entry or of zeros.
  std::array<double, 2> harmless = {0, 0};
  std::string_view same_as = {};  // nor does the value of this key
  std::string_view read_by = {};  // architectures whose names begin so follow it
};

// Of the architectures that this build knows.
std::span<const RefusedKey> refused_gguf_keys();
std::span<const RefusedKey> refused_config_keys();

// Throws Error kUnsupported naming the file, the key, its value and what it means.
void check_refused_keys(const Checkpoint& checkpoint);

}  // namespace quire
