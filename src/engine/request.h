// A request to the engine, and the events that come back, token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "decoding/sampler.h"
#include "decoding/sampling_params.h"
#include "decoding/token_constraint.h"
#include "engine/beam_search.h"
#include "models/pooling.h"

namespace quire {

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids, at least one
  SamplingParams sampling;
  int64_t max_tokens = -1;              // generated tokens; -1: up to the context's end; 0: only prompt_logprobs
  int num_choices = 1;                  // parallel samples of one prompt, which share its KV blocks
  int first_choice = 0;                 // its number: the choices of one seed may come in several requests
  std::vector<int32_t> eog_ids;         // the model's end-of-generation tokens
  std::vector<int32_t> stop_token_ids;  // the caller's further stop tokens
  bool ignore_eos = false;              // eog_ids do not stop
  // >= 0: log probabilities of the prompt's own tokens, each with this many alternatives, in the first event.
  int num_prompt_logprobs = -1;
  Pooling pooling = Pooling::kNone;  // of an embedding request

  // On: the num_choices best answers that beam search finds, at its end. No step of `sampling` applies, only its number
  // of log probabilities.
  BeamOptions beam = {};

  // What the answer's tokens may be; null: anything.
  std::shared_ptr<const ConstraintSource> constraint;

  // Speculation: it changes the speed of an answer only (drafting/drafter.h).
  int max_drafts = -1;              // tokens drafted for a step; -1: as the engine does; 0: none
  std::vector<int32_t> prediction;  // what the answer is expected to be: drafts come from it first

  // For the scheduler.
  int32_t priority = 0;      // lower runs earlier (policy "priority")
  std::string tenant;        // the tenant that is charged for the work (policy "fair"); never shown
  std::string cache_salt;    // prompts share cached KV blocks only under an equal salt
  bool shares_cache = true;  // off: the request neither uses cached blocks nor publishes its own
  double timeout_ms = 0.0;   // from arrival to the last token; 0: none
};

enum class FinishReason : uint8_t {
  kNone,        // not finished
  kStop,        // an end-of-generation or stop token, or the constraint is complete
  kLength,      // max_tokens or the context's end
  kCancelled,   // by the caller
  kTimeout,     // timeout_ms passed
  kError,       // the model produced NaN or infinity for this sequence
  kAborted,     // its step threw, or the engine has stopped
  kConstraint,  // the request's constraint allows no token, or it failed
};

const char* name(FinishReason reason);

// Milliseconds on the engine's clock.
struct RequestTiming {
  double arrival_ms = 0.0;
  double first_scheduled_ms = 0.0;
  double first_token_ms = 0.0;
  double last_token_ms = 0.0;
};

// Of one answer.
struct DraftCounts {
  int64_t num_verified = 0;  // drafts that the model has verified
  int64_t num_accepted = 0;  // of these, those that hold
  // Those of both that came from the request's prediction.
  int64_t num_predicted = 0;
  int64_t num_predicted_accepted = 0;

  void add(const DraftCounts& other) {
    num_verified += other.num_verified;
    num_accepted += other.num_accepted;
    num_predicted += other.num_predicted;
    num_predicted_accepted += other.num_predicted_accepted;
  }
};

struct OutputEvent {
  int choice = 0;
  bool has_token = false;
  bool is_stop_token = false;      // the token ended the sequence and does not belong to the text
  bool is_accepted_draft = false;  // the token was drafted: the step that verified it chose a later one too
  double time_ms = 0.0;            // when the token was sampled, on the engine's clock
  SampledToken token;
  FinishReason finish = FinishReason::kNone;
  std::string error = {};         // why, of kConstraint
  int64_t num_cached_tokens = 0;  // of the prompt, taken from the prefix cache when it first ran

  // Set in the event that finishes the choice.
  RequestTiming timing;
  int64_t num_preemptions = 0;
  DraftCounts drafts;
  std::vector<float> embedding;  // [hidden_size], for an embedding request; not normalised

  // Set in the first event of choice 0 when the request asked for it: one per prompt token; the first has no value,
  // because nothing predicts it.
  std::vector<SampledToken> prompt_logprobs;
};

}  // namespace quire
