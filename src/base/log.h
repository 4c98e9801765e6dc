// Log lines on standard error through spdlog. Any thread. Never prompt text.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace quire::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

void set_level(Level level);
Level parse_level(std::string_view name);  // debug, info, warning, error, off; throws Error
void write(Level level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace quire::log
