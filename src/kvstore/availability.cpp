#include "kvstore/availability.h"

#include <algorithm>

#include "base/log.h"

namespace quire {

bool Availability::may_try() const {
  const std::lock_guard lock(mutex_);
  return !is_given_up_ || Clock::now() >= until_;
}

bool Availability::is_available() const {
  const std::lock_guard lock(mutex_);
  return !is_given_up_;
}

void Availability::succeeded() {
  const std::lock_guard lock(mutex_);
  faults_ = 0;
  if (!is_given_up_) return;
  is_given_up_ = false;
  log::info("{} is used again", options_.subject);
}

void Availability::failed(std::string_view reason, bool at_once) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (is_given_up_) {
    if (now < until_) return;  // of an operation that began before
    pause_ = std::min(2 * pause_, options_.longest_pause);
    until_ = now + pause_;
    return;
  }
  if (++faults_ < options_.faults_to_give_up && !at_once) return;
  is_given_up_ = true;
  pause_ = options_.first_pause;
  until_ = now + pause_;
  log::warning("{}: {}; going on without it, and trying it again now and then", options_.subject, reason);
}

}  // namespace quire
