#include "models/planning/stream_plan.h"

#include <algorithm>

#include "base/direct_file.h"

namespace quire {
namespace {

using Section = StreamPlan::Section;

uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

std::vector<Section> sections_of(std::span<const uint64_t> starts, uint64_t weight_bytes) {
  std::vector<Section> sections;
  if (starts.size() < 2 || starts[0] != 0) return sections;
  for (size_t i = 0; i < starts.size(); ++i) {
    const bool is_rest = i + 1 == starts.size();
    sections.push_back({.first = starts[i], .last = is_rest ? weight_bytes : starts[i + 1], .is_resident = is_rest});
  }
  return sections;
}

// Huge pages where layers consist of many; else pieces that waste little of a layer's last one.
size_t chunk_bytes_for(std::span<const Section> layers) {
  constexpr size_t kHugePage = size_t{2} << 20;
  constexpr size_t kSmall = size_t{64} << 10;
  uint64_t largest = 0;
  for (const Section& layer : layers) largest = std::max(largest, layer.last_read() - layer.first_read());
  if (largest >= 8 * kHugePage) return kHugePage;
  return std::clamp<uint64_t>(largest, DirectFile::kAlignment, kSmall);
}

// Of so many layers `num_streamed` are not resident, as evenly as can be; the last is one of them.
void spread(int num_streamed, std::span<Section> layers) {
  const auto count = static_cast<int>(layers.size());
  for (int i = 0; i < count; ++i) {
    layers[static_cast<size_t>(i)].is_resident = (i + 1) * num_streamed / count == i * num_streamed / count;
  }
}

}  // namespace

uint64_t Section::first_read() const { return first / DirectFile::kAlignment * DirectFile::kAlignment; }
uint64_t Section::last_read() const { return round_up(last, DirectFile::kAlignment); }
size_t Section::num_chunks(size_t chunk_bytes) const {
  if (first == last) return 0;
  return round_up(last_read() - first_read(), chunk_bytes) / chunk_bytes;
}

int StreamPlan::num_streamed() const {
  return static_cast<int>(std::ranges::count(sections, false, &Section::is_resident));
}

uint64_t StreamPlan::streamed_bytes() const {
  uint64_t bytes = 0;
  for (const Section& section : sections) bytes += section.is_resident ? 0 : section.size_bytes();
  return bytes;
}

std::optional<StreamPlan> plan_stream(std::span<const uint64_t> starts, uint64_t weight_bytes, uint64_t allowed_bytes) {
  StreamPlan plan{.sections = sections_of(starts, weight_bytes)};
  if (plan.sections.empty()) return std::nullopt;
  const std::span<Section> layers = std::span(plan.sections).first(plan.sections.size() - 1);
  plan.chunk_bytes = chunk_bytes_for(layers);
  plan.num_chunks = allowed_bytes / plan.chunk_bytes;
  size_t largest = 0;
  for (const Section& layer : layers) largest = std::max(largest, layer.num_chunks(plan.chunk_bytes));
  const size_t shared = 2 * largest;
  for (auto num_streamed = 1; num_streamed <= static_cast<int>(layers.size()); ++num_streamed) {
    spread(num_streamed, layers);
    size_t needed = shared;
    for (const Section& section : plan.sections) {
      needed += section.is_resident ? section.num_chunks(plan.chunk_bytes) : 0;
    }
    if (needed <= plan.num_chunks) return plan;
  }
  return std::nullopt;
}

}  // namespace quire
