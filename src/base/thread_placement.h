// On which processors the threads of a computation run. Any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu_topology.h"

namespace quire {

// Of each thread the processors that it may run on. Empty: the system places all of them.
using ThreadPlaces = std::vector<ProcessorList>;

// `choice` is
//   auto   on a machine with several memory nodes each thread stays within one node, so that it stays near to the
//          memory that it has written first, and the system still moves it aside for other programs; on a machine with
//          one node the same as none, because a thread that may not move is stuck beside a busy program
//   none   the system places the threads
//   cores  each thread has a processor of its own
//   LIST   the same, in the order of the list ("0-3,8"); threads beyond its end begin with it again
// With auto and cores, threads take one processor of every core before a second one, and so that memory nodes are
// filled evenly; neighbouring threads are on one node, because they have neighbouring parts of a matrix.
//
// `allowed` is by id; empty: unknown, so that auto and cores place no thread and a LIST is taken as it is. Throws Error
// for any other choice, and for a LIST with processors that are not in `allowed`.
ThreadPlaces place_threads(std::string_view choice, int num_threads, std::span<const Processor> allowed);

// On this machine.
ThreadPlaces place_threads(std::string_view choice, int num_threads);

// How many threads to run where the number is left open: as many as the list has, or `usual`.
int threads_of_choice(std::string_view choice, int usual);

// "0-3 x 4, 8-11 x 4": how many neighbouring threads may run where.
std::string describe_places(const ThreadPlaces& places);

// Restricts the calling thread to some processors until the end of the scope; none: changes nothing. Where the system
// refuses, the thread runs where it ran, and the log says so once. A thread that somebody else has bound meanwhile, as
// taskset -p does, stays there.
class BoundThread {
 public:
  explicit BoundThread(const ProcessorList& processors);
  ~BoundThread();
  BoundThread(const BoundThread&) = delete;
  BoundThread& operator=(const BoundThread&) = delete;

 private:
  ProcessorList before_;  // empty: unchanged
  ProcessorList bound_;   // as the system says: of those asked for, the ones that it allows
};

}  // namespace quire
