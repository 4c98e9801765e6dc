// While it lives, a write above the limit of a file's size (RLIMIT_FSIZE) fails with EFBIG, as any other failure, and
// does not end the program. For the thread that makes it.
#pragma once

#include <signal.h>

namespace quire {

class NoSizeSignal {
 public:
  NoSizeSignal();
  NoSizeSignal(const NoSizeSignal&) = delete;
  NoSizeSignal& operator=(const NoSizeSignal&) = delete;
  ~NoSizeSignal();

 private:
  sigset_t signal_;
  sigset_t before_;
};

}  // namespace quire
