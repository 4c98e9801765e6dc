// Whether a store is used. After some faults in a row it is given up for a while and then tried again, so that a disk
// or a server that is gone costs nothing but the attempts. One line in the log when it is given up, one when it is
// back.
//
// Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace quire {

class Availability {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    std::string subject;  // for the log: "KV disk '/var/kv'"
    int faults_to_give_up = 1;
    std::chrono::milliseconds first_pause{1000};  // doubles with each further fault
    std::chrono::milliseconds longest_pause{60000};
  };
  explicit Availability(Options options) : options_(std::move(options)) {}

  // False during a pause.
  bool may_try() const;
  // False from when it is given up until something succeeds.
  bool is_available() const;
  void succeeded();
  // `at_once`: it is given up whatever was before.
  void failed(std::string_view reason, bool at_once = false);

 private:
  Options options_;
  mutable std::mutex mutex_;
  int faults_ = 0;  // in a row
  bool is_given_up_ = false;
  std::chrono::milliseconds pause_{0};
  Clock::time_point until_;
};

}  // namespace quire
