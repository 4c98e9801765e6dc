#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "engine/scheduler.h"

namespace quire {
namespace {

template <typename T, size_t N>
T parse(std::string_view what, std::string_view found, const std::array<std::pair<const char*, T>, N>& choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (found == name) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  fail(ErrorCode::kInvalidArgument, "{} '{}' is unknown; choices are {}", what, printable(found, 40), names);
}

}  // namespace

SchedulingPolicy parse_scheduling_policy(std::string_view name) {
  using enum SchedulingPolicy;
  return parse<SchedulingPolicy, 4>(
      "the scheduling policy", name,
      {{{"fcfs", kFcfs}, {"priority", kPriority}, {"fair", kFair}, {"deadline", kDeadline}}});
}

StaticBatching parse_static_batching(std::string_view name) {
  using enum StaticBatching;
  return parse<StaticBatching, 2>("static batching", name, {{{"off", kOff}, {"refilled", kRefilled}}});
}

Eviction parse_eviction(std::string_view name) {
  using enum Eviction;
  return parse<Eviction, 2>("the eviction policy", name, {{{"lru", kLru}, {"segmented", kSegmented}}});
}

Preemption parse_preemption(std::string_view name) {
  using enum Preemption;
  return parse<Preemption, 3>("preemption", name,
                              {{{"recompute", kRecompute}, {"swap", kSwap}, {"cheapest", kCheapest}}});
}

}  // namespace quire
