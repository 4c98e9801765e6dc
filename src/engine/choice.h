// One choice of a request on its way through the engine: its sequence, what is wanted of it, its reader.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/output_stream.h"
#include "engine/outputs/output.h"
#include "engine/request.h"
#include "engine/sequence.h"

namespace quire {

struct Choice {
  Sequence sequence;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<OutputStream> stream;
  std::vector<std::unique_ptr<Output>> outputs;  // the first makes the events
  uint64_t seed = 0;
  int index = 0;
  bool is_queued = true;  // counts to the queue's limits
  RequestTiming timing;
  Update update;           // of the step that finished
  int64_t chosen_row = 0;  // of the step started last: the row whose logits choose the token on its way

  bool is_embedding() const { return request->pooling != Pooling::kNone; }
  // How the model runner may choose the token `num_ahead` after the next one; nothing when logits are wanted.
  std::optional<SamplingRow> device_sampling(int64_t num_ahead) const {
    if (sequence.needs_all_rows || sequence.num_choices > 1) return std::nullopt;
    return outputs[0]->device_sampling(num_ahead);
  }
};

// By sequence; those that are neither queued nor finished.
using Choices = std::unordered_map<const Sequence*, std::unique_ptr<Choice>>;

// The first choice of a request. max_length: of its sequence, prompt included.
std::unique_ptr<Choice> make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id, uint64_t seed,
                                    int64_t max_length);
// Another one, whose sequence will be forked from the first one's when the prompt is through.
std::unique_ptr<Choice> make_sibling(const Choice& first, int index);

}  // namespace quire
