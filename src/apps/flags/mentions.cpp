#include "apps/flags/mentions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "apps/flags/config_file.h"
#include "apps/flags/suggestion.h"
#include "base/error.h"

namespace quire {
namespace {

bool is_help(std::string_view word) { return word == "-h" || word == "--help"; }

// The flag of another program, if the command is one whose flags people bring along: one that takes a model.
const PeerFlag* find_peer(const Command& program, const Command& command, std::string_view name) {
  if (command.find_flag("MODEL") == nullptr) return nullptr;
  const std::span<const PeerFlag> peers = program.peers();
  const auto found = std::find_if(peers.begin(), peers.end(), [&](const PeerFlag& peer) {
    return peer.meaning != PeerMeaning::kSame && peer.has_name(name);
  });
  return found != peers.end() ? &*found : nullptr;
}

void answer_peer(CommandLine& line, const PeerFlag& peer, const std::string& shown) {
  if (peer.meaning == PeerMeaning::kRefused) fail_usage(*line.chosen, fmt::format("{}: {}", shown, peer.answer));
  line.notes.push_back(fmt::format("{} has no effect: {}", shown, peer.answer));
}

class WordReader {
 public:
  WordReader(Command& program, const std::vector<std::string>& words)
      : words_(words), line_{.program = &program, .chosen = &program} {}

  CommandLine read() {
    bool only_words = false;  // behind "--"
    while (at_ < words_.size()) {
      const std::string& word = words_[at_++];
      if (!only_words && word == "--") {
        only_words = true;
      } else if (!only_words && word.size() > 1 && word[0] == '-') {
        read_flag(word);
      } else if (!enter_command(word) && !continue_row(word)) {
        line_.words.push_back(word);
        if (!line_.chosen->action()) break;  // no command has this name: what follows means nothing
      }
    }
    return std::move(line_);
  }

 private:
  FlagEntry* find(std::string_view name) const {
    FlagEntry* const entry = line_.chosen->find_flag(name);
    return entry != nullptr ? entry : line_.program->find_flag(name);
  }

  bool enter_command(const std::string& word) {
    Command* const nested = line_.words.empty() ? line_.chosen->find_command(word) : nullptr;
    if (nested == nullptr) return false;
    // Flags before the word were read as the outer command's.
    for (Mention& mention : line_.mentions) {
      if (line_.program->find_flag(mention.name) == mention.entry) continue;
      mention.entry = nested->find_flag(mention.name);
      if (mention.entry == nullptr) fail_unknown_flags(*nested, {mention.name});
    }
    line_.chosen = nested;
    return true;
  }

  // A word behind the texts of a flag that takes many, when no positional argument waits for it.
  bool continue_row(const std::string& word) {
    if (line_.mentions.empty() || row_end_ + 1 != at_ || !line_.mentions.back().entry->flag.value.takes_row)
      return false;
    const auto is_given = [&](const FlagEntry& entry) {
      return std::any_of(line_.mentions.begin(), line_.mentions.end(),
                         [&](const Mention& mention) { return mention.entry == &entry; });
    };
    const std::vector<FlagEntry>& flags = line_.chosen->flags();
    const auto num_wanted = std::count_if(flags.begin(), flags.end(), [&](const FlagEntry& entry) {
      return !entry.positional.empty() && !is_given(entry);
    });
    if (static_cast<std::ptrdiff_t>(line_.words.size()) < num_wanted) return false;
    Mention more = line_.mentions.back();
    more.texts = {word};
    line_.mentions.push_back(std::move(more));
    row_end_ = at_;
    return true;
  }

  void read_flag(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    std::vector<std::string> texts;
    if (equals != std::string::npos) texts.push_back(word.substr(equals + 1));
    if (is_help(name)) {
      line_.wants_help = true;
    } else if (FlagEntry* const entry = find(name)) {
      add(*entry, name, std::move(texts));
    } else if (const PeerFlag* const peer = find_peer(*line_.program, *line_.chosen, name)) {
      if (texts.empty() && at_ < words_.size() && !is_name(words_[at_]) && peer->takes(words_[at_])) ++at_;
      answer_peer(line_, *peer, name);
    } else if (!read_glued(word) && !read_glued_peer(word)) {
      line_.unknown.push_back(name);
    }
  }

  // "-t8": only numbers, so that a mistyped flag is not read as the value of another.
  bool read_glued(const std::string& word) {
    const bool is_number = word.size() > 2 && word[1] != '-' &&
                           (std::isdigit(static_cast<unsigned char>(word[2])) != 0 || word[2] == '-' || word[2] == '.');
    FlagEntry* const entry = is_number ? find(word.substr(0, 2)) : nullptr;
    if (entry == nullptr || entry->flag.value.is_switch) return false;
    add(*entry, word.substr(0, 2), {word.substr(2)});
    return true;
  }

