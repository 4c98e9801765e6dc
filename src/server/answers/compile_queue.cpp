#include "server/answers/compile_queue.h"

#include <fmt/format.h>

#include <utility>

#include "server/api_error.h"

namespace quire {
namespace {

constexpr double kRetryMs = 1000.0;

ApiError too_many() {
  return {429,
          "rate_limit_error",
          "compilers_busy",
          "too many requests wait for their grammar to be compiled; try again in a second",
          "",
          kRetryMs};
}

ApiError too_late(std::chrono::seconds waited) {
  return {503,
          "unavailable_error",
          "compile_timeout",
          fmt::format("the grammar of this request waited {} s to be compiled; try again in a second", waited.count()),
          "",
          kRetryMs};
}

}  // namespace

CompileQueue::CompileQueue(Options options)
    : options_(std::move(options)),
      pool_({.num_threads = options_.num_threads,
             .max_queued = options_.max_queued,
             .max_queued_bytes = options_.max_queued_bytes,
             .has_small_jobs = false,
             .niceness = options_.niceness,
             .on_queued = options_.on_queued}) {}

void CompileQueue::run(const ExchangePtr& exchange, uint64_t bytes, std::function<void()> work) {
  // On the exchange's executor, so that what the work sets for a client that leaves comes after what is set here.
  exchange->post([this, exchange, bytes, work = std::move(work)] { submit(exchange, bytes, work); });
}

void CompileQueue::submit(const ExchangePtr& exchange, uint64_t bytes, const std::function<void()>& work) {
  const std::string lane = http::client_of(exchange->request());
  const auto ticket =
      pool_.submit({.lane = lane, .bytes = bytes, .run = [this, exchange, work] { options_.answer(exchange, work); }});
  if (!ticket) return options_.answer(exchange, [] { throw too_many(); });
  exchange->on_disconnect([this, lane, ticket] { pool_.drop(lane, *ticket); });
  exchange->post_after(options_.max_wait, [this, weak = std::weak_ptr(exchange), lane, ticket] {
    const ExchangePtr late = weak.lock();
    if (late == nullptr || !pool_.drop(lane, *ticket)) return;
    options_.answer(late, [this] { throw too_late(options_.max_wait); });
  });
}

}  // namespace quire
