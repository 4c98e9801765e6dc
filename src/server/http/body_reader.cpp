#include "server/http/body_reader.h"

#include <algorithm>

namespace quire::http {
namespace {

constexpr size_t kLineBytes = 4096;  // a chunk's size with its extensions, or a trailer field
constexpr size_t kSizeDigits = 15;
// For very small chunks the lines may have more bytes than the data, but at most this many more.
constexpr uint64_t kOverheadBytes = 64 * 1024;
constexpr uint64_t kOverheadFactor = 16;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
}

}  // namespace

void BodyReader::expect_length(uint64_t length) {
  remaining_ = length;
  state_ = length > 0 ? State::kLength : State::kComplete;
}

void BodyReader::expect_chunks() { state_ = State::kChunkSize; }

BodyReader::Outcome BodyReader::feed(std::string_view bytes, size_t& consumed, std::string& body,
                                     const Limits& limits) {
  while (state_ != State::kComplete) {
    const std::string_view rest = bytes.substr(consumed);
    if (state_ == State::kLength || state_ == State::kChunkData) {
      const size_t taken = std::min<uint64_t>(rest.size(), remaining_);
      body += rest.substr(0, taken);
      consumed += taken;
      remaining_ -= taken;
      if (remaining_ > 0) return Outcome::kMore;
      state_ = state_ == State::kLength ? State::kComplete : State::kChunkEnd;
      continue;
    }
    const size_t end = rest.find("\r\n");
    if (std::min(end, rest.size()) > kLineBytes) return Outcome::kMalformed;
    if (end == std::string_view::npos) return Outcome::kMore;
    consumed += end + 2;
    overhead_ += end + 2;
    if (overhead_ > kOverheadBytes + kOverheadFactor * body.size()) return Outcome::kMalformed;
    const Outcome outcome = take_line(rest.substr(0, end), body.size(), limits);
    if (outcome != Outcome::kMore) return outcome;
  }
  return Outcome::kComplete;
}

BodyReader::Outcome BodyReader::take_line(std::string_view line, size_t body_bytes, const Limits& limits) {
  if (state_ == State::kChunkSize) return take_chunk_size(line, body_bytes, limits);
  if (state_ == State::kChunkEnd) {
    state_ = State::kChunkSize;
    return line.empty() ? Outcome::kMore : Outcome::kMalformed;
  }
  if (line.empty()) {
    state_ = State::kComplete;
    return Outcome::kComplete;
  }
  if (++num_trailers_ > limits.header_fields) return Outcome::kTooManyFields;
  const size_t colon = line.find(':');
  const bool is_field = colon != std::string_view::npos && colon > 0 &&
                        line.substr(0, colon).find_first_of(" \t") == std::string_view::npos;
  return is_field && !has_control_characters(line) ? Outcome::kMore : Outcome::kMalformed;
}

BodyReader::Outcome BodyReader::take_chunk_size(std::string_view line, size_t body_bytes, const Limits& limits) {
  uint64_t size = 0;
  size_t digits = 0;
  while (digits < line.size() && hex_value(line[digits]) >= 0) {
    size = size * 16 + static_cast<uint64_t>(hex_value(line[digits]));
    if (++digits > kSizeDigits) return Outcome::kMalformed;
  }
  const std::string_view extension = line.substr(digits);
  const bool is_plain = extension.empty() || (extension.front() == ';' && !has_control_characters(extension));
  if (digits == 0 || !is_plain) return Outcome::kMalformed;
  if (size > limits.body_bytes - body_bytes) return Outcome::kTooLarge;
  remaining_ = size;
  state_ = size > 0 ? State::kChunkData : State::kTrailer;
  return Outcome::kMore;
}

}  // namespace quire::http
