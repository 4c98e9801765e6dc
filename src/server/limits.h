// Every limit of the server in one table: read by the parsers, printed into the documentation, walked by the tests.
#pragma once

#include <cstdint>

namespace quire {

struct Limits {
  // HTTP
  uint64_t header_bytes = 32 * 1024;          // all header fields together; 431
  int header_fields = 100;                    // 431
  uint64_t target_bytes = 8 * 1024;           // path and query; 414
  uint64_t body_bytes = 8 * 1024 * 1024;      // 413
  int header_seconds = 10;                    // for the whole header to arrive
  int body_seconds = 30;                      // for the whole body to arrive
  int idle_seconds = 60;                      // of a connection between requests
  int write_stall_seconds = 60;               // without a byte read by the client: it counts as disconnected
  uint64_t stream_buffer_bytes = 256 * 1024;  // unsent of one stream; above it no token is converted to text
  int connections = 20'000;
  int connections_per_address = 20'000;
  int worker_queue_requests = 1024;                 // that wait for a worker; half of them for one client; 429
  uint64_t worker_queue_bytes = 256 * 1024 * 1024;  // of their bodies; 429

  // Requests
  int json_depth = 64;
  int choices = 128;  // n, best_of
  int prompts = 512;  // of one completions or embeddings request
  int messages = 4096;
  int stop_strings = 16;
  uint64_t stop_bytes = 1024;  // of each
  int stop_token_ids = 256;
  int logit_bias_entries = 1024;
  int top_logprobs = 20;
  int logprobs = 20;  // of completions
  uint64_t cache_salt_bytes = 1024;
  uint64_t request_id_bytes = 128;
};

}  // namespace quire
