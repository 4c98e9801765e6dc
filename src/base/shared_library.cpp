#include "base/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace quire {

SharedLibrary::SharedLibrary(std::span<const char* const> files, Refuse refuse) : refuse_(refuse) {
  std::string tried;
  for (const char* file : files) {
    if ((library_ = dlopen(file, RTLD_NOW | RTLD_LOCAL)) != nullptr) return;
    const char* const why = dlerror();
    tried += fmt::format("{}{}", tried.empty() ? "" : "; ", why != nullptr ? why : file);
  }
  refuse_(fmt::format("which cannot be opened ({})", tried));
}

void* SharedLibrary::address_of(const char* name) const {
  void* const found = dlsym(library_, name);
  if (found == nullptr) refuse_(fmt::format("but the one found has no {}", name));
  return found;
}

}  // namespace quire
