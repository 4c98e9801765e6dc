#include "server/http/connection.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "server/http/connection_exchange.h"
#include "server/http/wire.h"

namespace quire::http {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kUsualInputBytes = 256 * 1024;
constexpr size_t kIdleBufferBytes = 4096;  // a larger buffer is freed between requests
constexpr auto kLingerTime = std::chrono::seconds(2);
constexpr uint64_t kLingerBytes = 16 << 20;

// Most bytes read and not yet parsed. The parser needs a whole header at once, so the largest allowed one fits.
size_t input_limit(const Limits& limits) {
  return std::max<size_t>(kUsualInputBytes, limits.header_bytes + limits.target_bytes + kReadBytes);
}

Refusal internal_error(const Request& request) {
  return {500, "internal_error", "internal error; request id " + request.id};
}

}  // namespace

std::shared_ptr<ClientBodies> Shared::find_client(const std::string& name) {
  const std::lock_guard lock(mutex);
  std::shared_ptr<ClientBodies>& client = clients[name];
  if (client == nullptr) client = std::make_shared<ClientBodies>();
  return client;
}

void Shared::leave_client(const std::string& name, std::shared_ptr<ClientBodies> client) {
  const std::lock_guard lock(mutex);
  client.reset();
  if (const auto found = clients.find(name); found->second.use_count() == 1) clients.erase(found);
}

Connection::Connection(std::shared_ptr<Shared> shared, int socket, std::unique_ptr<Transport> transport,
                       std::string remote)
    : shared_(std::move(shared)),
      strand_(asio::make_strand(shared_->io)),
      socket_(socket),
      events_(strand_),
      transport_(std::move(transport)),
      remote_(std::move(remote)),
      parser_(shared_->options.limits),
      timer_(strand_) {}

Connection::~Connection() {
  if (phase_ != Phase::kClosed && !events_.is_open()) ::close(socket_);
}

void Connection::post(void (Connection::*member)()) {
  if (shared_->is_stopped) return;
  asio::post(strand_, [self = shared_from_this(), member] { (self.get()->*member)(); });
}

void Connection::start() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->connections.emplace(this, weak_from_this());
    ++shared_->num_connections[remote_];
    is_counted_ = true;
  }
  if (shared_->options.on_connection) shared_->options.on_connection(+1);
  // At once where this is a thread of the sockets: to wake another one costs more than to begin.
  asio::dispatch(strand_, [self = shared_from_this()] {
    if (self->phase_ == Phase::kClosed) return;
    self->deadline_ = Clock::now() + std::chrono::seconds(self->limits().header_seconds);
    self->read();  // its request may have come with it: then nothing has to be waited for
    if (self->phase_ != Phase::kClosed) self->expire_at(self->deadline_);
  });
}

// A request that has already arrived is still answered.
void Connection::drain() { post(&Connection::read); }
void Connection::end_early() { post(&Connection::end_exchange_early); }
void Connection::abort() { post(&Connection::disconnect); }

// ---- In

void Connection::read() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  read_input();
  if (is_broken_) return disconnect();
  settle();
  if (phase_ == Phase::kClosed || !is_at_end_) return;
  if (exchange_ != nullptr || phase_ == Phase::kLingering || unsent() == 0) return disconnect();
  phase_ = Phase::kClosing;
}

void Connection::read_input() {
  thread_local std::array<char, kReadBytes> buffer;
  while (!is_at_end_ && !is_broken_) {
    if (in_.size() >= input_limit(limits())) {
      has_more_input_ = true;
      return;
    }
    const IoResult result = transport_->read(buffer);
    switch (result.kind) {
      case IoResult::Kind::kDone:
        if (phase_ == Phase::kLingering) {
          lingered_bytes_ += result.bytes;
          if (lingered_bytes_ > kLingerBytes) is_broken_ = true;
        } else {
          in_.append(buffer.data(), result.bytes);
        }
        if (result.is_drained) return;
        break;
      case IoResult::Kind::kWantsRead: return;
      case IoResult::Kind::kWantsWrite: return wait_to_write();
      case IoResult::Kind::kEnd: is_at_end_ = true; return;
      case IoResult::Kind::kBroken: is_broken_ = true; return;
    }
  }
}

// Does everything that can be done now: parses, calls the handler, writes; then waits for input or output.
void Connection::settle() {
  if (depth_ > 0 || phase_ == Phase::kClosed) return;
  ++depth_;
  bool is_again = true;
  while (is_again && phase_ != Phase::kClosed) {
    process();
    const bool was_held_back = unsent() > limits().stream_buffer_bytes;
    const bool was_answering = exchange_ != nullptr;
    flush();
    is_again = (was_held_back && unsent() == 0) || (was_answering && exchange_ == nullptr);
  }
  --depth_;
  if (phase_ != Phase::kClosed) wait_to_read();
}

