// Command::run: words to the values of the table.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "apps/flags/command.h"
#include "apps/flags/help.h"
#include "apps/flags/mentions.h"
#include "apps/flags/suggestion.h"
#include "base/error.h"

namespace quire {
namespace {

std::vector<std::string> command_names(const Command& command) {
  std::vector<std::string> names;
  for (const auto& nested : command.commands()) names.push_back(nested->name());
  return names;
}

void refuse_words(const Command& command, std::vector<std::string> words) {
  for (std::string& word : words) word = "'" + printable(word, 40) + "'";
  fail_usage(command, fmt::format("{} {} not expected here", fmt::join(words, ", "), words.size() == 1 ? "is" : "are"));
}

// Gives words that are no flags to the positional arguments that no flag gave, in their order; to one that takes a row
// all that are left.
void place_words(CommandLine& line) {
  auto next = line.words.begin();
  for (FlagEntry& entry : line.chosen->flags()) {
    if (entry.positional.empty() || next == line.words.end()) continue;
    const bool is_given = std::any_of(line.mentions.begin(), line.mentions.end(),
                                      [&](const Mention& mention) { return mention.entry == &entry; });
    if (is_given) continue;
    do {
      line.mentions.push_back({&entry, entry.positional, entry.positional, {*next++}});
    } while (entry.flag.value.takes_row && next != line.words.end());
  }
  if (next != line.words.end()) refuse_words(*line.chosen, {next, line.words.end()});
}

// Stores the text of every mention of one flag.
void store(const Command& command, const FlagEntry& entry, const std::vector<Mention>& mentions) {
  const FlagValue& value = entry.flag.value;
  const bool is_repeatable = value.is_switch || (value.clear && value.count == 1);
  if (mentions.size() > 1 && !is_repeatable) {
    const auto& [first, second] = std::pair(mentions[0].shown, mentions[1].shown);
    fail_usage(command, first == second ? fmt::format("{} is given twice; give it once", first)
                                        : fmt::format("{} and {} are the same; give one of them", first, second));
  }
  if (value.clear) value.clear();
  for (const Mention& mention : mentions) {
    if (static_cast<int>(mention.texts.size()) != value.count) {
      fail_usage(command,
                 fmt::format("{} needs {} values, found {}", mention.shown, value.count, mention.texts.size()));
    }
    const auto& off = entry.off_names;
    const bool is_off = std::find(off.begin(), off.end(), mention.name) != off.end();
    for (const std::string& text : mention.texts) {
      const std::string meant = is_off && text == "true" ? "false" : is_off && text == "false" ? "true" : text;
      if (value.parse(meant)) continue;
      fail_usage(command, fmt::format("{} is '{}'; expected {}", mention.shown, printable(text, 40), value.expected));
    }
  }
}

class ValueTaker {
 public:
  explicit ValueTaker(CommandLine& line) : line_(line) {
    FlagEntry* const config = line.program->find_flag("--config");
    if (config == nullptr) return;
    const std::vector<Mention> named = mentions_of(*config);
    if (!named.empty()) from_file_ = read_config_mentions(line, named.back().texts.at(0));
  }

  void take(Command& command) const {
    for (FlagEntry& entry : command.flags()) {
      const std::vector<Mention> mentions = mentions_of(entry);
      entry.given_as = mentions.empty() ? "" : mentions[0].shown;
      if (!mentions.empty()) store(*line_.chosen, entry, mentions);
    }
  }

 private:
  // The command line wins over the environment, and that over the file.
  std::vector<Mention> mentions_of(FlagEntry& entry) const {
    const auto of = [&](const std::vector<Mention>& all) {
      std::vector<Mention> found;
      std::copy_if(all.begin(), all.end(), std::back_inserter(found),
                   [&](const Mention& mention) { return mention.entry == &entry; });
      return found;
    };
    std::vector<Mention> found = of(line_.mentions);
    if (!found.empty()) return found;
    const char* const text = entry.environment.empty() ? nullptr : std::getenv(entry.environment.c_str());
    if (text != nullptr && *text != '\0') return {{&entry, entry.environment, entry.environment, {text}}};
    return of(from_file_);
  }

  CommandLine& line_;
  std::vector<Mention> from_file_;
};

void check_together(const Command& command) {
  for (const FlagEntry& entry : command.flags()) {
    if (entry.flag.is_required && entry.given_as.empty()) {
      const std::string& example = entry.flag.example;
      fail_usage(command, entry.label() + " is required" +
                              (example.empty() ? "" : fmt::format(", for example '{} {}'", command.path(), example)));
    }
    const FlagEntry* const excluded = command.find_flag(entry.flag.excludes);
    if (!entry.given_as.empty() && excluded != nullptr && !excluded->given_as.empty()) {
      fail_usage(command,
                 fmt::format("{} and {} exclude each other; give one of them", excluded->given_as, entry.given_as));
    }
  }
}

const std::function<void()>* find_instead(const CommandLine& line) {
  for (const Mention& mention : line.mentions) {
    if (mention.entry->flag.value.instead) return &mention.entry->flag.value.instead;
  }
  return nullptr;
}

}  // namespace

void fail_unknown_command(const Command& command, const std::string& word) {
  const std::vector<std::string> names = command_names(command);
  const std::string nearest = suggestion(word, names);
  fail_usage(command,
             fmt::format("unknown command '{}'{}; commands are {}", printable(word, 40),
                         nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest), fmt::join(names, ", ")));
}

void Command::run(const std::vector<std::string>& words) {
  CommandLine line = read_words(*this, words);
  Command& chosen = *line.chosen;
  if (line.wants_help) return print_help(chosen);
  if (!line.unknown.empty()) fail_unknown_flags(chosen, line.unknown);
  if (!chosen.action() && !line.words.empty()) fail_unknown_command(chosen, line.words[0]);
  place_words(line);
  if (const auto* const action = find_instead(line)) return (*action)();
  if (!chosen.action()) {
    fail_usage(chosen, fmt::format("no command is given; commands are {}", fmt::join(command_names(chosen), ", ")));
  }
  const ValueTaker taker(line);
  taker.take(*this);
  if (&chosen != this) taker.take(chosen);
  check_together(chosen);
  for (const std::string& note : line.notes) fmt::print(stderr, "quire: {}\n", note);
  chosen.action()();
}

}  // namespace quire
