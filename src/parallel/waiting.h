// Waiting for other ranks' threads, usually for microseconds.
#pragma once

#include <atomic>

#include "base/cpu_pause.h"

namespace quire {

// Returns when `value` is no longer `before`: spins for some 50 us, then sleeps until it is notified.
template <typename T>
void wait_while(const std::atomic<T>& value, T before) {
  constexpr int kSpins = 1500;
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != before) return;
    cpu_pause();
  }
  value.wait(before, std::memory_order_acquire);
}

}  // namespace quire
