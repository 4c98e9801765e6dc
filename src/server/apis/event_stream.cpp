#include "server/apis/event_stream.h"

#include <chrono>
#include <utility>

namespace quire {
namespace {

// A ping is sent after one to two of these intervals without output.
constexpr std::chrono::milliseconds kPingTick{7500};

}  // namespace

std::shared_ptr<EventStream> EventStream::begin(ExchangePtr exchange, uint64_t buffer_bytes, std::string_view ping) {
  const std::shared_ptr<EventStream> stream(new EventStream(std::move(exchange), buffer_bytes, ping));
  stream->exchange_->begin_stream("text/event-stream");
  stream->tick();
  return stream;
}

void EventStream::event(std::string_view name, std::string_view data) {
  out_ += "event: ";
  out_ += name;
  out_ += "\ndata: ";
  out_ += data;
  out_ += "\n\n";
}

void EventStream::flush() {
  if (out_.empty()) return;
  exchange_->send(std::exchange(out_, {}));
  is_silent_ = false;
}

void EventStream::end() {
  flush();
  exchange_->end();
}

void EventStream::tick() {
  exchange_->post_after(kPingTick, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    if (self->is_silent_) self->exchange_->send(std::string(self->ping_));
    self->is_silent_ = true;
    self->tick();
  });
}

}  // namespace quire
