#include "drafting/drafters.h"

#include <string>

#include "base/error.h"

namespace quire {

std::span<const DrafterKind> drafter_kinds() { return {}; }

std::unique_ptr<Drafter> make_drafter(const SpeculationOptions& options) {
  std::string names;
  for (const DrafterKind& kind : drafter_kinds()) {
    if (kind.name == options.method) return kind.make(options);
    names += names.empty() ? kind.name : ", " + std::string(kind.name);
  }
  fail(ErrorCode::kInvalidArgument, "unknown method of speculation \"{}\"; known: {}", options.method, names);
}

}  // namespace quire
