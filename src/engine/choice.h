// One choice of a request inside the engine: its sequence, the outputs that the request wants, and its reader.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "drafting/drafter.h"
#include "engine/output_stream.h"
#include "engine/outputs/output.h"
#include "engine/request.h"
#include "engine/sequence.h"

namespace quire {

struct Choice;

// The beams of one request. Each is a choice inside the engine, with a sequence of its own.
struct BeamGroup {
  BeamSearch search;
  std::vector<Choice*> beams;      // by their numbers in the search
  std::vector<uint64_t> free_ids;  // for sequences of further beams
};

struct Choice {
  Sequence sequence;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<OutputStream> stream;
  std::vector<std::unique_ptr<Output>> outputs;  // the first creates the events, the others add to them
  uint64_t seed = 0;                             // of the request
  int index = 0;
  std::shared_ptr<BeamGroup> beams = nullptr;  // it is one of them; null: a choice of its own
  int beam = 0;                                // its number among them
  bool is_queued = true;                       // counted in the limits of the queue
  RequestTiming timing;
  Update update;                            // what the step that finished produced
  HiddenUse hidden_use = HiddenUse::kNone;  // of the drafter, if the choice has its drafts
  int64_t chosen_row = 0;                   // in the step started last: the row whose logits choose the pending token

  bool is_embedding() const { return request->pooling != Pooling::kNone; }
  const Sampler* sampler() const { return outputs[0]->sampler(); }
  TokenConstraint* constraint() const { return outputs[0]->constraint(); }
  // How the model runner may choose the token `num_ahead` positions after the next one; nothing when the host needs
  // the logits.
  std::optional<SamplingRow> device_sampling(int64_t num_ahead) const {
    if (sequence.needs_all_rows || sequence.num_choices > 1) return std::nullopt;
    return outputs[0]->device_sampling(num_ahead);
  }
};

// Choices that have been admitted and have not finished, by sequence.
using Choices = std::unordered_map<const Sequence*, std::unique_ptr<Choice>>;

// The first choice of a request. `max_length` of its sequence includes the prompt.
std::unique_ptr<Choice> make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id, uint64_t seed,
                                    int64_t max_length);
// A further beam, whose sequence is a copy of the parent's (Scheduler::branch).
std::unique_ptr<Choice> make_beam(const Choice& parent, uint64_t id);
// A further choice, whose sequence is forked from the first one's when the prompt has been computed.
std::unique_ptr<Choice> make_sibling(const Choice& first, int index);

}  // namespace quire