  // "-O3"
  bool read_glued_peer(const std::string& word) {
    const std::string name = word.substr(0, word.find_first_of("0123456789"));
    const PeerFlag* const peer = find_peer(*line_.program, *line_.chosen, name);
    if (peer == nullptr || name == word || name.starts_with("--") || !peer->takes(word.substr(name.size())))
      return false;
    answer_peer(line_, *peer, name);
    return true;
  }

  void add(FlagEntry& entry, const std::string& name, std::vector<std::string> texts) {
    const FlagValue& value = entry.flag.value;
    if (value.is_switch) {
      if (texts.empty()) texts.emplace_back("true");
    } else {
      const auto wanted = static_cast<size_t>(value.count);
      while (texts.size() < wanted && at_ < words_.size() && !is_name(words_[at_])) texts.push_back(words_[at_++]);
      if (texts.empty() && !line_.wants_help) fail_usage(*line_.chosen, fmt::format("{} needs a value", name));
    }
    line_.mentions.push_back({&entry, name, name, std::move(texts)});
    row_end_ = at_;
  }

  bool is_name(const std::string& word) const {
    if (!word.starts_with('-')) return false;
    const std::string name = word.substr(0, word.find('='));
    return is_help(name) || find(name) != nullptr || find_peer(*line_.program, *line_.chosen, name) != nullptr;
  }

  const std::vector<std::string>& words_;
  size_t at_ = 0;
  size_t row_end_ = 0;  // behind the last mention's texts
  CommandLine line_;
};

// A command that has the flag; null: there is none.
const Command* find_owner(const Command& command, const std::string& name) {
  if (command.find_flag(name) != nullptr) return &command;
  for (const auto& nested : command.commands()) {
    if (const Command* const owner = find_owner(*nested, name)) return owner;
  }
  return nullptr;
}

void append_names(std::vector<std::string>& names, const Command& command) {
  for (const FlagEntry& entry : command.flags()) names.insert(names.end(), entry.names.begin(), entry.names.end());
}

// " (did you mean --port?)", or where the flag belongs; empty when nothing is like it.
std::string hint_for(const Command& command, const std::string& name) {
  const Command* program = &command;
  while (program->parent() != nullptr) program = program->parent();
  if (const Command* const owner = find_owner(*program, name)) return fmt::format(" (a flag of '{}')", owner->path());
  std::vector<std::string> names = {"--help"};
  append_names(names, command);
  if (program != &command) append_names(names, *program);
  const std::string nearest = suggestion(name, names);
  return nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest);
}

}  // namespace

CommandLine read_words(Command& program, const std::vector<std::string>& words) {
  return WordReader(program, words).read();
}

void fail_unknown_flags(const Command& command, const std::vector<std::string>& names) {
  std::string message = names.size() == 1 ? "unknown flag " : "unknown flags ";
  for (size_t i = 0; i < names.size(); ++i) {
    message += (i > 0 ? ", " : "") + printable(names[i], 40) + hint_for(command, names[i]);
  }
  fail_usage(command, message);
}

std::vector<Mention> read_config_mentions(CommandLine& line, const std::string& path) {
  std::vector<Mention> mentions;
  for (const ConfigEntry& found : read_config_file(path)) {
    const std::string shown = fmt::format("{}:{}: {}", printable(path), found.line, found.key);
    std::string name = "--" + found.key;
    std::replace(name.begin(), name.end(), '_', '-');
    FlagEntry* entry = line.chosen->find_flag(name);
    if (entry == nullptr) entry = line.program->find_flag(name);
    if (entry == nullptr) {
      const PeerFlag* const peer = find_peer(*line.program, *line.chosen, name);
      if (peer == nullptr) {
        fail_usage(*line.chosen, shown + " is not a flag of this command" + hint_for(*line.chosen, name));
      }
      answer_peer(line, *peer, shown);
      continue;
    }
    const FlagValue& value = entry->flag.value;
    if (value.instead || name == "--config") fail_usage(*line.chosen, shown + " belongs on the command line");
    if (!found.table.empty()) {
      if (!value.takes_table) fail_usage(*line.chosen, shown + " is not a table; write 'key: value' in one line");
      mentions.push_back({entry, name, shown, {json::serialize(found.table)}});
      continue;
    }
    if (found.texts.empty()) fail_usage(*line.chosen, shown + " needs a value");
    if (value.count > 1) {
      mentions.push_back({entry, name, shown, found.texts});
      continue;
    }
    for (const std::string& text : found.texts) mentions.push_back({entry, name, shown, {text}});
  }
  return mentions;
}

}  // namespace quire
