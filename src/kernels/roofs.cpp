#include "kernels/roofs.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

#include "kernels/select.h"
#include "kernels/vector_tables.h"

namespace quire {
namespace {

constexpr size_t kSliceBytes = size_t{4} << 20;  // memory that a thread reads in one task
constexpr int64_t kSteps = 400'000;              // rounds of a loop in registers, which take a millisecond or two
constexpr int kTasksPerThread = 8;

std::atomic<float> sink;  // takes a result of every read, so that the compiler cannot remove the reads

float plain_read(const std::byte* memory, size_t bytes, int) {
  uint64_t sums[4] = {};
  for (size_t at = 0; at + sizeof sums <= bytes; at += sizeof sums) {
    uint64_t words[4];
    std::memcpy(words, memory + at, sizeof words);
    for (int i = 0; i < 4; ++i) sums[i] ^= words[i];
  }
  return static_cast<float>(sums[0] ^ sums[1] ^ sums[2] ^ sums[3]);
}

double no_loop(int64_t) { return 0.0; }

// The row whose loops are the roofs of the table; null: none.
const VectorTable* find_row(const Kernels& table) {
  const bool is_reference = &table == &reference_kernels(table.activations);
  const std::string_view name = is_reference ? runnable_kernels().front()->name : table.name;
  for (const VectorTable& vector : vector_tables()) {
    if (name == vector.name) return &vector;
  }
  return nullptr;
}

RoofLoops choose_loops(const Kernels& table) {
  const VectorTable* row = find_row(table);
  return row == nullptr ? RoofLoops{plain_read, no_loop, no_loop} : row->roof_loops();
}

auto choose_cached_dot(const Kernels& table) {
  const VectorTable* row = find_row(table);
  return row == nullptr ? nullptr : row->cached_dot;
}

double seconds_of(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

RoofMeter best_meter(ThreadPool& pool) { return {pool, *runnable_kernels().front()}; }

}  // namespace

double now_s() { return seconds_of(CLOCK_MONOTONIC); }
double processor_now_s() { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

RoofMeter::RoofMeter(ThreadPool& pool, const Kernels& table, Clock clock)
    : pool_(pool), loops_(choose_loops(table)), cached_dot_(choose_cached_dot(table)), clock_(clock) {}

double RoofMeter::read(std::span<const std::byte> memory) const {
  const size_t slice_bytes = std::min(kSliceBytes, memory.size());
  const auto num_slices = static_cast<int64_t>(memory.size() / std::max<size_t>(1, slice_bytes));
  double best = 0.0;
  for (const int num_streams : {1, 4}) {
    const double start = clock_();
    pool_.parallel_for(num_slices, [&](int64_t slice, int) {
      sink = loops_.read(memory.data() + static_cast<size_t>(slice) * slice_bytes, slice_bytes, num_streams);
    });
    best = std::max(best, static_cast<double>(num_slices) * static_cast<double>(slice_bytes) / (clock_() - start));
  }
  return best;
}

double RoofMeter::operations(double (*loop)(int64_t num_steps)) const {
  const int64_t num_tasks = kTasksPerThread * int64_t{pool_.num_threads()};
  double per_task = 0;
  const double start = clock_();
  pool_.parallel_for(num_tasks, [&](int64_t task, int) {
    const double done = loop(kSteps);
    if (task == 0) per_task = done;
  });
  return per_task * static_cast<double>(num_tasks) / (clock_() - start);
}

double RoofMeter::multiply_add() const { return operations(loops_.multiply_add); }
double RoofMeter::dot() const { return operations(loops_.dot); }
double RoofMeter::cached_dot() const { return cached_dot_ == nullptr ? 0.0 : operations(cached_dot_); }

double measure_read_roof(ThreadPool& pool, std::span<const std::byte> memory) { return best_meter(pool).read(memory); }
double measure_fma_roof(ThreadPool& pool) { return best_meter(pool).multiply_add(); }
double measure_dot_roof(ThreadPool& pool) { return best_meter(pool).dot(); }

}  // namespace quire
