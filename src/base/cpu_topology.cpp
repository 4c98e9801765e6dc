#include "base/cpu_topology.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <memory>
#include <utility>

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxProcessors = 4096;

std::optional<int> parse_number(std::string_view text) {
  int number = 0;
  const char* const end = text.data() + text.size();
  const auto [behind, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || behind != end || number < 0 || number >= static_cast<int>(kMaxProcessors)) {
    return std::nullopt;
  }
  return number;
}

// nullopt for an absent or malformed file.
std::optional<ProcessorList> read_list(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return parse_processor_list(line);
}

bool contains(std::span<const int> list, int id) { return std::ranges::find(list, id) != list.end(); }

// The node of each processor, by folders node<N>; nullopt where there are none.
std::vector<std::pair<int, ProcessorList>> read_nodes(const fs::path& root) {
  std::vector<std::pair<int, ProcessorList>> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "node", error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("node")) continue;
    const auto number = parse_number(std::string_view(name).substr(4));
    auto list = number ? read_list(entry.path() / "cpulist") : std::nullopt;
    if (list) nodes.emplace_back(*number, std::move(*list));
  }
  return nodes;
}

int core_of(const fs::path& root, int id) {
  const fs::path topology = root / "cpu" / fmt::format("cpu{}", id) / "topology";
  auto siblings = read_list(topology / "core_cpus_list");
  if (!siblings) siblings = read_list(topology / "thread_siblings_list");  // its name before Linux 5.4
  return siblings && contains(*siblings, id) ? std::ranges::min(*siblings) : id;
}

}  // namespace

std::vector<Processor> read_processors(const fs::path& root, std::span<const int> allowed) {
  const auto online = read_list(root / "cpu" / "online");
  const auto nodes = read_nodes(root);
  std::vector<Processor> processors;
  for (const int id : allowed) {
    if (online && !contains(*online, id)) continue;
    Processor processor{.id = id, .core = core_of(root, id)};
    for (const auto& [node, list] : nodes) {
      if (contains(list, id)) processor.node = node;
    }
    processors.push_back(processor);
  }
  std::ranges::sort(processors, {}, &Processor::id);
  return processors;
}

ProcessorList allowed_processors() {
  ProcessorList list;
  // The system refuses a set that is too small for its processors.
  for (int size = 1024; list.empty() && size <= 1 << 20; size *= 4) {
    const auto free_set = [](cpu_set_t* set) { CPU_FREE(set); };
    const std::unique_ptr<cpu_set_t, decltype(free_set)> set(CPU_ALLOC(static_cast<size_t>(size)), free_set);
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    if (set == nullptr || ::sched_getaffinity(0, bytes, set.get()) != 0) continue;
    for (int id = 0; id < size; ++id) {
      if (CPU_ISSET_S(static_cast<size_t>(id), bytes, set.get())) list.push_back(id);
    }
  }
  return list;
}

std::optional<ProcessorList> parse_processor_list(std::string_view text) {
  ProcessorList list;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view range = text.substr(0, comma);
    const size_t dash = range.find('-');
    const auto first = parse_number(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_number(range.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    for (int id = *first; id <= *last; ++id) {
      if (contains(list, id)) return std::nullopt;
      list.push_back(id);
    }
    if (comma == std::string_view::npos) return list;
    text.remove_prefix(comma + 1);
  }
}

std::string format_processor_list(const ProcessorList& list) {
  std::string text;
  for (size_t i = 0; i < list.size();) {
    size_t end = i + 1;
    while (end < list.size() && list[end] == list[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += fmt::format("{}", list[i]);
    if (end - i > 1) text += fmt::format("-{}", list[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace quire
