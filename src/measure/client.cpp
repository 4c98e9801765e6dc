#include "measure/client.h"

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>
#include <unordered_set>

#include "base/error.h"
#include "measure/event_stream.h"
#include "measure/http_request.h"

namespace quire::load {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Stream = std::unique_ptr<beast::tcp_stream>;

constexpr auto kTick = std::chrono::milliseconds(200);
constexpr size_t kMaxErrorBytes = 400;

Clock::duration milliseconds(double ms) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(ms));
}

// What all requests of a run share, its clock among them.
struct Shared {
  asio::io_context io{1};
  asio::ip::tcp::resolver::results_type endpoints;
  Clock::time_point start;
  std::vector<Stream> idle;  // connections whose last answer was read to its end

  double now_ms() const { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }
};

// One request and its answer. Keeps itself alive until on_end was called.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Shared& shared, HttpRequest request, RequestRecord& record, double timeout_s)
      : shared_(shared), request_(std::move(request)), record_(record), answer_(record), timeout_s_(timeout_s) {}

  void start(std::function<void()> on_end) {
    on_end_ = std::move(on_end);
    deadline_ = Clock::now() + milliseconds(timeout_s_ * 1000.0);
    record_.sent_ms = shared_.now_ms();
    if (shared_.idle.empty()) {
      connect();
    } else {
      stream_ = std::move(shared_.idle.back());
      shared_.idle.pop_back();
      is_reused_ = true;
      write();
    }
  }

 private:
  void connect() {
    stream_ = std::make_unique<beast::tcp_stream>(shared_.io);
    stream_->expires_at(deadline_);
    stream_->async_connect(shared_.endpoints, [self = shared_from_this()](error_code error, const auto&) {
      if (error) return self->end("connect", error);
      self->stream_->socket().set_option(asio::ip::tcp::no_delay(true), error);
      self->write();
    });
  }

  void write() {
    parser_.emplace();
    parser_->body_limit(boost::none);
    stream_->expires_at(deadline_);
    http::async_write(*stream_, request_, [self = shared_from_this()](error_code error, size_t) {
      if (error) return self->retry_or_end("send", error);
      http::async_read_header(*self->stream_, self->buffer_, *self->parser_, [self](error_code failure, size_t) {
        if (failure) return self->retry_or_end("receive", failure);
        self->take_header();
        self->read();
      });
    });
  }

  void take_header() {
    record_.status = parser_->get().result_int();
    if (record_.status != 200) {
      record_.error = fmt::format("HTTP {}", record_.status);
    } else if (!parser_->get()[http::field::content_type].starts_with("text/event-stream")) {
      record_.error = "no event stream";
    }
  }

  void read() {
    if (parser_->is_done()) return end("", {});
    auto& body = parser_->get().body();
    body.data = piece_.data();
    body.size = piece_.size();
    http::async_read_some(*stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, size_t) {
      const double now_ms = self->shared_.now_ms();
      if (error == http::error::need_buffer) error = {};
      self->take({self->piece_.data(), self->piece_.size() - self->parser_->get().body().size}, now_ms);
      if (error) return self->end("receive", error);
      self->read();
    });
  }

  void take(std::string_view bytes, double now_ms) {
    if (record_.status != 200) {
      error_body_ += bytes.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, error_body_.size()));
      return;
    }
    answer_.push(bytes, now_ms);
    if (answer_.is_done() && record_.end_ms == 0) record_.end_ms = now_ms;
  }

  // A server may close an idle connection while a request is being sent to it; that is no failure of the server.
  void retry_or_end(const char* what, error_code error) {
    const bool may_retry = is_reused_ && error != beast::error::timeout && !parser_->got_some();
    if (!may_retry) return end(what, error);
    is_reused_ = false;
    buffer_.clear();
    connect();
  }

  void end(const char* what, error_code error) {
    if (error == beast::error::timeout) {
      record_.error = "timeout";
    } else if (error && !answer_.is_done() && record_.ok()) {
      record_.error = what;
      record_.error_detail = error.message();
    }
    if (!error_body_.empty()) record_.error_detail = printable(error_body_, kMaxErrorBytes);
    answer_.finish();
    if (record_.end_ms == 0) record_.end_ms = shared_.now_ms();
    if (!error && parser_ && parser_->is_done() && parser_->keep_alive() && request_.keep_alive()) {
      shared_.idle.push_back(std::move(stream_));
    }
    std::exchange(on_end_, nullptr)();
  }

  Shared& shared_;
  HttpRequest request_;
  RequestRecord& record_;
  AnswerReader answer_;
  const double timeout_s_;
  std::function<void()> on_end_;
  Clock::time_point deadline_;
  Stream stream_;
  bool is_reused_ = false;
  beast::flat_buffer buffer_;
  boost::optional<http::response_parser<http::buffer_body>> parser_;
  std::array<char, 16384> piece_;
  std::string error_body_;
};

