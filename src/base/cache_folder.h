// The program's folders in a user's home.
#pragma once

#include <filesystem>

namespace quire {

// For what the program can make again: $XDG_CACHE_HOME/quire, or the same in ~/.cache; empty when there is no home. May
// not exist yet.
std::filesystem::path cache_folder();
// Likewise for what the user made: $XDG_DATA_HOME, or ~/.local/share.
std::filesystem::path data_folder();

}  // namespace quire
