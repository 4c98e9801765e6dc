#include "models/planning/system_memory.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace quire {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// "max" and an absent file are no limit.
std::optional<uint64_t> read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

// The number after `key` in a file of "key number" or "key: number kB" lines.
std::optional<uint64_t> read_field(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    uint64_t number = 0;
    if (words >> name >> number && name == key) return number;
  }
  return std::nullopt;
}

struct CgroupFiles {
  const char* limit;
  const char* used;
  const char* droppable;  // field of memory.stat
};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file"};
constexpr CgroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

uint64_t group_available(const std::filesystem::path& group, const CgroupFiles& files) {
  const auto limit = read_number(group / files.limit);
  if (!limit) return kUnlimited;
  const uint64_t used = read_number(group / files.used).value_or(0);
  const uint64_t droppable = std::min(used, read_field(group / "memory.stat", files.droppable).value_or(0));
  return *limit - std::min(*limit, used - droppable);
}

uint64_t walk_up(const std::filesystem::path& root, std::string_view group, const CgroupFiles& files) {
  while (group.starts_with('/')) group.remove_prefix(1);
  uint64_t available = group_available(root, files);
  std::filesystem::path path = root;
  for (const auto& part : std::filesystem::path(group)) {
    if (part == "..") break;
    path /= part;
    available = std::min(available, group_available(path, files));
  }
  return available;
}

// In a list like "cpu,memory".
bool names_memory(const std::string& controllers) {
  std::istringstream list(controllers);
  std::string one;
  while (std::getline(list, one, ',')) {
    if (one == "memory") return true;
  }
  return false;
}

}  // namespace

uint64_t cgroup_available_memory(const std::filesystem::path& cgroup_root, std::string_view proc_self_cgroup) {
  uint64_t available = kUnlimited;
  std::istringstream lines{std::string(proc_self_cgroup)};
  std::string line;
  while (std::getline(lines, line)) {  // "<number>:<controllers>:<path>"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) available = std::min(available, walk_up(cgroup_root, path, kVersion2));
    if (names_memory(controllers)) {
      available = std::min(available, walk_up(cgroup_root / "memory", path, kVersion1));
    }
  }
  return available;
}

uint64_t available_memory() {
  const uint64_t machine = read_field("/proc/meminfo", "MemAvailable:").value_or(kUnlimited >> 10) << 10;
  std::ifstream file("/proc/self/cgroup");
  const std::string groups((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return std::min(machine, cgroup_available_memory("/sys/fs/cgroup", groups));
}

}  // namespace quire
