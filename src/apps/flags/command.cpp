#include "apps/flags/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

FlagEntry entry_of(Flag flag, const FlagGroup& group) {
  FlagEntry entry{.flag = std::move(flag), .group = group.title};
  std::string_view rest = entry.flag.names;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    std::string_view name = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const bool is_off = name.starts_with('!');
    if (is_off) name.remove_prefix(1);
    if (!name.starts_with('-')) {
      entry.positional = name;
      continue;
    }
    entry.names.emplace_back(name);
    if (is_off) entry.off_names.emplace_back(name);
  }
  if (!group.has_environment) return entry;
  entry.environment = "QUIRE_" + entry.main_name().substr(2);
  std::transform(entry.environment.begin(), entry.environment.end(), entry.environment.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return entry;
}

}  // namespace

bool FlagEntry::has_name(std::string_view name) const {
  return (!name.empty() && name == positional) || std::find(names.begin(), names.end(), name) != names.end();
}

std::string FlagEntry::main_name() const {
  const auto is_long = [](const std::string& name) { return name.starts_with("--"); };
  const auto found = std::find_if(names.begin(), names.end(), is_long);
  return found != names.end() ? *found : positional;
}

std::string FlagEntry::label() const { return positional.empty() ? main_name() : positional; }

std::string FlagEntry::default_text() const {
  if (flag.is_required) return "";
  return flag.default_text.empty() ? flag.value.present : flag.default_text;
}

Command& Command::add_command(std::string name, std::string help) {
  Command& command = *commands_.emplace_back(std::make_unique<Command>(std::move(name), std::move(help)));
  command.parent_ = this;
  return command;
}

void Command::add(const FlagGroup& group, std::vector<Flag> flags) {
  for (Flag& flag : flags) {
    FlagEntry entry = entry_of(std::move(flag), group);
    for (const std::string& name : entry.names) CHECK(find_flag(name) == nullptr);
    flags_.push_back(std::move(entry));
  }
}

void Command::make_optional(std::string_view name) {
  for (FlagEntry& entry : flags_) {
    if (entry.has_name(name)) entry.flag.is_required = false;
  }
}

bool Command::was_given(std::string_view name) const {
  const FlagEntry* const entry = find_flag(name);
  return entry != nullptr && !entry->given_as.empty();
}

const FlagEntry* Command::find_flag(std::string_view name) const {
  const auto found =
      std::find_if(flags_.begin(), flags_.end(), [&](const auto& entry) { return entry.has_name(name); });
  return found != flags_.end() ? &*found : nullptr;
}

FlagEntry* Command::find_flag(std::string_view name) {
  return const_cast<FlagEntry*>(std::as_const(*this).find_flag(name));
}

std::string Command::path() const { return parent_ != nullptr ? parent_->path() + " " + name_ : name_; }

const Command* Command::find_command(std::string_view name) const {
  for (const auto& command : commands_) {
    if (command->name() == name) return command.get();
  }
  return nullptr;
}

Command* Command::find_command(std::string_view name) {
  return const_cast<Command*>(std::as_const(*this).find_command(name));
}

void fail_usage(const Command& command, const std::string& message) {
  fail(ErrorCode::kInvalidArgument, "{}\nSee '{} --help'.", message, command.path());
}

}  // namespace quire