void Connection::process() {
  size_t used = 0;
  while (phase_ == Phase::kServing && exchange_ == nullptr && unsent() <= limits().stream_buffer_bytes) {
    if (!process_one(used)) break;
  }
  in_.erase(0, used);
  if (in_.empty() && in_.capacity() > kIdleBufferBytes) in_ = std::string();
}

// False when more bytes are needed.
bool Connection::process_one(size_t& used) {
  const std::string_view bytes = std::string_view(in_).substr(used);
  size_t consumed = 0;
  const RequestParser::Progress progress = parser_.feed(bytes, consumed);
  used += consumed;
  switch (progress) {
    case RequestParser::Progress::kMore:
      if (parser_.has_body() && !count_body(parser_.request().body.size())) {
        refuse(503, "too_many_bodies", "the requests that are arriving are too large together; try again");
        return true;
      }
      wait_for_rest(consumed == bytes.size());
      return false;
    case RequestParser::Progress::kHeader: take_header(consumed < bytes.size()); break;
    case RequestParser::Progress::kComplete: dispatch(); break;
    case RequestParser::Progress::kError: {
      const RequestParser::Problem& problem = parser_.problem();
      refuse(problem.status, problem.code, problem.message);
      break;
    }
  }
  return true;
}

void Connection::wait_for_rest(bool is_empty) {
  if (parser_.has_body()) return;
  if (!is_empty) {
    if (is_partial_) return;
    is_partial_ = true;
    return expire_at(Clock::now() + std::chrono::seconds(limits().header_seconds));
  }
  if (shared_->is_draining) {
    if (unsent() == 0) return close();
    phase_ = Phase::kClosing;
  } else if (style_.is_keep_alive) {  // at least one request was answered
    expire_at(Clock::now() + std::chrono::seconds(limits().idle_seconds));
  }
}

void Connection::take_header(bool has_more) {
  Request& request = parser_.request();
  request.id = request_id(request.header("x-request-id"), limits().request_id_bytes);
  request.remote = remote_;
  request.client = shared_->proxies.client_of(remote_, request.headers);
  request.received = Clock::now();
  style_ = {.is_keep_alive = parser_.is_keep_alive(),
            .is_http_1_0 = parser_.is_http_1_0(),
            .is_head = request.method == "HEAD"};
  is_partial_ = true;
  std::optional<Response> refusal;
  if (shared_->options.admit) {
    try {
      refusal = shared_->options.admit(request, reply_headers_);
    } catch (const std::exception& error) {
      log::warning("{}: refused for an unexpected {}", request.id, typeid(error).name());
      refusal = shared_->refuse(internal_error(request), request);
    }
  }
  if (refusal) {
    if (parser_.has_body()) style_.is_keep_alive = false;  // its body will not be read
    write_reply(request, *refusal);
    finish(request, refusal->status, refusal->body.size());
    is_partial_ = false;
    parser_.reset();
  } else if (parser_.has_body()) {
    expire_at(request.received + std::chrono::seconds(limits().body_seconds));
    if (parser_.expects_continue() && !has_more) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  }
}

// False when the body may not grow: those of its client, by key or else by address, would take more than what is left
// of the limit for all. So a client that keeps bodies arriving gets half of the limit, n of them 1 / (n + 1) each, and
// there is always room for another one (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM Transactions on
// Networking 6, 1998). A body that arrives alone has the limit of one body.
bool Connection::count_body(uint64_t bytes) {
  if (bytes == counted_bytes_) return true;
  if (client_ == nullptr) {
    const Request& request = parser_.request();
    client_name_ = request.tenant.empty() ? request.client : request.tenant;
    client_ = shared_->find_client(client_name_);
  }
  const uint64_t change = bytes - counted_bytes_;  // wraps where it shrinks
  const uint64_t all = shared_->receiving_bytes.fetch_add(change) + change;
  const uint64_t its = client_->receiving_bytes.fetch_add(change) + change;
  const bool has_grown = bytes > counted_bytes_;
  counted_bytes_ = bytes;
  if (bytes == 0) shared_->leave_client(client_name_, std::move(client_));
  if (!has_grown || all == bytes) return true;
  // A proxy that does not say whose requests it passes on has many clients.
  if (shared_->proxies.contains(client_name_)) return all <= limits().receiving_bytes;
  return its + all <= limits().receiving_bytes;
}

void Connection::dispatch() {
  Request request = std::move(parser_.request());
  count_body(0);
  style_.is_last = !parser_.is_keep_alive();
  parser_.reset();
  is_partial_ = false;
  deadline_ = Clock::time_point::max();
  exchange_ = std::make_shared<ConnectionExchange>(shared_from_this(), std::move(request));
  const std::shared_ptr<ConnectionExchange> exchange = exchange_;
  try {
    shared_->options.handle(exchange);
  } catch (const std::exception& error) {
    fail_exchange(*exchange, typeid(error).name());
  } catch (...) {
    fail_exchange(*exchange, "unknown");
  }
}

