// Writes a file that other processes may be reading, or writing at this moment. Readers have the old file or the new
// one, always complete; the old one lives as long as somebody has it mapped.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>

namespace quire {

// What is being written has the name of the file with this behind it; a process that ends in the midst leaves it, and
// the next one that writes takes its place.
inline constexpr std::string_view kPartialSuffix = ".partial";

inline constexpr mode_t kForOwner = 0600;
inline constexpr mode_t kForAll = 0666;  // less what the process's umask takes away

// Writes the pieces one after the other into a file of these permissions, and gives it the name. The folder must exist.
// Does not wait for the disk: after a power cut the file may hold anything, which its reader must find out.
// Returns false, having written nothing, when another process is writing the same file. Throws Error kIo naming the
// file and what the system said.
bool replace_file(const std::filesystem::path& path, std::initializer_list<std::span<const std::byte>> pieces,
                  mode_t permissions = kForOwner);

// The same for `size_bytes` that memory does not hold at once: `fill` writes them, zeroed before, to a mapping of the
// new file, whose pages the system writes out as it needs their memory.
bool replace_file(const std::filesystem::path& path, size_t size_bytes,
                  const std::function<void(std::span<std::byte>)>& fill, mode_t permissions = kForOwner);

// Removes what a process has left that ended in the midst of writing `path`, and returns its size. Returns 0 where
// there is none, and leaves what a process is writing now.
uint64_t remove_partial(const std::filesystem::path& path);

}  // namespace quire
