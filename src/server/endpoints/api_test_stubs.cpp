// Stands in for the metrics, which this test program does without.
#include "server/metrics.h"

namespace quire {

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
