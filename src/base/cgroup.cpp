#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

#include "base/cpu_topology.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

// nullopt for "max" and for an absent file.
template <typename T>
std::optional<T> read_number(const fs::path& path) {
  std::ifstream file(path);
  T number{};
  if (file >> number) return number;
  return std::nullopt;
}

// The number after `key` in a file of "key number" or "key: number kB" lines.
std::optional<uint64_t> read_field(const fs::path& path, std::string_view key) {
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

struct MemoryFiles {
  const char* limit;
  const char* used;
  const char* droppable;  // field of memory.stat
};
constexpr MemoryFiles kMemory2 = {"memory.max", "memory.current", "inactive_file"};
constexpr MemoryFiles kMemory1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

void limit_memory(CgroupLimits& limits, const fs::path& group, const MemoryFiles& files) {
  const auto limit = read_number<uint64_t>(group / files.limit);
  if (!limit) return;
  const uint64_t used = read_number<uint64_t>(group / files.used).value_or(0);
  const uint64_t droppable = std::min(used, read_field(group / "memory.stat", files.droppable).value_or(0));
  limits.available_bytes = std::min(limits.available_bytes, *limit - std::min(*limit, used - droppable));
}

void limit_processors(CgroupLimits& limits, double quota, double period) {
  if (quota > 0 && period > 0) limits.processors = std::min(limits.processors, quota / period);
}

// Version 2: "<quota|max> <period>", in microseconds.
void limit_processors_2(CgroupLimits& limits, const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  double quota = 0;
  double period = 0;
  if (file >> quota >> period) limit_processors(limits, quota, period);
}

// Version 1; a quota of -1 is no limit.
void limit_processors_1(CgroupLimits& limits, const fs::path& group) {
  const auto quota = read_number<double>(group / "cpu.cfs_quota_us");
  const auto period = read_number<double>(group / "cpu.cfs_period_us");
  if (quota && period) limit_processors(limits, *quota, *period);
}

// Calls visit(group) from the root of a hierarchy down to the process's own group. Inside a container the path may be
// the host's and its groups may not exist here: then the mounted root is the process's own group.
template <typename Visit>
void for_each_group(const fs::path& root, std::string_view own, const Visit& visit) {
  while (own.starts_with('/')) own.remove_prefix(1);
  fs::path group = root;
  visit(group);
  for (const auto& part : fs::path(own)) {
    if (part == "..") return;  // the process lies above what is mounted
    group /= part;
    visit(group);
  }
}

// In a list like "cpu,cpuacct".
bool contains(const std::string& list, std::string_view name) {
  std::istringstream names(list);
  std::string one;
  while (std::getline(names, one, ',')) {
    if (one == name) return true;
  }
  return false;
}

CgroupLimits cgroup_limits() {
  std::ifstream file("/proc/self/cgroup");
  const std::string groups((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return read_cgroup_limits("/sys/fs/cgroup", groups);
}

}  // namespace

CgroupLimits read_cgroup_limits(const fs::path& root, std::string_view proc_self_cgroup) {
  CgroupLimits limits;
  std::istringstream lines{std::string(proc_self_cgroup)};
  std::string line;
  while (std::getline(lines, line)) {  // "<number>:<controllers>:<path>"; no controllers: version 2
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string own = line.substr(second + 1);
    if (controllers.empty()) {
      for_each_group(root, own, [&](const fs::path& group) {
        limit_memory(limits, group, kMemory2);
        limit_processors_2(limits, group);
      });
    }
    // A hierarchy of version 1 is mounted under its list, and each controller is a link to it.
    if (contains(controllers, "memory")) {
      for_each_group(root / "memory", own, [&](const fs::path& group) { limit_memory(limits, group, kMemory1); });
    }
    if (contains(controllers, "cpu")) {
      std::error_code none;
      const fs::path hierarchy = fs::exists(root / "cpu", none) ? root / "cpu" : root / controllers;
      for_each_group(hierarchy, own, [&](const fs::path& group) { limit_processors_1(limits, group); });
    }
  }
  return limits;
}

uint64_t available_memory() {
  constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
  const uint64_t machine = read_field("/proc/meminfo", "MemAvailable:").value_or(kUnlimited >> 10) << 10;
  return std::min(machine, cgroup_limits().available_bytes);
}

int available_processors() {
  const ProcessorList allowed = allowed_processors();
  const auto count = static_cast<double>(allowed.empty() ? std::thread::hardware_concurrency() : allowed.size());
  return std::max(1, static_cast<int>(std::min(count, cgroup_limits().processors)));
}

}  // namespace quire
