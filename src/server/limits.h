// Every limit of the server in one table: read by the parsers, set by the operator (--limit NAME=NUMBER), printed into
// the documentation, walked by the tests.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quire {

struct Limits {
  // HTTP
  uint64_t header_bytes = 32 * 1024;             // all header fields together; 431
  int header_fields = 100;                       // 431
  uint64_t target_bytes = 8 * 1024;              // path and query; 414
  uint64_t body_bytes = 8 * 1024 * 1024;         // 413
  int header_seconds = 10;                       // for the whole header to arrive
  int body_seconds = 30;                         // for the whole body to arrive
  int idle_seconds = 60;                         // of a connection between requests
  uint64_t receiving_bytes = 256 * 1024 * 1024;  // of all bodies that are arriving; of one client half; 503
  int write_stall_seconds = 60;                  // a client that reads fewer than write_stall_bytes in them, while more
  uint64_t write_stall_bytes = 16 * 1024;        // waits for it, counts as disconnected
  uint64_t stream_buffer_bytes = 256 * 1024;     // unsent of one stream; above it no token is converted to text
  int connections = 20'000;
  int connections_per_address = 16'000;             // so that no address takes all; not of a Unix socket
  int worker_queue_requests = 1024;                 // that wait for a worker; half of them for one client; 429
  uint64_t worker_queue_bytes = 256 * 1024 * 1024;  // of their bodies; 429

  // Requests
  int json_depth = 64;
  int choices = 128;   // n, best_of
  int prompts = 2048;  // of one completions or embeddings request
  int messages = 4096;
  int tools = 512;
  uint64_t tools_bytes = 1024 * 1024;  // of all tools as JSON
  int detokenize_tokens = 262'144;
  int stop_strings = 16;
  uint64_t stop_bytes = 1024;  // of each
  int stop_token_ids = 256;
  int logit_bias_entries = 1024;
  int bad_words = 256;
  uint64_t bad_word_bytes = 1024;  // of each
  int dry_sequence_breakers = 16;
  int top_logprobs = 20;
  int logprobs = 20;                 // of completions
  int prompt_logprobs = 262'144;     // log probabilities of prompts in one answer: tokens x likeliest ones x choices
  uint64_t grammar_bytes = 1 << 20;  // of a schema, an expression or a grammar
  int grammar_nodes = 200'000;       // parts of one, after equal ones were joined
  int grammar_depth = 500;           // of its nesting
  int grammar_repeats = 1'000'000;   // a bound of a repetition in one
  int grammar_seconds = 2;           // of compiling one
  int grammar_work = 200'000'000;    // of matching one answer, in units of about 20 ns; a quarter of it for one step
  uint64_t grammar_memory_bytes = 64 * 1024 * 1024;  // of a compiled one and of what matching adds to it
  uint64_t grammar_cache_bytes = 512 * 1024 * 1024;  // of all that are kept for later requests
  int grammar_queue_requests = 256;                  // that wait for a compilation; half of them for one client; 429
  uint64_t grammar_queue_bytes = 64 * 1024 * 1024;   // of these; 429
  int grammar_queue_seconds = 30;                    // for a compilation to begin; 503
  uint64_t cache_salt_bytes = 1024;
  uint64_t request_id_bytes = 128;
  int stored_responses = 1000;                      // of /v1/responses, of each tenant
  uint64_t stored_tenant_bytes = 32 * 1024 * 1024;  // of these, of each tenant
  uint64_t stored_bytes = 256 * 1024 * 1024;        // of these, of all tenants

  // Batches
  int batch_files = 1000;                           // of one key
  int batches = 100;                                // of one key that have not ended
  int batch_lines = 50'000;                         // of an input file; the batch fails
  int batch_lines_at_once = 4;                      // that run at the same time
  uint64_t batch_output_bytes = 256 * 1024 * 1024;  // of all answers of one; lines beyond it are errors
};

// One limit by its name. One of the members is null.
struct LimitRow {
  // Far above any use, and far below where sums of limits could overflow.
  static constexpr uint64_t kMostOfNumbers = 1'000'000'000;
  static constexpr uint64_t kMostOfBytes = uint64_t{1} << 40;

  constexpr LimitRow(std::string_view its_name, int Limits::*its_number, uint64_t its_most = kMostOfNumbers)
      : name(its_name), number(its_number), most(its_most) {}
  constexpr LimitRow(std::string_view its_name, uint64_t Limits::*its_bytes, uint64_t its_most = kMostOfBytes)
      : name(its_name), bytes(its_bytes), most(its_most) {}

  uint64_t get(const Limits& limits) const;
  // Throws Error for 0 and for more than `most`.
  void set(Limits& limits, uint64_t value) const;

  std::string_view name;
  int Limits::*number = nullptr;
  uint64_t Limits::*bytes = nullptr;
  uint64_t most;  // the largest value that may be set
};

std::span<const LimitRow> limit_rows();
// "body_bytes=33554432". Throws Error for an unknown name, which lists the names, and for a value out of range.
void set_limit(Limits& limits, std::string_view assignment);

}  // namespace quire
