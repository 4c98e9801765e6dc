// Tells one build of the program from another.
#pragma once

#include <string>

namespace quire {

// The number that the linker wrote into the running program, computed from its contents, as hexadecimal digits. Empty
// for a program that was linked without one. Any thread.
std::string build_id();

}  // namespace quire
