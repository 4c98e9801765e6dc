// Threads of a block as fibers: see emulated.h. A fiber per thread index is made once per OS thread and runs block
// after block.
#include <sys/mman.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/cuda/emulator/emulated.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

thread_local constinit uint3 threadIdx{};
thread_local constinit uint3 blockIdx{};
thread_local constinit dim3 blockDim{};
thread_local constinit dim3 gridDim{};

// Saves the registers that a call preserves (System V ABI) on the running stack, stores the stack pointer in *from, and
// continues where `to` stopped.
extern "C" void quire_switch_stack(void** from, void* to);
asm(R"(
  .text
  .type quire_switch_stack, @function
quire_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size quire_switch_stack, .-quire_switch_stack
)");

namespace quire::emulated {
namespace {

constexpr size_t kStackBytes = 256 << 10;  // of address space; untouched pages use no memory
constexpr size_t kGuardBytes = 4 << 10;
constexpr int kMaxThreads = 1024;
constexpr size_t kMaxSharedBytes = 99 << 10;  // of a block, on every device from compute capability 8.0 on
constexpr unsigned kFullMask = 0xffffffffu;

struct Copy {
  void* to;
  const void* from;  // null: zeros
  int group;
};

// A thread of control: a fiber, or the OS thread itself while it runs a grid.
struct Fiber {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;
  size_t stack_bytes = 0;
  void* sanitizer_state = nullptr;
  int index = 0;
  uint3 thread_index{};
  std::vector<Copy> copies;  // begun, not waited for
  int copy_group = 0;
};

struct Warp {
  unsigned runnable = 0;  // lanes, as bits
  unsigned arrived = 0;   // those that wait at `where`
  WarpOp op = nullptr;
  void* brought[32] = {};
  Where where;
};

struct Machine {
  Fiber host;
  std::vector<std::unique_ptr<Fiber>> fibers;
  Fiber* running = nullptr;

  const std::function<void()>* body = nullptr;
  int num_threads = 0;
  bool backwards = false;
  int num_returned = 0;
  int num_at_barrier = 0;
  Where barrier;
  std::vector<Warp> warps;
  void* shared = nullptr;

  ~Machine() {
    for (const auto& fiber : fibers) {
#if defined(__SANITIZE_ADDRESS__)
      __asan_unpoison_memory_region(fiber->stack, kStackBytes);  // its frames never returned
#endif
      munmap(const_cast<void*>(fiber->stack), kStackBytes);
    }
    std::free(shared);
  }
};

Machine& machine() {
  static thread_local Machine instance;
  return instance;
}

void switch_to(Machine& m, Fiber& next) {
  Fiber& from = *m.running;
  m.running = &next;
  threadIdx = next.thread_index;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.sanitizer_state, next.stack, next.stack_bytes);
#endif
  quire_switch_stack(&from.stack_pointer, next.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.sanitizer_state, nullptr, nullptr);
#endif
}

const char* file_name(const Where& where) {
  const char* slash = std::strrchr(where.file, '/');
  return slash == nullptr ? where.file : slash + 1;
}

[[noreturn]] void report_stuck(const Machine& m) {
  std::fprintf(stderr, "emulated GPU: block (%u, %u, %u): of %d threads %d returned", blockIdx.x, blockIdx.y,
               blockIdx.z, m.num_threads, m.num_returned);
  if (m.num_at_barrier > 0) {
    std::fprintf(stderr, ", %d wait at the barrier of %s:%u", m.num_at_barrier, file_name(m.barrier), m.barrier.line);
  }
  for (size_t w = 0; w < m.warps.size(); ++w) {
    const Warp& warp = m.warps[w];
    if (warp.arrived == 0) continue;
    std::fprintf(stderr, ", lanes %08x of warp %zu wait at %s:%u", warp.arrived, w, file_name(warp.where),
                 warp.where.line);
  }
  std::fprintf(stderr, ", and none can go on\n");
  std::abort();
}

// Switches to another thread that can run, first of the same warp.
void run_others(Machine& m) {
  const size_t own = static_cast<size_t>(m.running->index) / 32;
  for (size_t i = 0; i < m.warps.size(); ++i) {
    const size_t w = (own + i) % m.warps.size();
    const unsigned runnable = m.warps[w].runnable;
    if (runnable == 0) continue;
    const int lane = m.backwards ? 31 - std::countl_zero(runnable) : std::countr_zero(runnable);
    return switch_to(m, *m.fibers[w * 32 + static_cast<size_t>(lane)]);
  }
  report_stuck(m);
}

void finish_copies(Fiber& fiber, int up_to_group) {
  size_t kept = 0;
  for (const Copy& copy : fiber.copies) {
    if (copy.group > up_to_group) {
      fiber.copies[kept++] = copy;
    } else if (copy.from != nullptr) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
  }
  fiber.copies.resize(kept);
}

void fiber_main() {
  Machine& m = machine();
#if defined(__SANITIZE_ADDRESS__)
  const void* host_stack = nullptr;
  size_t host_bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &host_stack, &host_bytes);
  if (m.host.stack == nullptr) {  // the host starts the first fiber
    m.host.stack = host_stack;
    m.host.stack_bytes = host_bytes;
  }
#endif
  Fiber& self = *m.running;
  for (;;) {
    (*m.body)();
    finish_copies(self, self.copy_group);
    Warp& warp = m.warps[static_cast<size_t>(self.index) / 32];
    warp.runnable &= ~(1u << (self.index % 32));
    if (++m.num_returned == m.num_threads) {
      switch_to(m, m.host);
    } else {
      run_others(m);
    }
  }
}

