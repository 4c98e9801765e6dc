// The memory and the processors that this process may use. A control group's limit holds for all groups below it, so
// every group from the process's own up to the root is read. Versions 1 and 2. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string_view>

namespace quire {

struct CgroupLimits {
  // The least of (limit - used, without page cache that can be dropped).
  uint64_t available_bytes = std::numeric_limits<uint64_t>::max();
  // The least of quota / period: processors' worth of time.
  double processors = std::numeric_limits<double>::infinity();
};

// `root`: where the groups are mounted. `proc_self_cgroup`: the text of /proc/self/cgroup. Files that are absent or
// malformed count as no limit.
CgroupLimits read_cgroup_limits(const std::filesystem::path& root, std::string_view proc_self_cgroup);

// Bytes: the machine's free memory, within the control groups' limits.
uint64_t available_memory();

// Processors of the affinity mask, or of the machine where the mask is unknown, within the control groups' limits; at
// least 1.
int available_processors();

}  // namespace quire
