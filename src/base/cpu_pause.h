// Called between two reads by a loop that spins on another thread's word: it lets the core's other hardware thread run
// and saves power. Does nothing on processors without such an instruction.
#pragma once

namespace quire {

inline void cpu_pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace quire