std::unique_ptr<Fiber> make_fiber(int index) {
  auto fiber = std::make_unique<Fiber>();
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED || mprotect(stack, kGuardBytes, PROT_NONE) != 0) {
    std::perror("emulated GPU: stack of a thread");
    std::abort();
  }
  fiber->index = index;
  fiber->stack = stack;
  fiber->stack_bytes = kStackBytes;
  // Stacks begin at different cache lines of a page; otherwise the innermost frames of all fibers would share a few
  // cache sets.
  const size_t shift = static_cast<size_t>(index) * 320 % 8192;
  void** top = reinterpret_cast<void**>(static_cast<char*>(stack) + kStackBytes - shift - 64);
  *--top = nullptr;  // where fiber_main would return to
  *--top = reinterpret_cast<void*>(fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // registers
  fiber->stack_pointer = top;
  return fiber;
}

void make_all_runnable(Machine& m) {
  for (size_t w = 0; w < m.warps.size(); ++w) {
    const int lanes = m.num_threads - static_cast<int>(w) * 32;
    m.warps[w].runnable = lanes >= 32 ? kFullMask : (1u << lanes) - 1;
  }
}

void run_block(Machine& m) {
  m.warps.assign(static_cast<size_t>(m.num_threads + 31) / 32, Warp{});
  make_all_runnable(m);
  m.num_returned = 0;
  m.num_at_barrier = 0;
  m.running = &m.host;
  Fiber& first = m.backwards ? *m.fibers[std::min<size_t>(31, static_cast<size_t>(m.num_threads) - 1)] : *m.fibers[0];
  switch_to(m, first);
}

}  // namespace

void broken(const char* what, const Where& where) {
  std::fprintf(stderr, "emulated GPU: %s:%u, block (%u, %u, %u), thread (%u, %u, %u): %s\n", file_name(where),
               where.line, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, what);
  std::abort();
}

void run_grid(const Launch& launch, const std::function<void()>& body) {
  Machine& m = machine();
  m.num_threads = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  if (m.num_threads < 1 || m.num_threads > kMaxThreads) broken("a block has 1 to 1024 threads", Where::current());
  if (launch.shared_bytes > kMaxSharedBytes) broken("a block has at most 99 KiB of shared memory", Where::current());
  if (launch.grid.y > 65535 || launch.grid.z > 65535) broken("a grid is at most 65535 high", Where::current());
  for (int i = static_cast<int>(m.fibers.size()); i < m.num_threads; ++i) m.fibers.push_back(make_fiber(i));
  if (m.shared == nullptr) m.shared = std::aligned_alloc(128, kMaxSharedBytes);
  for (int i = 0; i < m.num_threads; ++i) {
    const auto index = static_cast<unsigned>(i);
    m.fibers[index]->thread_index = {index % launch.block.x, index / launch.block.x % launch.block.y,
                                     index / (launch.block.x * launch.block.y)};
  }
  m.body = &body;
  blockDim = launch.block;
  gridDim = launch.grid;
  m.backwards = false;
  for (unsigned z = 0; z < launch.grid.z; ++z) {
    for (unsigned y = 0; y < launch.grid.y; ++y) {
      for (unsigned x = 0; x < launch.grid.x; ++x) {
        blockIdx = {x, y, z};
        std::memset(m.shared, 0xff, launch.shared_bytes);
        run_block(m);
        m.backwards = !m.backwards;
      }
    }
  }
}

void* dynamic_shared() { return machine().shared; }

int lane() { return machine().running->index % 32; }

void block_barrier(const Where& where) {
  Machine& m = machine();
  if (m.num_at_barrier == 0) m.barrier = where;
  if (m.barrier.line != where.line) broken("others wait at another barrier", where);
  if (++m.num_at_barrier < m.num_threads) {
    m.warps[static_cast<size_t>(m.running->index) / 32].runnable &= ~(1u << (m.running->index % 32));
    return run_others(m);
  }
  m.num_at_barrier = 0;
  make_all_runnable(m);
}

void warp_together(WarpOp op, void* mine, unsigned mask, const Where& where) {
  Machine& m = machine();
  const int lane = m.running->index % 32;
  Warp& warp = m.warps[static_cast<size_t>(m.running->index) / 32];
  if (mask != kFullMask) broken("a warp-wide call with a mask that is not full", where);
  if (m.num_threads % 32 != 0) broken("a warp-wide call in a block of broken warps", where);
  if (warp.arrived == 0) {
    warp.op = op;
    warp.where = where;
  } else if (warp.op != op || warp.where.line != where.line) {
    broken("others of the warp wait at another warp-wide call", where);
  }
  warp.brought[lane] = mine;
  warp.arrived |= 1u << lane;
  if (warp.arrived != kFullMask) {
    warp.runnable &= ~(1u << lane);
    return run_others(m);
  }
  warp.arrived = 0;
  warp.op(warp.brought);
  warp.runnable = kFullMask;
}

void cp_async(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)) {
    broken("cp_async_16 of an address that is not a multiple of 16", Where::current());
  }
  Fiber& self = *machine().running;
  self.copies.push_back({shared, valid ? global : nullptr, self.copy_group});
}

void cp_async_commit() { ++machine().running->copy_group; }

void cp_async_wait(int pending) {
  Fiber& self = *machine().running;
  finish_copies(self, self.copy_group - 1 - pending);
}

}  // namespace quire::emulated
