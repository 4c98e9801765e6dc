#include "base/cache_folder.h"

#include <cstdlib>

namespace quire {
namespace {

std::filesystem::path folder_in(const char* variable) {
  const char* const value = std::getenv(variable);
  const std::filesystem::path path = value == nullptr ? "" : value;
  return path.is_absolute() ? path : std::filesystem::path();  // relative ones are ignored (XDG base directories)
}

}  // namespace

std::filesystem::path cache_folder() {
  if (const std::filesystem::path cache = folder_in("XDG_CACHE_HOME"); !cache.empty()) return cache / "quire";
  const std::filesystem::path home = folder_in("HOME");
  return home.empty() ? home : home / ".cache" / "quire";
}

}  // namespace quire
