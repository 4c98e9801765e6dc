// For messages: what kind of file this seems to be when it is not the expected kind.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace quire {

// "is a ZIP archive; ..." : continues a sentence that begins with the file's name.
std::string describe_foreign(std::span<const std::byte> bytes);

// Throws Error kInvalidArgument when `path` is a directory.
void refuse_directory(const std::filesystem::path& path, const char* expected);

}  // namespace quire
