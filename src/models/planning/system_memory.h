// How much memory this process may still take: what the machine has free, and what its control groups leave. Any
// thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace quire {

uint64_t available_memory();

// The least of (limit - used, without page cache that can be dropped) over a process's control groups up to the root;
// UINT64_MAX without limits. `proc_self_cgroup`: the text of /proc/self/cgroup; versions 1 and 2.
uint64_t cgroup_available_memory(const std::filesystem::path& cgroup_root, std::string_view proc_self_cgroup);

}  // namespace quire
