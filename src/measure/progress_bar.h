// A bar on standard error while something runs; nothing when that is no terminal. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire::load {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::string_view label, int64_t done, int64_t total, std::string_view more);
  void clear();

 private:
  bool is_terminal_;
  bool is_shown_ = false;
};

// "[#####.....] 50 %", `width` characters between the brackets.
std::string draw_bar(int64_t done, int64_t total, int width);

}  // namespace quire::load
