// The secret under which prefixes are hashed and records are sealed: all who share a store have the same.
#pragma once

#include <filesystem>

#include "kvstore/prefix_hash.h"

namespace quire {

// The 16 random bytes in this file, which is made if there is none. Throws Error: kIo; kInvalidArgument where others
// than the owner may read or write it, or it does not hold 16 bytes or 32 hexadecimal digits.
HashKey secret_of_file(const std::filesystem::path& path);

}  // namespace quire
