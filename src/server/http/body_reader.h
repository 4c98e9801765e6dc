// Reads the body of a request, by length or in chunks. Owned by the request parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/limits.h"

namespace quire::http {

class BodyReader {
 public:
  enum class Outcome : uint8_t { kMore, kComplete, kTooLarge, kTooManyFields, kMalformed };

  // Of `length` bytes, at most limits.body_bytes.
  void expect_length(uint64_t length);
  void expect_chunks();
  bool is_complete() const { return state_ == State::kComplete; }
  // Appends to `body`; `bytes` begin where the previous call stopped; `consumed` is how many were used. Trailer fields
  // are checked and dropped.
  Outcome feed(std::string_view bytes, size_t& consumed, std::string& body, const Limits& limits);

 private:
  enum class State : uint8_t { kComplete, kLength, kChunkSize, kChunkData, kChunkEnd, kTrailer };

  Outcome take_line(std::string_view line, size_t body_bytes, const Limits& limits);
  Outcome take_chunk_size(std::string_view line, size_t body_bytes, const Limits& limits);

  State state_ = State::kComplete;
  uint64_t remaining_ = 0;  // of the body, or of the chunk
  uint64_t overhead_ = 0;   // bytes of chunk lines
  int num_trailers_ = 0;
};

}  // namespace quire::http
