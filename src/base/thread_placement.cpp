#include "base/thread_placement.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

// Processors in the order in which threads take them: first one of every core, and of the nodes in turns.
std::vector<Processor> in_order_of_use(std::span<const Processor> allowed) {
  std::map<int, int> threads_of_core;
  std::map<std::pair<int, int>, int> taken_of_node;  // by which thread of a core, and node
  using Key = std::tuple<int, int, int>;
  std::vector<std::pair<Key, Processor>> keyed;
  for (const Processor& processor : allowed) {
    const int sibling = threads_of_core[processor.core]++;
    const int turn = taken_of_node[{sibling, processor.node}]++;
    keyed.emplace_back(Key{sibling, turn, processor.node}, processor);
  }
  std::ranges::sort(keyed, {}, [](const auto& entry) { return entry.first; });
  std::vector<Processor> ordered;
  for (const auto& [key, processor] : keyed) ordered.push_back(processor);
  return ordered;
}

// One for each thread, those of a node side by side.
std::vector<Processor> choose_processors(int num_threads, std::span<const Processor> allowed) {
  const std::vector<Processor> ordered = in_order_of_use(allowed);
  std::vector<Processor> chosen;
  for (int i = 0; i < num_threads; ++i) chosen.push_back(ordered[static_cast<size_t>(i) % ordered.size()]);
  std::ranges::sort(chosen, {}, [](const Processor& p) { return std::tuple(p.node, p.core, p.id); });
  return chosen;
}

ProcessorList processors_of_node(int node, std::span<const Processor> allowed) {
  ProcessorList list;
  for (const Processor& processor : allowed) {
    if (processor.node == node) list.push_back(processor.id);
  }
  return list;
}

ThreadPlaces place_by_list(std::string_view text, int num_threads, std::span<const Processor> allowed) {
  const auto list = parse_processor_list(text);
  if (!list) {
    fail(ErrorCode::kInvalidArgument,
         "processors \"{}\": expected auto, none, cores or a list such as 0-3,8 in which none is there twice",
         printable(text, 80));
  }
  ProcessorList known;
  for (const Processor& processor : allowed) known.push_back(processor.id);
  for (const int id : *list) {
    if (known.empty() || std::ranges::find(known, id) != known.end()) continue;
    fail(ErrorCode::kInvalidArgument, "processor {} is not one that this process may use, which are {}", id,
         format_processor_list(known));
  }
  ThreadPlaces places;
  for (int i = 0; i < num_threads; ++i) places.push_back({(*list)[static_cast<size_t>(i) % list->size()]});
  return places;
}

bool set_affinity(const ProcessorList& processors) {
  const auto size = static_cast<size_t>(std::ranges::max(processors)) + 1;
  const auto free_set = [](cpu_set_t* set) { CPU_FREE(set); };
  const std::unique_ptr<cpu_set_t, decltype(free_set)> set(CPU_ALLOC(size), free_set);
  if (set == nullptr) return false;
  const size_t bytes = CPU_ALLOC_SIZE(size);
  CPU_ZERO_S(bytes, set.get());
  for (const int id : processors) CPU_SET_S(static_cast<size_t>(id), bytes, set.get());
  return ::sched_setaffinity(0, bytes, set.get()) == 0;
}

}  // namespace

ThreadPlaces place_threads(std::string_view choice, int num_threads, std::span<const Processor> allowed) {
  if (choice == "none") return {};
  if (choice != "auto" && choice != "cores") return place_by_list(choice, num_threads, allowed);
  if (allowed.empty()) return {};
  const bool is_auto = choice == "auto";
  const auto is_elsewhere = [&](const Processor& p) { return p.node != allowed.front().node; };
  if (is_auto && std::ranges::none_of(allowed, is_elsewhere)) return {};
  ThreadPlaces places;
  for (const Processor& processor : choose_processors(num_threads, allowed)) {
    places.push_back(is_auto ? processors_of_node(processor.node, allowed) : ProcessorList{processor.id});
  }
  return places;
}

ThreadPlaces place_threads(std::string_view choice, int num_threads) {
  if (choice == "none") return {};
  return place_threads(choice, num_threads, read_processors("/sys/devices/system", allowed_processors()));
}

int threads_of_choice(std::string_view choice, int usual) {
  const auto list = parse_processor_list(choice);
  return list ? static_cast<int>(list->size()) : usual;
}

std::string describe_places(const ThreadPlaces& places) {
  std::string text;
  for (size_t i = 0; i < places.size();) {
    size_t end = i + 1;
    while (end < places.size() && places[end] == places[i]) ++end;
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", format_processor_list(places[i]), end - i);
    i = end;
  }
  return text;
}

BoundThread::BoundThread(const ProcessorList& processors) {
  if (processors.empty()) return;
  ProcessorList before = allowed_processors();
  if (!before.empty() && set_affinity(processors)) {
    before_ = std::move(before);
    bound_ = allowed_processors();
    return;
  }
  static std::atomic<bool> has_warned = false;  // threads are bound again in each step
  if (has_warned.exchange(true)) return;
  log::warning("a thread is not bound to processors {}: {}", format_processor_list(processors), std::strerror(errno));
}

BoundThread::~BoundThread() {
  if (!before_.empty() && allowed_processors() == bound_) set_affinity(before_);
}

}  // namespace quire
