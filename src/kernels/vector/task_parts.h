// Divides the panels of a call's matrices among the threads. math.h says how the files of this folder are used.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector/loops.h"

namespace quire {
namespace {

struct MatrixPanels {
  int64_t count;
  int64_t per_task;  // at most so many panels in one task
};

// A task: panels [first, first + count) of a matrix.
struct PanelTask {
  int matrix;
  int64_t first;
  int count;
};

// Each thread has a contiguous part of every matrix, cut into tasks: take() returns the next task of the thread's own
// part, or one of another part when its own is done. So a thread reads memory as one stream whatever the other threads
// do. And the part depends on the matrix and the number of threads alone: a thread multiplies the panels that it has
// packed, which the first touch has placed in its memory, whatever else is in the call and however large the tasks are.
//
// A call may have a hundred matrices and a hundred threads: the constructor visits each matrix and each part once, and
// the threads go through the matrices of the parts.
template <typename PanelsOf>  // MatrixPanels panels_of(int matrix)
class PanelTasks {
 public:
  PanelTasks(int num_matrices, const PanelsOf& panels_of, int num_threads)
      : panels_of_(panels_of),
        num_matrices_(num_matrices),
        num_threads_(num_threads),
        num_parts_(num_threads < kMaxParts ? num_threads : kMaxParts) {
    for (int part = 0; part < num_parts_; ++part) parts_[part].next = 0;
    for (int i = 0; i < num_matrices; ++i) {
      const MatrixPanels panels = panels_of(i);
      const int64_t least = panels.count / num_parts_;
      const int64_t num_larger = panels.count % num_parts_;  // parts that have one panel more
      num_tasks_ += num_larger * divide_up(least + 1, panels.per_task) +
                    (num_parts_ - num_larger) * divide_up(least, panels.per_task);
    }
  }

  int64_t num_tasks() const { return num_tasks_; }

  // The threads together must call it exactly num_tasks() times.
  PanelTask take(int thread) {
    for (int part = part_of(thread);; part = part + 1 < num_parts_ ? part + 1 : 0) {
      uint64_t* const next = &parts_[part].next;
      uint64_t position = __atomic_load_n(next, __ATOMIC_RELAXED);
      while (position != position_of(num_matrices_, 0)) {
        const PanelTask task = first_task(part, position);
        const uint64_t after = position_of(task.matrix, task.first + task.count);
        if (!__atomic_compare_exchange_n(next, &position, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        if (task.count > 0) return task;
        break;
      }
    }
  }

 private:
  static constexpr int kMaxParts = 256;  // of more threads, neighbours share a part
  struct alignas(64) Part {
    uint64_t next;  // position_of the matrix and the panel from which on there are tasks
  };

  static uint64_t position_of(int matrix, int64_t panel) {
    return static_cast<uint64_t>(matrix) << 32 | static_cast<uint64_t>(panel);
  }
  // Neighbouring threads, which are on one memory node, have neighbouring parts.
  int part_of(int thread) const { return static_cast<int>(int64_t{thread} * num_parts_ / num_threads_); }
  int64_t first_of(const MatrixPanels& panels, int part) const { return panels.count * part / num_parts_; }

  // The first task of a part from a position on; behind the last matrix and of no panels when none is left.
  PanelTask first_task(int part, uint64_t position) const {
    auto panel = static_cast<int64_t>(position & 0xffffffff);
    for (auto i = static_cast<int>(position >> 32); i < num_matrices_; ++i, panel = 0) {
      const MatrixPanels panels = panels_of_(i);
      const int64_t begin = first_of(panels, part);
      const int64_t first = panel < begin ? begin : panel;
      const int64_t left = first_of(panels, part + 1) - first;
      if (left > 0) return {i, first, static_cast<int>(left < panels.per_task ? left : panels.per_task)};
    }
    return {num_matrices_, 0, 0};
  }

  const PanelsOf& panels_of_;
  int num_matrices_;
  int num_threads_;
  int num_parts_;
  int64_t num_tasks_ = 0;
  Part parts_[kMaxParts];
};

// Calls body(PanelTask) for all panels of some matrices.
template <typename PanelsOf, typename F>
void for_panel_tasks(const Exec& exec, int num_matrices, const PanelsOf& panels_of, const F& body) {
  PanelTasks<PanelsOf> tasks(num_matrices, panels_of, exec.num_threads);
  auto run_task = [&](int64_t, int thread) { body(tasks.take(thread)); };
  if (tasks.num_tasks() > 0) run_tasks(exec, tasks.num_tasks(), run_task);
}

// The same for the panels of one matrix, one by one: body(panel).
template <typename F>
void for_each_panel(const Exec& exec, int64_t num_panels, const F& body) {
  const auto panels_of = [num_panels](int) { return MatrixPanels{num_panels, 1}; };
  for_panel_tasks(exec, 1, panels_of, [&](const PanelTask& task) { body(task.first); });
}

}  // namespace
}  // namespace quire