// `what` is a type's name: an exception's text may hold text from the client.
void Connection::fail_exchange(const ConnectionExchange& failed, const char* what) {
  const std::string& id = failed.request().id;
  log::warning("{}: an endpoint failed: {}", id, what);
  if (exchange_.get() != &failed) return;  // after its answer
  const std::shared_ptr<ConnectionExchange> exchange = exchange_;
  if (exchange->is_streaming()) return disconnect();  // a broken stream tells the client that the answer is incomplete
  exchange->reply(shared_->refuse(internal_error(exchange->request()), exchange->request()));
}

void Connection::refuse(int status, std::string_view code, std::string_view message) {
  count_body(0);
  style_ = {};
  Request& request = parser_.request();
  request.body = {};  // its memory, while the connection lingers
  if (request.id.empty()) request.id = request_id(request.header("x-request-id"), limits().request_id_bytes);
  request.remote = remote_;
  if (request.client.empty()) request.client = remote_;
  if (request.received == Clock::time_point()) request.received = Clock::now();
  const Response response = shared_->refuse({status, code, std::string(message)}, request);
  write_reply(request, response);
  finish(request, status, response.body.size());
}

// ---- Out

void Connection::write_head(const Request& request, int status, std::string_view content_type, const Headers& headers) {
  const auto add = [&](std::string_view name, std::string_view value) {
    out_ += name;
    out_ += ": ";
    for (const char c : value) {
      if (c != '\r' && c != '\n') out_ += c;
    }
    out_ += "\r\n";
  };
  fmt::format_to(std::back_inserter(out_), "HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  add("Date", date());
  if (!content_type.empty() && status != 204 && status != 304) add("Content-Type", content_type);
  add("x-request-id", request.id);
  add("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : reply_headers_) add(name, value);
  for (const auto& [name, value] : headers) {
    if (equals_ignoring_case(name, "connection")) {
      if (equals_ignoring_case(value, "close")) style_.is_keep_alive = false;
    } else {
      add(name, value);
    }
  }
  if (shared_->is_draining || is_at_end_) style_.is_keep_alive = false;
  if (!style_.is_keep_alive) {
    add("Connection", "close");
  } else if (style_.is_http_1_0) {
    add("Connection", "keep-alive");
  }
}

void Connection::write_reply(const Request& request, const Response& response) {
  write_head(request, response.status, response.content_type, response.headers);
  const bool has_body = response.status != 204 && response.status != 304;
  if (has_body) fmt::format_to(std::back_inserter(out_), "Content-Length: {}\r\n", response.body.size());
  out_ += "\r\n";
  if (has_body && !style_.is_head) out_ += response.body;
}

void Connection::begin_stream(const Request& request, std::string_view content_type) {
  is_chunked_ = !style_.is_http_1_0;
  if (!is_chunked_) style_.is_keep_alive = false;  // the stream ends when the connection closes
  write_head(request, 200, content_type, {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  out_ += is_chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
}

void Connection::write_chunk(std::string_view data) {
  if (style_.is_head) return;
  if (is_chunked_) fmt::format_to(std::back_inserter(out_), "{:x}\r\n", data.size());
  out_ += data;
  if (is_chunked_) out_ += "\r\n";
}

void Connection::end_stream() {
  if (is_chunked_ && !style_.is_head) out_ += "0\r\n\r\n";
}

void Connection::finish(const Request& request, int status, uint64_t bytes) {
  if (phase_ == Phase::kServing && (!style_.is_keep_alive || shared_->is_draining)) phase_ = Phase::kClosing;
  if (shared_->options.on_finished) {
    const double seconds = std::chrono::duration<double>(Clock::now() - request.received).count();
    shared_->options.on_finished({.request = request, .status = status, .bytes = bytes, .seconds = seconds});
  }
  reply_headers_.clear();
  exchange_ = nullptr;  // `request` may be the exchange's own: the caller holds it
}

void Connection::flush() {
  while (unsent() > 0 && !is_writing_ && phase_ != Phase::kClosed) {
    const IoResult result = transport_->write(std::string_view(out_).substr(sent_), phase_ == Phase::kClosing);
    if (result.kind == IoResult::Kind::kWantsWrite) return wait_to_write();
    if (result.kind != IoResult::Kind::kDone) return disconnect();
    sent_ += result.bytes;
    stall_bytes_ += result.bytes;
    if (unsent() > 0) continue;
    out_.clear();
    sent_ = 0;
    is_behind_ = false;
    if (out_.capacity() > kReadBytes) out_ = std::string();
    if (exchange_ != nullptr) {
      const auto exchange = exchange_;
      try {
        exchange->notify_sent();
      } catch (const std::exception& error) {
        fail_exchange(*exchange, typeid(error).name());
      }
    }
  }
  if (unsent() == 0) is_behind_ = false;
  if (unsent() == 0 && phase_ == Phase::kClosing) linger();
}

// False when the system watches no further socket.
bool Connection::watch() {
  boost::system::error_code error;
  if (!events_.is_open()) events_.assign(socket_, error);
  return !error;
}

void Connection::wait_to_read() {
  if (is_reading_ || is_at_end_) return;
  if (has_more_input_) {
    if (in_.size() >= input_limit(limits())) return;
    has_more_input_ = false;
    return post(&Connection::read);
  }
  if (!watch()) return disconnect();
  is_reading_ = true;
  events_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
    self->is_reading_ = false;
    if (!error) self->read();
  });
}

void Connection::wait_to_write() {
  if (is_writing_) return;
  if (!watch()) return disconnect();
  is_writing_ = true;
  if (!is_behind_) {
    is_behind_ = true;
    stall_begin_ = Clock::now();
    stall_bytes_ = 0;
    const auto stall = stall_begin_ + std::chrono::seconds(limits().write_stall_seconds);
    if (stall < armed_) arm_timer(stall);
  }
  events_.async_wait(Descriptor::wait_write, [self = shared_from_this()](const boost::system::error_code& error) {
    self->is_writing_ = false;
    if (!error) self->read();  // a TLS handshake may have waited for this, too
  });
}

// ---- The end

void Connection::linger() {
  // A socket closed with unread input would be reset, and the client could disconnect the reply it has not read yet.
  phase_ = Phase::kLingering;
  if (is_at_end_) return close();
  transport_->finish_sending();
  if (style_.is_last && in_.empty()) return close();
  in_ = std::string();
  expire_at(Clock::now() + kLingerTime);
}

void Connection::disconnect() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  const std::shared_ptr<ConnectionExchange> exchange = exchange_;
  if (exchange != nullptr) finish(exchange->request(), 499, exchange->sent_bytes());
  close();
  if (exchange != nullptr) exchange->disconnect();
}

void Connection::end_exchange_early() {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<ConnectionExchange> exchange = exchange_;
  if (exchange == nullptr) return disconnect();
  const bool is_streaming = exchange->is_streaming();
  const std::string last =
      is_streaming && shared_->options.cut_stream ? shared_->options.cut_stream(exchange->request()) : "";
  if (is_streaming && last.empty()) return disconnect();
  exchange->disconnect();
  style_.is_keep_alive = false;
  if (is_streaming) {
    write_chunk(last);
    end_stream();
    finish(exchange->request(), 200, exchange->sent_bytes());
  } else {
    const Response response =
        shared_->refuse({503, "draining", "the server was stopped; try again"}, exchange->request());
    write_reply(exchange->request(), response);
    finish(exchange->request(), response.status, response.body.size());
  }
  settle();
}

void Connection::close() {
  phase_ = Phase::kClosed;
  count_body(0);
  timer_.cancel();
  transport_.reset();
  boost::system::error_code ignored;
  if (events_.is_open()) {
    events_.close(ignored);
  } else {
    ::close(socket_);
  }
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->connections.erase(this);
    if (is_counted_ && --shared_->num_connections[remote_] == 0) shared_->num_connections.erase(remote_);
  }
  shared_->changed.notify_all();
  if (shared_->options.on_connection) shared_->options.on_connection(-1);
}

