// How the engine speculates: which drafter, how many drafts, and which of them hold.
#pragma once

#include <cstdint>
#include <string>

namespace quire {

// Which drafts hold. kExact: those that the target model would have chosen itself, so that drafts change no answer.
// kTypical: those that are typical of its distribution (Medusa, arXiv 2401.10774); faster, and another distribution.
enum class DraftAcceptance : uint8_t { kExact, kTypical };

struct SpeculationOptions {
  std::string method = {};       // a name of drafters.h; empty: no speculation
  std::string model = {};        // checkpoint of the drafter, where it has one
  int max_drafts = 15;           // tokens drafted for one sequence in a step; it has 16 rows then
  int min_drafts = 0;            // propose none rather than fewer
  float min_probability = 0.0f;  // a drafter that knows probabilities stops at a token below this
  // From acceptance so far and the cost model: fewer drafts where they do not pay. Off: always max_drafts.
  bool adaptive = true;

  // ngram: lengths of the suffix that is looked up in the prompt and the output.
  int ngram_max = 5;
  int ngram_min = 1;

  // suffix: the store of earlier answers.
  int64_t suffix_max_tokens = int64_t{1} << 18;  // in the store; 0: none is kept
  int suffix_max_depth = 24;                     // of the context that is matched
  float suffix_factor = 4.0f;                    // at most this many drafts for each matched token
  float suffix_min_probability = 0.1f;           // by frequency

  // lookahead (arXiv 2402.02057)
  int lookahead_window = 8;
  int lookahead_ngram = 4;
  int lookahead_guesses = 8;

  // Trees of drafters that know alternatives.
  bool tree = true;

  DraftAcceptance acceptance = DraftAcceptance::kExact;
  float typical_threshold = 0.09f;
  float typical_alpha = 0.3f;
};

}  // namespace quire
