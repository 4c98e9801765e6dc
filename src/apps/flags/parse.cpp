// Command::run: the one place that knows the parsing library. CLI11 gets every name of a flag as an option of its own,
// so it tells which name the user typed; what words mean, which flags go together and all messages are Quire's.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <map>
#include <vector>

#include "apps/flags/command.h"
#include "apps/flags/help.h"
#include "apps/flags/suggestion.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr const char* kHelpNames[] = {"-h", "--help"};

std::vector<std::string> command_names(const Command& command) {
  std::vector<std::string> names;
  for (const auto& nested : command.commands()) names.push_back(nested->name());
  return names;
}

// One mention of a flag: the name as it was typed, or the environment variable, and its texts.
struct Mention {
  std::string name;
  std::vector<std::string> texts;
};

class Parser {
 public:
  explicit Parser(Command& program) { chain_.push_back({&program, &app_}); }

  void run(std::vector<std::string> typed) {
    Command& program = *chain_[0].command;
    add_to(app_, program);
    read(typed);
    for (Link link = chain_[0]; !link.app->get_subcommands().empty();) {
      CLI::App* const app = link.app->get_subcommands()[0];
      link = {commands_.at(app), app};
      chain_.push_back(link);
    }
    const Command& chosen = *chain_.back().command;
    if (wants_help(typed)) return print_help(chosen);
    for (const Link& link : chain_) refuse_unknown(link);
    for (const Link& link : chain_) {
      if (const auto action = find_instead(link)) return action();
    }
    for (const Link& link : chain_) take_values(link);
    if (!chosen.action()) {
      fail_usage(chosen, fmt::format("no command is given; commands are {}", fmt::join(command_names(chosen), ", ")));
    }
    for (const Link& link : chain_) check_together(*link.command);
    chosen.action()();
  }

 private:
  struct Link {
    Command* command;
    CLI::App* app;
  };
  struct Owner {
    FlagEntry* entry;
    std::string name;
  };

  void add_to(CLI::App& app, Command& command) {
    commands_[&app] = &command;
    app.set_help_flag();  // ours is in no table, for every command has it
    app.allow_extras();
    app.require_subcommand(0, 1);
    for (const char* name : kHelpNames) help_options_.push_back(app.add_flag(name));
    for (FlagEntry& entry : command.flags()) {
      for (const std::string& name : entry.names) add_option(app, entry, name);
      if (!entry.positional.empty()) add_option(app, entry, entry.positional);
    }
    for (const auto& nested : command.commands()) add_to(*app.add_subcommand(nested->name()), *nested);
  }

  void add_option(CLI::App& app, FlagEntry& entry, const std::string& name) {
    CLI::Option* const option =
        entry.flag.value.is_switch ? app.add_flag(name) : app.add_option(name)->expected(entry.flag.value.count);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    owners_[option] = {&entry, name};
  }

  void read(std::vector<std::string> typed) {
    std::reverse(typed.begin(), typed.end());  // as CLI11 wants them
    try {
      app_.parse(std::move(typed));
    } catch (const CLI::ArgumentMismatch& error) {  // "--port: 1 required TEXT missing"
      const std::string what = error.what();
      const CLI::App* app = &app_;
      while (!app->get_subcommands().empty()) app = app->get_subcommands()[0];
      fail_usage(*commands_.at(app), fmt::format("{} needs a value", what.substr(0, what.find(':'))));
    }
  }

  bool wants_help(const std::vector<std::string>& typed) const {
    if (std::none_of(help_options_.begin(), help_options_.end(),
                     [](const auto* option) { return option->count() > 0; }))
      return false;
    // CLI11 reads "-hf" as "-h -f".
    const auto is_glued = [](const std::string& word) { return word.size() > 2 && word.starts_with("-h"); };
    const auto is_plain = [](const std::string& word) { return word == kHelpNames[0] || word == kHelpNames[1]; };
    const auto glued = std::find_if(typed.begin(), typed.end(), is_glued);
    if (glued == typed.end() || std::any_of(typed.begin(), typed.end(), is_plain)) return true;
    fail_usage(*chain_.back().command, unknown_flags(*chain_.back().command, {*glued}));
  }

  static bool is_of_program(const Command& command, const std::string& name) {
    const Command* program = &command;
    while (program->parent() != nullptr) program = program->parent();
    return program->find_flag(name) != nullptr;
  }

  static std::string unknown_flags(const Command& command, const std::vector<std::string>& words) {
    std::vector<std::string> names = {kHelpNames[1]};
    for (const FlagEntry& entry : command.flags()) names.insert(names.end(), entry.names.begin(), entry.names.end());
    std::string message = words.size() == 1 ? "unknown flag " : "unknown flags ";
    for (size_t i = 0; i < words.size(); ++i) {
      const std::string name = words[i].substr(0, words[i].find('='));
      message += (i > 0 ? ", " : "") + printable(name, 40);
      if (is_of_program(command, name)) {
        message += fmt::format(" (it goes before '{}')", command.name());
        continue;
      }
      const std::string nearest = suggestion(name, names);
      if (!nearest.empty()) message += fmt::format(" (did you mean {}?)", nearest);
    }
    return message;
  }

