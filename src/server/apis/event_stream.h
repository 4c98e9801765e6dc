// The stream of named events of one answer: `event: NAME`, `data: JSON`, an empty line.
//
// One object per stream, used on the exchange's executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/http/exchange.h"

namespace quire {

class EventStream : public std::enable_shared_from_this<EventStream> {
 public:
  // Sends the header at once. After at most 15 s without an event `ping` is sent, since proxies and clients close
  // silent connections. `buffer_bytes`: unsent bytes above which has_room() is false.
  static std::shared_ptr<EventStream> begin(ExchangePtr exchange, uint64_t buffer_bytes, std::string_view ping);

  void event(std::string_view name, std::string_view data);
  void raw(std::string_view bytes) { out_ += bytes; }
  void flush();  // sends the events since the last call
  void end();    // the same, and nothing comes after it
  bool has_room() const { return exchange_->unsent_bytes() + out_.size() < buffer_bytes_; }

 private:
  EventStream(ExchangePtr exchange, uint64_t buffer_bytes, std::string_view ping)
      : exchange_(std::move(exchange)), buffer_bytes_(buffer_bytes), ping_(ping) {}
  void tick();

  const ExchangePtr exchange_;
  const uint64_t buffer_bytes_;
  const std::string_view ping_;
  std::string out_;
  bool is_silent_ = false;
};

}  // namespace quire
