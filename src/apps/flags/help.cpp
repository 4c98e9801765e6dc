#include "apps/flags/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace quire {
namespace {

constexpr size_t kTextColumn = 28;
constexpr int kUsualWidth = 100;
constexpr int kMinWidth = 50;

int page_width() {
  struct winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualWidth;
  return std::clamp<int>(size.ws_col, kMinWidth, kUsualWidth);
}

// Appends words at a column; the first line of `out` may already reach beyond it.
void append_wrapped(std::string& out, std::string_view words, size_t column, size_t width) {
  size_t at = out.size() - std::min(out.size(), out.rfind('\n') + 1);
  const auto new_line = [&] {
    out += '\n' + std::string(column, ' ');
    at = column;
  };
  if (at + 2 > column && at > 0) {
    new_line();
  } else {
    out.append(column - at, ' ');
    at = column;
  }
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(' '));
    words.remove_prefix(std::min(word.size() + 1, words.size()));
    if (at > column && at + 1 + word.size() > width) new_line();
    if (at > column) {
      out += ' ';
      ++at;
    }
    out += word;
    at += word.size();
  }
  out += '\n';
}

std::string description_of(const FlagEntry& entry) {
  std::string text = entry.flag.help;
  const std::string by_default = entry.default_text();
  if (!by_default.empty()) text += fmt::format(" (default: {})", by_default);
  if (!entry.environment.empty()) text += fmt::format(" [{}]", entry.environment);
  return text;
}

std::string label_of(const FlagEntry& entry) {
  if (entry.names.empty()) return entry.positional;
  std::string label = entry.positional.empty() ? "" : entry.positional + ", ";
  label += fmt::format("{}", fmt::join(entry.names, ", "));
  if (!entry.flag.value.metavar.empty()) label += " " + entry.flag.value.metavar;
  return label;
}

void append_row(std::string& out, const std::string& label, const std::string& text, size_t width) {
  out += "  ";
  // A label too long for a line breaks between its names.
  std::string head;
  append_wrapped(head, label, 0, width - 2);
  head.pop_back();
  for (const char c : head) out += c == '\n' ? "\n      " : std::string(1, c);
  append_wrapped(out, text, kTextColumn, width);
}

std::string usage_of(const Command& command) {
  std::string usage = command.path();
  if (!command.action()) return usage + " COMMAND [FLAGS]";
  for (const FlagEntry& entry : command.flags()) {
    if (!entry.positional.empty()) {
      usage += entry.flag.is_required ? " " + entry.positional : " [" + entry.positional + "]";
    } else if (entry.flag.is_required) {
      usage += " " + entry.main_name() + " " + entry.flag.value.metavar;
    }
  }
  usage += " [FLAGS]";
  if (!command.commands().empty()) usage += fmt::format(", or {} COMMAND [FLAGS]", command.path());
  return usage;
}

}  // namespace

std::string help_text(const Command& command, int width) {
  const auto columns = static_cast<size_t>(width);
  std::string out;
  append_wrapped(out, command.help() + ".", 0, columns);
  out += "\nUsage: " + usage_of(command) + "\n";
  if (!command.commands().empty()) out += "\nCommands:\n";
  for (const auto& nested : command.commands()) append_row(out, nested->name(), nested->help(), columns);
  const auto append_group = [&](const std::string& title, const auto& is_in) {
    bool is_first = true;
    for (const FlagEntry& entry : command.flags()) {
      if (!is_in(entry)) continue;
      if (is_first) out += "\n" + title + ":\n";
      is_first = false;
      append_row(out, label_of(entry), description_of(entry), columns);
    }
  };
  append_group("Arguments", [](const FlagEntry& entry) { return !entry.positional.empty(); });
  out += "\nFlags:\n";
  append_row(out, "-h, --help", "Print this help", columns);
  std::vector<std::string> titles = {""};
  for (const FlagEntry& entry : command.flags()) {
    if (std::find(titles.begin(), titles.end(), entry.group) == titles.end()) titles.push_back(entry.group);
  }
  for (const std::string& title : titles) {
    const auto is_in = [&](const FlagEntry& entry) { return entry.positional.empty() && entry.group == title; };
    if (!title.empty()) {
      append_group(title, is_in);
      continue;
    }
    for (const FlagEntry& entry : command.flags()) {
      if (is_in(entry)) append_row(out, label_of(entry), description_of(entry), columns);
    }
  }
  if (command.parent() == nullptr) {
    out += fmt::format("\n'{} COMMAND --help' lists the flags of a command.\n", command.name());
  }
  return out;
}

void print_help(const Command& command) { fmt::print("{}", help_text(command, page_width())); }

void print_help_of_all(const Command& program) {
  print_help(program);
  for (const auto& command : program.commands()) {
    fmt::print("\n\n{}\n\n", command->path());
    print_help_of_all(*command);
  }
}

}  // namespace quire
