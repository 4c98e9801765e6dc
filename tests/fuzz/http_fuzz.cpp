// The HTTP request parser on any bytes: it must neither crash nor use unbounded memory, and splitting the bytes must
// not change the result.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/request_parser.h"

namespace {

using quire::http::Request;
using quire::http::RequestParser;

struct Outcome {
  std::vector<Request> requests;
  int status = 0;
};

Outcome parse(std::string_view bytes, size_t piece) {
  quire::Limits limits;
  limits.body_bytes = 4096;
  limits.header_bytes = 2048;
  limits.target_bytes = 256;
  RequestParser parser(limits);
  Outcome outcome;
  std::string pending;
  while (!bytes.empty()) {
    const size_t size = std::min(piece, bytes.size());
    pending += bytes.substr(0, size);
    bytes.remove_prefix(size);
    for (bool is_waiting = false; !is_waiting;) {
      size_t consumed = 0;
      const RequestParser::Progress progress = parser.feed(pending, consumed);
      if (consumed > pending.size()) std::abort();
      pending.erase(0, consumed);
      if (progress == RequestParser::Progress::kError) {
        outcome.status = parser.problem().status;
        return outcome;
      }
      if (progress == RequestParser::Progress::kComplete) {
        if (parser.request().body.size() > limits.body_bytes) std::abort();
        outcome.requests.push_back(std::move(parser.request()));
        parser.reset();
      }
      is_waiting = progress == RequestParser::Progress::kMore;
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = parse(bytes, bytes.size());
  const Outcome cut = parse(bytes, data[0] % 16 + 1);
  if (whole.requests.size() != cut.requests.size()) std::abort();
  for (size_t i = 0; i < whole.requests.size(); ++i) {
    const Request& a = whole.requests[i];
    const Request& b = cut.requests[i];
    if (a.method != b.method || a.path != b.path || a.headers != b.headers || a.body != b.body) std::abort();
  }
  return 0;
}
