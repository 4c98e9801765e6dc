#include "base/huge_pages.h"

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace quire {

HugePages read_huge_pages(const std::filesystem::path& root) {
  std::ifstream file(root / "transparent_hugepage/enabled");
  std::string line;  // "always [madvise] never"
  std::getline(file, line);
  if (line.find("[always]") != std::string::npos) return HugePages::kAlways;
  return line.find("[madvise]") != std::string::npos ? HugePages::kOnRequest : HugePages::kNever;
}

HugePages system_huge_pages() { return read_huge_pages("/sys/kernel/mm"); }

std::optional<AnonymousMemory> parse_anonymous_memory(std::string_view smaps_rollup) {
  AnonymousMemory memory;
  int found = 0;
  std::istringstream lines{std::string(smaps_rollup)};
  for (std::string line; std::getline(lines, line);) {  // "Anonymous:   1234 kB"
    std::istringstream words(line);
    std::string name;
    uint64_t kib = 0;
    if (!(words >> name >> kib)) continue;
    if (name != "Anonymous:" && name != "AnonHugePages:") continue;
    (name == "Anonymous:" ? memory.bytes : memory.huge_bytes) = kib << 10;
    ++found;
  }
  if (found != 2) return std::nullopt;
  return memory;
}

std::optional<AnonymousMemory> anonymous_memory() {
  std::ifstream file("/proc/self/smaps_rollup");
  return parse_anonymous_memory(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace quire