// Starts each request when it is due, or when a client of the closed loop is free.
class Driver {
 public:
  Driver(const ClientOptions& options, const PromptMaker& prompts, const std::vector<PlannedRequest>& requests,
         int64_t concurrency, const OnProgress& on_progress)
      : options_(options),
        prompts_(prompts),
        requests_(requests),
        concurrency_(concurrency),
        on_progress_(on_progress),
        records_(requests.size()),
        due_(shared_.io),
        tick_(shared_.io) {
    progress_.num_requests = static_cast<int64_t>(requests.size());
  }

  std::vector<RequestRecord> run() {
    shared_.endpoints = resolve(shared_.io, options_.target);
    shared_.start = Clock::now();
    schedule_tick();
    if (concurrency_ > 0) {
      for (int64_t i = 0; i < concurrency_; ++i) start_next(0.0);
    } else {
      schedule_next();
    }
    shared_.io.run();
    progress_.elapsed_s = shared_.now_ms() / 1000.0;
    on_progress_(progress_);
    return finish();
  }

 private:
  void schedule_next() {
    if (next_ == requests_.size()) return;
    due_.expires_at(shared_.start + milliseconds(requests_[next_].due_ms));
    due_.async_wait([this](error_code error) {
      if (error) return;
      const double now_ms = shared_.now_ms();
      while (next_ < requests_.size() && requests_[next_].due_ms <= now_ms) start_next(requests_[next_].due_ms);
      schedule_next();
    });
  }

  void start_next(double due_ms) {
    if (next_ == requests_.size()) return;
    const PlannedRequest& planned = requests_[next_];
    RequestRecord& record = records_[next_++];
    record.due_ms = due_ms;
    record.planned_input = planned.input_tokens;
    record.planned_output = planned.output_tokens;
    if (progress_.num_sent - progress_.num_done >= options_.max_in_flight) {
      record.error = "too many in flight";
      record.error_detail = fmt::format("{} requests were unanswered already", options_.max_in_flight);
      record.end_ms = shared_.now_ms();
      ++progress_.num_sent;
      return take_end(record);
    }
    ++progress_.num_sent;
    // The JSON of a request is made when it is sent: all of it would be gigabytes in a long run.
    std::make_shared<Exchange>(shared_, make_request(options_, prompts_, planned), record, options_.timeout_s)
        ->start([this, &record] {
          take_end(record);
          if (concurrency_ > 0 && !is_stopped_) start_next(shared_.now_ms());
        });
  }

  void take_end(const RequestRecord& record) {
    ++progress_.num_done;
    if (!record.ok()) ++progress_.num_failed;
    progress_.num_tokens += static_cast<int64_t>(record.token_ms.size());
    if (progress_.num_done == progress_.num_requests) tick_.cancel();
  }

  void schedule_tick() {
    tick_.expires_after(kTick);
    tick_.async_wait([this](error_code error) {
      if (error) return;
      progress_.elapsed_s = shared_.now_ms() / 1000.0;
      if (on_progress_(progress_)) return schedule_tick();
      is_stopped_ = true;
      shared_.io.stop();
    });
  }

  std::vector<RequestRecord> finish() {
    records_.resize(next_);
    for (RequestRecord& record : records_) {
      if (record.end_ms > 0) continue;
      record.error = "interrupted";
      record.end_ms = shared_.now_ms();
    }
    return std::move(records_);
  }

  const ClientOptions& options_;
  const PromptMaker& prompts_;
  const std::vector<PlannedRequest>& requests_;
  const int64_t concurrency_;
  const OnProgress& on_progress_;
  std::vector<RequestRecord> records_;
  Shared shared_;  // before the timers and destroyed after them; its io_context holds the exchanges
  asio::steady_timer due_;
  asio::steady_timer tick_;
  Progress progress_;
  size_t next_ = 0;
  bool is_stopped_ = false;
};

}  // namespace

std::vector<RequestRecord> run_load(const ClientOptions& options, const PromptMaker& prompts,
                                    const std::vector<PlannedRequest>& requests, int64_t concurrency,
                                    const OnProgress& on_progress) {
  if (requests.empty()) return {};
  return Driver(options, prompts, requests, concurrency, on_progress).run();
}

}  // namespace quire::load
