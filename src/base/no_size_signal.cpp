#include "base/no_size_signal.h"

#include <pthread.h>

#include <ctime>

namespace quire {

NoSizeSignal::NoSizeSignal() {
  ::sigemptyset(&signal_);
  ::sigaddset(&signal_, SIGXFSZ);
  ::pthread_sigmask(SIG_BLOCK, &signal_, &before_);
}

NoSizeSignal::~NoSizeSignal() {
  if (::sigismember(&before_, SIGXFSZ) == 1) return;
  const timespec now{};
  while (::sigtimedwait(&signal_, nullptr, &now) == SIGXFSZ) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace quire
