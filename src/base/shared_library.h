// A library that is opened when it is first needed, so that the program starts without it.
#pragma once

#include <span>
#include <string>

namespace quire {

// Stays open for the rest of the process.
class SharedLibrary {
 public:
  // Throws the user's error; `why` continues a sentence that names the library: "which cannot be opened (...)".
  using Refuse = void (*)(const std::string& why);

  // The first of the files that can be opened; calls `refuse` when there is none.
  SharedLibrary(std::span<const char* const> files, Refuse refuse);

  // The function of this name; calls `refuse` when there is none.
  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  void* library_ = nullptr;
  Refuse refuse_;
};

}  // namespace quire
