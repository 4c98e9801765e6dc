// The list of drafters.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "drafting/drafter.h"
#include "drafting/speculation_options.h"

namespace quire {

struct DrafterKind {
  std::string_view name;     // SpeculationOptions::method
  std::string_view summary;  // a line for --help
  std::unique_ptr<Drafter> (*make)(const SpeculationOptions& options);
};

// Drafters that need no model of their own.
std::span<const DrafterKind> drafter_kinds();
// Throws Error kInvalidArgument with the list of names.
std::unique_ptr<Drafter> make_drafter(const SpeculationOptions& options);

}  // namespace quire
