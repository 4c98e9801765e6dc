// The manual page and docs/flags.md.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/flags/help.h"

namespace quire {
namespace {

std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-' || c == '\\') out += '\\';
    out += c;
  }
  if (out.starts_with('.') || out.starts_with('\'')) out = "\\&" + out;
  return out;
}

std::string man_flags(const Command& command) {
  std::string out;
  for (const FlagEntry& entry : command.flags()) {
    std::vector<std::string> names = entry.names;
    if (!entry.positional.empty()) names.insert(names.begin(), entry.positional);
    const std::string metavar = entry.names.empty() ? "" : entry.flag.value.metavar;
    out += fmt::format(".TP\n.B {}{}\n{}", roff(fmt::format("{}", fmt::join(names, ", "))),
                       metavar.empty() ? "" : " " + roff(metavar), roff(entry.flag.help));
    if (const std::string text = entry.default_text(); !text.empty()) out += fmt::format(" (default: {})", roff(text));
    if (!entry.environment.empty()) out += fmt::format(" (environment: {})", roff(entry.environment));
    out += '\n';
  }
  return out;
}

std::string man_commands(const Command& command) {
  std::string out;
  for (const auto& nested : command.commands()) {
    const std::string name = nested->path().substr(nested->path().find(' ') + 1);
    out += fmt::format(".SH COMMAND: {}\n{}.\n{}{}", roff(name), roff(nested->help()), man_flags(*nested),
                       man_commands(*nested));
  }
  return out;
}

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|' || c == '<' || c == '*') out += '\\';
    out += c;
  }
  return out;
}

std::string code(std::string_view text) {
  std::string out = "`";
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out + '`';
}

std::string markdown_row(const FlagEntry& entry) {
  std::vector<std::string> names;
  for (const std::string& name : entry.names) names.push_back(code(name));
  if (!entry.positional.empty()) names.insert(names.begin(), code(entry.positional));
  const std::string metavar = entry.flag.value.metavar;
  std::string row = fmt::format("| {}", fmt::join(names, ", "));
  if (!entry.names.empty() && !metavar.empty()) row += " " + code(metavar);
  const std::string by_default = entry.flag.is_required ? "required" : entry.default_text();
  row += fmt::format(" | {} | {} | {} |\n", cell(entry.flag.help), cell(by_default),
                     entry.environment.empty() ? "" : code(entry.environment));
  return row;
}

void append_markdown(std::string& out, const Command& command) {
  if (!command.flags().empty() || command.action()) {
    out += fmt::format("\n## {}\n\n{}.\n", command.path(), cell(command.help()));
  }
  std::string title = "none yet";
  for (const FlagEntry& entry : command.flags()) {
    if (entry.group != title) {
      title = entry.group;
      out += title.empty() ? "\n" : "\n" + title + "\n\n";
      out += "| flag | what it does | default | environment |\n|---|---|---|---|\n";
    }
    out += markdown_row(entry);
  }
  for (const auto& nested : command.commands()) append_markdown(out, *nested);
}

const char* word_of(PeerMeaning meaning) {
  switch (meaning) {
    case PeerMeaning::kSame: return "the same";
    case PeerMeaning::kNoEffect: return "no effect";
    case PeerMeaning::kRefused: return "refused";
  }
  return "";
}

void append_peers(std::string& out, const Command& program) {
  if (program.peers().empty()) return;
  out +=
      "\n## Flags of llama.cpp and vLLM\n\nEveryday flags of these programs, and what commands that take a MODEL make "
      "of "
      "them. *The same*: it is a name of the\nflag in the last column. *No effect*: accepted, and one line on standard "
      "error says why nothing changes. *Refused*: it\nwould change an answer or break a promise; the message says what "
      "to do instead.\n\n| flag | of | here | |\n|---|---|---|---|\n";
  for (const PeerFlag& peer : program.peers()) {
    std::vector<std::string> names;
    for (const std::string_view name : parts_of(peer.names, ',')) names.push_back(code(name));
    out += fmt::format("| {}{} | {} | {} | {} |\n", fmt::join(names, ", "),
                       peer.value.empty() ? "" : " " + code(peer.value), peer.program, word_of(peer.meaning),
                       cell(peer.answer));
  }
}

constexpr const char* kFlagsIntroduction = R"(# Flags

This page lists every flag of every command; `quire COMMAND --help` shows the same on the terminal. Several names in one
row mean the same. A flag with a variable in the last column can be set by the environment too. `quire man --markdown`
writes this page, and a test compares them.

`--config FILE` reads the flags of a command from a file, as vLLM does: YAML lines `key: value`, where a key is the long
name of a flag without its dashes (`_` reads as `-`). The command line wins over the environment, and the environment
over the file.

```yaml
# quire.yaml, for `quire serve --config quire.yaml`
model: models/SmolLM2-135M-Instruct.Q4_1.gguf
port: 9000
max-num-seqs: 16
api-key: ["first", "second"]   # repeatable flags: in brackets, or one per line after '- '
no-webui: true
```
)";

}  // namespace

std::string man_page(const Command& program) {
  std::string out = fmt::format(".TH QUIRE 1 \"\" \"quire {}\" \"User Commands\"\n", QUIRE_VERSION);
  out += ".ad l\n";  // flags with their names do not break, so a line cannot be stretched to the margin
  out += fmt::format(".SH NAME\nquire \\- {}\n", roff(program.help()));
  out += ".SH SYNOPSIS\n.B quire\n.I COMMAND\n[\n.I flags\n]\n";
  out +=
      ".SH DESCRIPTION\nQuire runs a language model from a Hugging Face directory or a GGUF file, without converting "
      "it. 'quire run demo' talks to a very small model that is part of the program.\n";
  out += ".SH FLAGS\n.TP\n.B \\-h, \\-\\-help\nPrint the help of a command\n" + man_flags(program);
  out += man_commands(program);
  out += ".SH ENVIRONMENT\nEvery flag that names a variable can be set by it; the command line wins.\n";
  out +=
      ".SH EXIT STATUS\n0: done. 1: it could not be done; the message says what was found, what was expected and what "
      "to do. 2: wrong usage.\n";
  out +=
      ".SH EXAMPLES\n.nf\nquire run demo\nquire run model.gguf -p \"Why is the sky blue?\" --stats\n"
      "quire plan model.gguf --ctx-size 32K --sequences 8\nquire serve --config quire.yaml\n.fi\n";
  return out;
}

std::string flags_markdown(const Command& program) {
  std::string out = kFlagsIntroduction;
  append_markdown(out, program);
  append_peers(out, program);
  return out;
}

}  // namespace quire
