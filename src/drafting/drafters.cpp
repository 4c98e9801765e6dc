#include "drafting/drafters.h"

#include <string>

#include "base/error.h"
#include "drafting/auto.h"
#include "drafting/lookahead.h"
#include "drafting/ngram.h"
#include "drafting/suffix.h"

namespace quire {
namespace {

constexpr DrafterKind kKinds[] = {
    {"ngram", "what followed the last tokens before, in the prompt or the answer", make_ngram_drafter},
    {"suffix", "what followed them most often, in this answer or earlier ones", make_suffix_drafter},
    {"lookahead", "n-grams that the model itself makes beside its answer", make_lookahead_drafter},
    {"auto", "ngram, then suffix: for each answer what has been accepted", make_auto_drafter},
};

}  // namespace

std::span<const DrafterKind> drafter_kinds() { return kKinds; }

std::unique_ptr<Drafter> make_drafter(const SpeculationOptions& options) {
  std::string names;
  for (const DrafterKind& kind : drafter_kinds()) {
    if (kind.name == options.method) return kind.make(options);
    names += names.empty() ? kind.name : ", " + std::string(kind.name);
  }
  fail(ErrorCode::kInvalidArgument, "unknown method of speculation \"{}\"; known: {}", options.method, names);
}

}  // namespace quire