// ---- Time

// The timer is only ever moved to an earlier time: most deadlines are replaced before they pass, and cost nothing.
void Connection::expire_at(Clock::time_point deadline) {
  deadline_ = deadline;
  if (deadline < armed_) arm_timer(deadline);
}

void Connection::arm_timer(Clock::time_point when) {
  armed_ = when;
  timer_.expires_at(when);
  timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (!error && self) self->on_timer();
  });
}

void Connection::on_timer() {
  if (phase_ == Phase::kClosed) return;
  armed_ = Clock::time_point::max();
  const auto now = Clock::now();
  auto next = deadline_;
  if (is_behind_) {
    const auto time = std::chrono::seconds(limits().write_stall_seconds);
    if (now >= stall_begin_ + time) {
      if (stall_bytes_ < limits().write_stall_bytes) return disconnect();
      stall_begin_ = now;
      stall_bytes_ = 0;
    }
    next = std::min(next, stall_begin_ + time);
  }
  if (now >= deadline_) {
    deadline_ = Clock::time_point::max();
    if (phase_ == Phase::kLingering || !is_partial_) return disconnect();
    is_partial_ = false;
    refuse(408, "request_timeout", "the request did not arrive in time");
    return settle();
  }
  if (next != Clock::time_point::max()) arm_timer(next);
}

}  // namespace quire::http
