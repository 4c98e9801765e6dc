// The requests of an offline batch: read from a file or drawn at random. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "dialogue/text_processor.h"
#include "engine/request.h"
#include "measure/workload.h"

namespace quire::load {

struct BatchJob {
  GenerateRequest request;
  std::string custom_id;  // of OpenAI's batch format; empty for plain lines
  bool is_chat = false;
};

// JSON lines: {"prompt": "..." or [ids], "max_tokens": 64}, {"messages": [...], ...}, or OpenAI batch lines with such
// an object as "body". Known members: max_tokens, max_completion_tokens, temperature (0 when absent), top_p, top_k,
// seed, ignore_eos. Throws Error naming the line.
std::vector<BatchJob> read_batch(const std::string& path, const TextProcessor& text, int64_t default_max_tokens);

// Ids spread over the vocabulary; answers run to their full length.
std::vector<BatchJob> random_batch(const WorkloadOptions& options, int64_t vocab_size);

// A result in the form of its job: OpenAI's batch output for a job with a custom_id, else a plain object.
json::object batch_result(const BatchJob& job, int64_t index, const std::string& text, const char* finish_reason,
                          int64_t num_generated, int64_t num_cached);

}  // namespace quire::load
