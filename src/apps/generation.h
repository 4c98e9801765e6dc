// One answer from start to end: submit, step the engine, stream the text, keep its statistics.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dialogue/text_processor.h"
#include "engine/engine.h"

namespace quire {

struct GenerationStats {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, whose keys and values were there already
  int64_t generated_tokens = 0;
  DraftCounts drafts;
  double ttft_ms = 0.0;    // from submission to the first token: the prefill phase
  double decode_ms = 0.0;  // from the first token to the last
  uint64_t kv_bytes = 0;   // of the sequence's blocks at its end
  uint64_t weight_bytes = 0;
  WeightReads weight_reads;        // of a model that is larger than memory
  uint64_t peak_memory_bytes = 0;  // of the process

  double tpot_ms() const { return generated_tokens > 1 ? decode_ms / static_cast<double>(generated_tokens - 1) : 0.0; }
  // A step chooses a token and as many as its drafts got right.
  double tokens_per_step() const {
    return static_cast<double>(generated_tokens) / static_cast<double>(generated_tokens - drafts.num_accepted);
  }
  // Of the tokens that were computed.
  double prefill_tokens_per_second() const {
    return ttft_ms > 0 ? 1000.0 * static_cast<double>(prompt_tokens - cached_tokens) / ttft_ms : 0.0;
  }
  double decode_tokens_per_second() const { return tpot_ms() > 0 ? 1000.0 / tpot_ms() : 0.0; }
};

struct Generation {
  std::string text;
  std::vector<SampledToken> tokens;  // with log probabilities when the request wants them
  FinishReason finish = FinishReason::kNone;
  std::string stop;   // the stop string that matched, if one did
  std::string error;  // why, when it ended by kConstraint
  GenerationStats stats;
};

struct GenerationInput {
  GenerateRequest request;
  std::vector<std::string> stops;
  std::vector<int32_t> shown_tokens = {};  // special tokens that are text
  bool continues_prompt = false;           // the text goes on where the prompt ends, instead of answering it
};

// Runs one request to its end on this thread. `on_text` gets each piece of text as it becomes certain; when
// `is_interrupted` turns true the request is cancelled.
Generation generate(Engine& engine, const TextProcessor& text, GenerationInput input,
                    const std::function<void(std::string_view)>& on_text, const std::function<bool()>& is_interrupted);

// The largest resident size of this process so far.
uint64_t peak_memory_bytes();

// The lines of --stats.
std::string describe(const GenerationStats& stats);
json::object to_json(const GenerationStats& stats);

}  // namespace quire
