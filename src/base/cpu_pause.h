// What a loop that spins on another thread's word does between two looks: it leaves the core's other thread room and
// saves power. Nothing where the processor has no word for it.
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
