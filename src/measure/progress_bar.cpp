#include "measure/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace quire::load {

ProgressBar::ProgressBar() : is_terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressBar::show(std::string_view label, int64_t done, int64_t total, std::string_view more) {
  if (!is_terminal_) return;
  fmt::print(stderr, "\r\033[K{} {} {}", label, draw_bar(done, total, 24), more);
  std::fflush(stderr);
  is_shown_ = true;
}

void ProgressBar::clear() {
  if (is_shown_) fmt::print(stderr, "\r\033[K");
  is_shown_ = false;
}

std::string draw_bar(int64_t done, int64_t total, int width) {
  const int64_t share = total > 0 ? std::clamp<int64_t>(100 * done / total, 0, 100) : 0;
  const auto filled = static_cast<size_t>(share * width / 100);
  return fmt::format("[{}{}] {:>3} %", std::string(filled, '#'), std::string(static_cast<size_t>(width) - filled, '.'),
                     share);
}

}  // namespace quire::load
