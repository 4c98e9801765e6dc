// Huge pages: the system can back large pieces of memory by pages of 2 MiB instead of 4 KiB, so that reading weights
// does not wait for the translation of addresses. What the system gives, and what this process got. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace quire {

// To whom: nobody, those who ask (madvise), everybody.
enum class HugePages : uint8_t { kNever, kOnRequest, kAlways };
// `root` is /sys/kernel/mm. A system that does not say has none.
HugePages read_huge_pages(const std::filesystem::path& root);
HugePages system_huge_pages();

// Memory of a process that no file backs.
struct AnonymousMemory {
  uint64_t bytes = 0;       // that are there, touched
  uint64_t huge_bytes = 0;  // of them on huge pages
};
// Of the text of /proc/self/smaps_rollup; nullopt where it does not say.
std::optional<AnonymousMemory> parse_anonymous_memory(std::string_view smaps_rollup);
// Of this process. Takes milliseconds when it is large: the system walks its page tables.
std::optional<AnonymousMemory> anonymous_memory();

}  // namespace quire
