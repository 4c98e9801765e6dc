// The processors of the machine, as Linux lists them: which share a core, and to which memory node each belongs. Any
// thread.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Numbers of processors, as the system counts them.
using ProcessorList = std::vector<int>;

struct Processor {
  int id = 0;
  int core = 0;  // the least id of the processors that share its core (SMT)
  int node = 0;  // the memory that is near to it
};

// Those of `allowed` that are online, by id. `root` is /sys/devices/system: where it says nothing of cores, each
// processor is one, and where it says nothing of nodes, there is one.
std::vector<Processor> read_processors(const std::filesystem::path& root, std::span<const int> allowed);

// The calling thread's affinity mask, which a cgroup's cpuset narrows too; by number. Empty: unknown, the system
// refuses to tell.
ProcessorList allowed_processors();

// "0-3,8,10-11", as the system and taskset write it; in the order given. nullopt for anything else, for more than 4096
// processors and for a number that is there twice.
std::optional<ProcessorList> parse_processor_list(std::string_view text);
std::string format_processor_list(const ProcessorList& list);  // ascending runs become ranges

}  // namespace quire
