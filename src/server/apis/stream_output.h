// The body of a streamed answer, whatever its API: what a writer adds goes out at each flush. Events of a text/event-
// stream, lines of an NDJSON stream.
//
// One object per answer, used on the exchange's executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/http/exchange.h"

namespace quire {

struct StreamKind {
  std::string_view content_type;
  std::string_view ping = {};  // sent when nothing else was for long; empty: the format has no comments
};

inline constexpr StreamKind kEventStream{.content_type = "text/event-stream", .ping = ": ping\n\n"};
inline constexpr StreamKind kJsonLines{.content_type = "application/x-ndjson"};

class StreamOutput : public std::enable_shared_from_this<StreamOutput> {
 public:
  // Sends the header. `buffer_bytes`: unsent bytes above which has_room() is false.
  static std::shared_ptr<StreamOutput> begin(ExchangePtr exchange, StreamKind kind, uint64_t buffer_bytes);

  std::string& pending() { return pending_; }  // to add to
  // Adds a named event of a text/event-stream.
  void event(std::string_view name, std::string_view data);
  void flush();
  void end();  // flushes too
  bool has_room() const { return exchange_->unsent_bytes() + pending_.size() < buffer_bytes_; }

 private:
  StreamOutput(ExchangePtr exchange, StreamKind kind, uint64_t buffer_bytes)
      : exchange_(std::move(exchange)), kind_(kind), buffer_bytes_(buffer_bytes) {}
  void tick();

  const ExchangePtr exchange_;
  const StreamKind kind_;
  const uint64_t buffer_bytes_;
  std::string pending_;
  bool is_silent_ = false;
};

}  // namespace quire
