#include "base/cache_folder.h"

#include <cstdlib>

namespace quire {
namespace {

std::filesystem::path folder_in(const char* variable) {
  const char* const value = std::getenv(variable);
  const std::filesystem::path path = value == nullptr ? "" : value;
  return path.is_absolute() ? path : std::filesystem::path();  // relative ones are ignored (XDG base directories)
}

std::filesystem::path folder_of_program(const char* variable, const std::filesystem::path& in_home) {
  if (const std::filesystem::path folder = folder_in(variable); !folder.empty()) return folder / "quire";
  const std::filesystem::path home = folder_in("HOME");
  return home.empty() ? home : home / in_home / "quire";
}

}  // namespace

std::filesystem::path cache_folder() { return folder_of_program("XDG_CACHE_HOME", ".cache"); }

std::filesystem::path data_folder() { return folder_of_program("XDG_DATA_HOME", ".local/share"); }

}  // namespace quire
