// Command line flags of speculation, for every command that generates.
#pragma once

#include <string>
#include <string_view>

#include "apps/flags/command.h"
#include "drafting/speculation_options.h"
#include "models/runner_options.h"

namespace quire {

struct SpeculationFlags {
  SpeculationOptions options;
  const Command* command = nullptr;

  void add(Command& to);
  // Throws Error kInvalidArgument for an unknown method and for values that do not go together. Without a method and a
  // model nothing is speculated.
  SpeculationOptions resolve() const;
};

// What --speculative-config says, on top of `defaults`: a JSON object under vLLM's names and some of Quire's own, or
// only the name of a method. Throws Error kInvalidArgument naming the key.
SpeculationOptions parse_speculation(std::string_view text, SpeculationOptions defaults = {});

// A draft needs a row of logits of its own, and each path of a tree beside its first a branch. Nothing changes where
// nothing drafts.
void make_room_for_drafts(RunnerOptions& options, const SpeculationOptions& speculation);

// The same for drafts that need no drafter: what the form of an answer is sure of, and predictions. Few rows, which one
// or two sequences of a step may have.
void make_room_for_known_drafts(RunnerOptions& options);

// A row for each key: docs/speculation-use.md has it.
std::string speculation_keys_as_markdown();

}  // namespace quire
