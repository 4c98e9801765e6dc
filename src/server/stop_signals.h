// How signals end the server: the first SIGTERM or SIGINT lets it drain, the second ends the process at once.
#pragma once

#include <signal.h>

#include <condition_variable>
#include <mutex>
#include <string>

namespace quire {

// The signals as an event. Every thread blocks them; one thread waits for them. Lives as long as the process.
class StopSignals {
 public:
  static StopSignals& instance();

  // Call before any other thread is started: threads inherit the mask.
  void catch_them();
  // The socket file to remove when a signal ends the process.
  void remove_at_exit(std::string path);
  // From now on a signal lets the server drain instead of ending the process. Call before the first request.
  void start_serving();
  // Until the first signal or stop().
  void wait();
  // Ends wait() as a signal does. Any thread.
  void stop();

 private:
  void work();
  [[noreturn]] void leave(int code);  // under the mutex

  sigset_t set_ = {};
  std::mutex mutex_;  // of all below
  std::condition_variable arrived_;
  bool is_serving_ = false;
  bool has_arrived_ = false;
  std::string socket_path_;
};

}  // namespace quire
