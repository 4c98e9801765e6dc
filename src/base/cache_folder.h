// Where the program keeps what it can make again.
#pragma once

#include <filesystem>

namespace quire {

// $XDG_CACHE_HOME/quire, or the same in ~/.cache; empty when there is no home. May not exist yet.
std::filesystem::path cache_folder();

}  // namespace quire
