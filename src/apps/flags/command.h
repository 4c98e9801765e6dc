// The command line as a table: a program is a tree of commands, a command is a list of flags. The table alone says what
// is parsed, from the command line, the environment or a file, and what --help, the manual page, docs/flags.md and the
// shells' completions say. Built once at start, used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/flags/peer_flag.h"

namespace quire {

// What the text behind a flag becomes; flags/values.h makes them.
struct FlagValue {
  std::string metavar = {};   // "N", "FILE": what help calls the text; empty for a switch
  std::string expected = {};  // "a whole number from 1 to 1024": what a message asks for
  // Stores the text; false when it is not what is expected. May throw Error with a message of its own.
  std::function<bool(std::string_view)> parse = {};
  std::function<void()> clear = {};       // of repeatable flags: before the first value, removes the default
  std::function<void()> instead = {};     // of switches such as --version: runs in place of the command
  std::string present = {};               // the value when the flag was declared: its default; empty: none
  std::vector<std::string> choices = {};  // all texts that are accepted, where they can be listed
  int count = 1;                          // texts behind one mention
  bool is_switch = false;                 // takes no text; parse gets "true" or "false"
  bool takes_table = false;               // the text may be a JSON object, in a file a table
  bool takes_row = false;  // words right behind the text are more of it, once MODEL and the like are given
};

struct Flag {
  // "-t,--threads"; capitals name a positional argument; "!--no-x" is a name that turns a switch off.
  std::string names;
  FlagValue value;
  std::string help;               // one sentence without its full stop and without the default
  std::string default_text = {};  // instead of value.present
  std::string excludes = {};      // the long name, or the positional one, of a flag that must not stand beside this
  std::string example = {};       // of a required flag: a value that always works
  bool is_required = false;
};

struct FlagGroup {
  std::string title = {};        // the heading in help
  bool has_environment = false;  // each flag can be set by QUIRE_<LONG_NAME>; the command line wins
};

// A flag of the table, its names taken apart.
struct FlagEntry {
  Flag flag;
  std::string group;
  std::vector<std::string> names = {};      // with dashes, in the order of the declaration; the turning-off ones too
  std::vector<std::string> off_names = {};  // those of them that turn a switch off
  std::string positional = {};              // "MODEL", or empty
  std::string environment = {};             // "QUIRE_THREADS", or empty
  // The name that was typed, the environment variable, or the place in a file; empty: not given.
  std::string given_as = {};

  bool has_name(std::string_view name) const;  // dashes included, or the positional one
  // The first long name, or else the positional one.
  std::string main_name() const;
  std::string label() const;  // of a message that no typed name fits: the positional name, or else main_name()
  std::string default_text() const;
};

class Command {
 public:
  // `help`: one sentence without its full stop.
  Command(std::string name, std::string help) : name_(std::move(name)), help_(std::move(help)) {}
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  Command& add_command(std::string name, std::string help);
  void add(const FlagGroup& group, std::vector<Flag> flags);
  void add(std::vector<Flag> flags) { add(FlagGroup{}, std::move(flags)); }
  // Lets a flag that is there be left out, and another stand in its place.
  void make_optional(std::string_view name);
  void on_run(std::function<void()> action) { action_ = std::move(action); }

  // Of the flag with this long name; false for one that the command does not have.
  bool was_given(std::string_view name) const;

  // Of the program: what its commands that take a MODEL say to flags of other programs. The rows must outlive it.
  void know_peers(std::span<const PeerFlag> peers) { peers_ = peers; }

  // Parses the words behind the program's name into the values of the table, then runs the command they name; or prints
  // help. The program's own flags may stand anywhere. A flag that no word names is looked for in the environment, then
  // in the file that --config names, if the program has that flag (config_file.h). Throws Error: for wrong usage
  // kInvalidArgument, with a hint where to read on.
  void run(const std::vector<std::string>& words);

  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  std::string path() const;  // "quire bench kernel"
  const Command* parent() const { return parent_; }
  const std::vector<std::unique_ptr<Command>>& commands() const { return commands_; }
  const Command* find_command(std::string_view name) const;  // null: there is none
  Command* find_command(std::string_view name);
  const FlagEntry* find_flag(std::string_view name) const;  // by any of its names; null: there is none
  FlagEntry* find_flag(std::string_view name);
  const std::vector<FlagEntry>& flags() const { return flags_; }
  std::vector<FlagEntry>& flags() { return flags_; }
  const std::function<void()>& action() const { return action_; }
  std::span<const PeerFlag> peers() const { return peers_; }

 private:
  std::string name_;
  std::string help_;
  const Command* parent_ = nullptr;
  std::vector<std::unique_ptr<Command>> commands_;
  std::vector<FlagEntry> flags_;
  std::function<void()> action_;
  std::span<const PeerFlag> peers_;
};

// An Error for wrong usage of a command; names its help.
[[noreturn]] void fail_usage(const Command& command, const std::string& message);
// For a word that names none of the command's commands.
[[noreturn]] void fail_unknown_command(const Command& command, const std::string& word);

}  // namespace quire
