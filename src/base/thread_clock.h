// The processor time of the calling thread: what other threads and programs use does not count.
#pragma once

#include <time.h>

#include <chrono>

#include "base/check.h"

namespace quire {

struct ThreadClock {
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<ThreadClock, duration>;
  static time_point now() {
    timespec time = {};
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
    return time_point(std::chrono::seconds(time.tv_sec) + duration(time.tv_nsec));
  }
};

}  // namespace quire
