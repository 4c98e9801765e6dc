// Stands in for the parts of the server that this test program does without.
#include "server/http/exchange.h"
#include "server/metrics.h"

namespace quire {

namespace http {

std::string_view Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

}  // namespace http

struct Metrics::Impl {};
Metrics::Metrics() = default;
Metrics::~Metrics() = default;
Metrics::Finished Metrics::finished(const OutputEvent& last, int64_t, int64_t, int64_t, int) {
  return {.reason = last.finish};
}
void Metrics::add_finished(const Finished&) {}
void Metrics::add_inter_token(double) {}
void Metrics::add_rejected(std::string_view) {}
void Metrics::add_disconnect() {}

}  // namespace quire
