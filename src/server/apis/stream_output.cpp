#include "server/apis/stream_output.h"

#include <chrono>

namespace quire {
namespace {

// A ping is sent after one to two of these intervals without output.
constexpr std::chrono::milliseconds kPingTick{7500};

}  // namespace

std::shared_ptr<StreamOutput> StreamOutput::begin(ExchangePtr exchange, StreamKind kind, uint64_t buffer_bytes) {
  const std::shared_ptr<StreamOutput> output(new StreamOutput(std::move(exchange), kind, buffer_bytes));
  output->exchange_->begin_stream(std::string(kind.content_type));
  if (!kind.ping.empty()) output->tick();
  return output;
}

void StreamOutput::event(std::string_view name, std::string_view data) {
  pending_ += "event: ";
  pending_ += name;
  pending_ += "\ndata: ";
  pending_ += data;
  pending_ += "\n\n";
}

void StreamOutput::flush() {
  if (pending_.empty()) return;
  exchange_->send(std::move(pending_));
  pending_.clear();
  is_silent_ = false;
}

void StreamOutput::end() {
  flush();
  exchange_->end();
}

// Proxies and clients close silent connections.
void StreamOutput::tick() {
  exchange_->post_after(kPingTick, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    if (self->is_silent_) self->exchange_->send(std::string(self->kind_.ping));
    self->is_silent_ = true;
    self->tick();
  });
}

}  // namespace quire
