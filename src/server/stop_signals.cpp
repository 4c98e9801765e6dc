#include "server/stop_signals.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <utility>

namespace quire {

StopSignals& StopSignals::instance() {
  static StopSignals* const signals = new StopSignals;
  return *signals;
}

void StopSignals::catch_them() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::thread([this] { work(); }).detach();
}

void StopSignals::remove_at_exit(std::string path) {
  const std::lock_guard lock(mutex_);
  socket_path_ = std::move(path);
}

void StopSignals::start_serving() {
  const std::lock_guard lock(mutex_);
  is_serving_ = true;
}

void StopSignals::wait() {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return has_arrived_; });
}

void StopSignals::stop() {
  {
    const std::lock_guard lock(mutex_);
    has_arrived_ = true;
  }
  arrived_.notify_all();
}

void StopSignals::work() {
  int signal = 0;
  ::sigwait(&set_, &signal);
  {
    const std::lock_guard lock(mutex_);
    if (!is_serving_) leave(128 + signal);  // no request runs yet; nothing was served either
    has_arrived_ = true;
  }
  arrived_.notify_all();
  fmt::print(stderr, "\nquire: finishing running requests; a second signal stops at once\n");
  ::sigwait(&set_, &signal);
  const std::lock_guard lock(mutex_);
  leave(128 + signal);
}

void StopSignals::leave(int code) {
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
  ::_exit(code);
}

}  // namespace quire