  static void refuse_unknown(const Link& link) {
    std::vector<std::string> flags;
    std::vector<std::string> words;
    for (const std::string& word : link.app->remaining()) {
      if (word == "--") continue;
      (word.size() > 1 && word[0] == '-' ? flags : words).push_back(word);
    }
    if (!flags.empty()) fail_usage(*link.command, unknown_flags(*link.command, flags));
    if (words.empty()) return;
    if (!link.command->action()) fail_unknown_command(*link.command, words[0]);
    for (std::string& word : words) word = "'" + printable(word, 40) + "'";
    fail_usage(*link.command,
               fmt::format("{} {} not expected here", fmt::join(words, ", "), words.size() == 1 ? "is" : "are"));
  }

  std::function<void()> find_instead(const Link& link) const {
    for (const CLI::Option* option : link.app->parse_order()) {
      const auto owner = owners_.find(option);
      if (owner != owners_.end() && owner->second.entry->flag.value.instead) {
        return owner->second.entry->flag.value.instead;
      }
    }
    return nullptr;
  }

  // In the order of the command line; then flags that only the environment mentions.
  void take_values(const Link& link) {
    std::map<FlagEntry*, std::vector<Mention>> mentions;
    std::map<const CLI::Option*, size_t> num_read;
    for (const CLI::Option* option : link.app->parse_order()) {
      const auto owner = owners_.find(option);
      if (owner == owners_.end()) continue;
      const auto& [entry, name] = owner->second;
      std::vector<Mention>& those = mentions[entry];
      const auto per_mention = static_cast<size_t>(entry->flag.value.count);
      size_t& at = num_read[option];
      if (at % per_mention == 0) those.push_back({name, {}});
      those.back().texts.push_back(option->results().at(at++));
    }
    for (FlagEntry& entry : link.command->flags()) {
      std::vector<Mention>& those = mentions[&entry];
      const char* text = entry.environment.empty() ? nullptr : std::getenv(entry.environment.c_str());
      if (those.empty() && text != nullptr && *text != '\0') those.push_back({entry.environment, {text}});
      entry.given_as = those.empty() ? "" : those[0].name;
      if (!those.empty()) store(*link.command, entry, those);
    }
  }

  static void store(const Command& command, const FlagEntry& entry, const std::vector<Mention>& mentions) {
    const FlagValue& value = entry.flag.value;
    const bool is_repeatable = value.is_switch || (value.clear && value.count == 1);
    if (mentions.size() > 1 && !is_repeatable) {
      const auto& [first, second] = std::pair(mentions[0].name, mentions[1].name);
      fail_usage(command, first == second ? fmt::format("{} is given twice; give it once", first)
                                          : fmt::format("{} and {} are the same; give one of them", first, second));
    }
    if (value.clear) value.clear();
    for (const auto& [name, texts] : mentions) {
      if (static_cast<int>(texts.size()) != value.count) {
        fail_usage(command, fmt::format("{} needs {} values, found {}", name, value.count, texts.size()));
      }
      const bool is_off = std::find(entry.off_names.begin(), entry.off_names.end(), name) != entry.off_names.end();
      for (const std::string& text : texts) {
        const std::string meant = is_off && text == "true" ? "false" : is_off && text == "false" ? "true" : text;
        if (value.parse(meant)) continue;
        fail_usage(command, fmt::format("{} is '{}'; expected {}", name, printable(text, 40), value.expected));
      }
    }
  }

  static void check_together(const Command& command) {
    for (const FlagEntry& entry : command.flags()) {
      if (entry.flag.is_required && entry.given_as.empty()) {
        fail_usage(command, entry.main_name() + " is required" + example_of(command, entry));
      }
      const FlagEntry* const excluded = command.find_flag(entry.flag.excludes);
      if (!entry.given_as.empty() && excluded != nullptr && !excluded->given_as.empty()) {
        fail_usage(command,
                   fmt::format("{} and {} exclude each other; give one of them", excluded->given_as, entry.given_as));
      }
    }
  }

  static std::string example_of(const Command& command, const FlagEntry& entry) {
    if (entry.flag.example.empty()) return "";
    return fmt::format(", for example '{} {}'", command.path(), entry.flag.example);
  }

  CLI::App app_;
  std::vector<Link> chain_;  // from the program to the command that runs
  std::map<const CLI::App*, Command*> commands_;
  std::map<const CLI::Option*, Owner> owners_;
  std::vector<const CLI::Option*> help_options_;
};

}  // namespace

void fail_unknown_command(const Command& command, const std::string& word) {
  const std::vector<std::string> names = command_names(command);
  const std::string nearest = suggestion(word, names);
  fail_usage(command,
             fmt::format("unknown command '{}'{}; commands are {}", printable(word, 40),
                         nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest), fmt::join(names, ", ")));
}

void Command::run(const std::vector<std::string>& words) { Parser(*this).run(words); }

}  // namespace quire
