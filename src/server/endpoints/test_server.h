// A server without sockets for tests: an exchange that records its replies, a context over the embedded demo model, and
// an engine that the test's thread steps.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "engine/engine.h"
#include "server/answers/grammars.h"
#include "server/endpoints/routes.h"
#include "server/metrics/metrics.h"

namespace quire::test {

class FakeExchange : public http::Exchange {
 public:
  explicit FakeExchange(std::string body) {
    request_.method = "POST";
    request_.body = std::move(body);
    request_.id = "req-1";
    request_.received = std::chrono::steady_clock::now();
  }

  http::Request& mutable_request() { return request_; }
  const http::Request& request() const override { return request_; }
  void reply(http::Response response) override {
    if (std::this_thread::get_id() != thread_) {
      return post([this, response = std::move(response)] { reply(response); });
    }
    EXPECT_FALSE(is_done() || is_stream_) << "answered twice";
    response_ = std::move(response);
    forget();
  }
  void begin_stream(std::string content_type) override {
    EXPECT_FALSE(is_done() || is_stream_) << "answered twice";
    is_stream_ = true;
    stream_type_ = std::move(content_type);
  }
  void send(std::string data) override {
    EXPECT_TRUE(is_stream_ && !is_ended_);
    ++num_sends_;
    if (is_connected_) sent_ += data;
    unsent_ += holds_back_ ? data.size() : 0;
    most_unsent_ = std::max(most_unsent_, unsent_);
  }
  void end() override {
    EXPECT_TRUE(is_stream_ && !is_ended_);
    is_ended_ = true;
    forget();
  }
  size_t unsent_bytes() const override { return unsent_; }
  void on_sent(std::function<void()> callback) override { on_sent_ = std::move(callback); }
  void on_disconnect(std::function<void()> callback) override {
    if (!is_connected_) return callback();
    on_disconnect_ = std::move(callback);
  }
  bool is_connected() const override { return is_connected_; }
  void post(std::function<void()> task) override {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(task));
  }
  void post_after(std::chrono::milliseconds, std::function<void()> task) override {
    timers_.push_back(std::move(task));
  }

  // The test's side.
  void run_posted() {
    for (;;) {
      std::function<void()> task;
      {
        const std::lock_guard lock(mutex_);
        if (posted_.empty()) return;
        task = std::move(posted_.front());
        posted_.pop_front();
      }
      task();
    }
  }
  size_t num_posted() const {
    const std::lock_guard lock(mutex_);
    return posted_.size();
  }
  void run_timers() {
    std::vector<std::function<void()>> due = std::move(timers_);
    timers_.clear();
    for (const auto& task : due) task();
  }
  void disconnect() {
    is_connected_ = false;
    if (const auto callback = std::move(on_disconnect_)) callback();
    forget();
  }
  void hold_back() { holds_back_ = true; }
  void let_go() {
    unsent_ = 0;
    if (const auto callback = on_sent_) callback();
  }
  bool is_done() const { return response_.has_value() || is_ended_; }
  const http::Response& response() const { return *response_; }
  bool is_stream() const { return is_stream_; }
  const std::string& stream_type() const { return stream_type_; }
  const std::string& sent() const { return sent_; }
  size_t num_sends() const { return num_sends_; }
  size_t most_unsent() const { return most_unsent_; }

 private:
  void forget() {
    on_sent_ = nullptr;
    on_disconnect_ = nullptr;
    timers_.clear();
  }

  http::Request request_;
  std::optional<http::Response> response_;
  bool is_stream_ = false, is_ended_ = false, is_connected_ = true, holds_back_ = false;
  std::string stream_type_, sent_;
  size_t num_sends_ = 0, unsent_ = 0, most_unsent_ = 0;
  std::function<void()> on_sent_, on_disconnect_;
  const std::thread::id thread_ = std::this_thread::get_id();
  mutable std::mutex mutex_;
  std::deque<std::function<void()>> posted_;
  std::vector<std::function<void()>> timers_;
};

// Events of a stream as a client reads them; checks the framing on the way.
inline std::vector<json::object> events_of(const std::string& stream, bool expect_done = true) {
  std::vector<json::object> events;
  size_t at = 0;
  bool is_done = false;
  while (at < stream.size()) {
    const size_t end = stream.find("\n\n", at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "an event without its end: " << stream.substr(at);
      break;
    }
    const std::string event = stream.substr(at, end - at);
    at = end + 2;
    EXPECT_FALSE(is_done) << "an event after [DONE]";
    if (event.starts_with(":")) continue;
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    if (event == "data: [DONE]") {
      is_done = true;
    } else {
      events.push_back(parse_json(std::string_view(event).substr(6), "event").as_object());
    }
  }
  EXPECT_EQ(is_done, expect_done);
  return events;
}

inline std::string gzipped(const std::string& text) {
  z_stream stream = {};
  constexpr int kGzip = 15 + 16;
  EXPECT_EQ(::deflateInit2(&stream, 9, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(text.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - stream.avail_out);
  ::deflateEnd(&stream);
  return out;
}

class ServerTest : public testing::Test {
 protected:
  void SetUp() override { make_engine(); }

  void make_engine(EngineOptions options = {}, int64_t max_sequences = 8) {
    RunnerOptions runner;
    runner.num_threads = 1;
    runner.max_sequences = max_sequences;
    runner.max_batch_tokens = 256;
    runner.max_context = 256;
    runner.num_blocks = 64;
    engine_ = std::make_unique<Engine>(ModelRunner::load(checkpoint(), runner), std::move(options));
    context_.models = ServedModels();
    model_ = &context_.models.add({.card = {.id = "demo",
                                            .aliases = {},
                                            .root = "quire-demo-small.gguf",
                                            .max_model_len = engine_->max_sequence_tokens(),
                                            .vocab_size = engine_->runner().info().vocab_size,
                                            .architecture = "",
                                            .arithmetic = ""},
                                   .engine = engine_.get(),
                                   .text = &text()});
    model_->grammars = make_grammars(*model_, context_.limits);
    context_.metrics = &metrics_;
    context_.state = ServerState::kReady;
  }

  static const Checkpoint& checkpoint() {
    static const auto checkpoint = Checkpoint::open(QUIRE_SOURCE_DIR "/assets/demo/quire-demo-small.gguf");
    return *checkpoint;
  }
  static const TextProcessor& text() {
    static const auto text = TextProcessor::load(checkpoint());
    return *text;
  }

  std::shared_ptr<FakeExchange> start(Handler handler, const json::value& body) {
    return start_raw(handler, json::serialize(body));
  }
  std::shared_ptr<FakeExchange> start_raw(Handler handler, std::string body, http::Headers headers = {}) {
    const auto exchange = std::make_shared<FakeExchange>(std::move(body));
    exchange->mutable_request().headers = std::move(headers);
    run(handler, exchange);
    exchange->run_posted();
    return exchange;
  }
  void run(Handler handler, const ExchangePtr& exchange) {
    const auto route =
        std::find_if(routes().begin(), routes().end(), [&](const Route& each) { return each.handle == handler; });
    run_route(*route, context_, exchange);
  }
  // Steps the engine until the exchange is answered.
  void finish(FakeExchange& exchange) {
    for (int i = 0; i < 4000 && !exchange.is_done(); ++i) {
      engine_->step();
      exchange.run_posted();
    }
    ASSERT_TRUE(exchange.is_done()) << "no end in sight";
    while (engine_->step()) {
    }
    EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0);
  }
  json::object answer(Handler handler, const json::value& body, int status = 200) {
    const auto exchange = start(handler, body);
    finish(*exchange);
    if (!exchange->is_done() || exchange->is_stream()) return {};
    EXPECT_EQ(exchange->response().status, status) << exchange->response().body;
    return parse_json(exchange->response().body, "answer").as_object();
  }
  std::vector<json::object> stream(Handler handler, json::object body) {
    body["stream"] = true;
    const auto exchange = start(handler, body);
    finish(*exchange);
    EXPECT_TRUE(exchange->is_stream()) << (exchange->is_done() ? exchange->response().body : "");
    return events_of(exchange->sent());
  }
  // The "error" of a refusal.
  json::object error(Handler handler, const json::value& body, int status = 400) {
    const json::object given = answer(handler, body, status);
    EXPECT_TRUE(given.contains("error")) << json::serialize(given);
    return given.contains("error") ? given.at("error").as_object() : json::object();
  }

  Metrics metrics_;
  ServerContext context_;
  ServedModel* model_ = nullptr;
  std::unique_ptr<Engine> engine_;
};

inline json::object chat(std::string_view text, json::object more = {}) {
  json::object body{{"messages", json::array{json::object{{"role", "user"}, {"content", text}}}}, {"temperature", 0}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}
inline json::object completion(json::value prompt, json::object more = {}) {
  json::object body{{"prompt", std::move(prompt)}, {"temperature", 0}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}
inline const json::object& choice(const json::object& answer, size_t index = 0) {
  return answer.at("choices").as_array().at(index).as_object();
}
inline std::string text_of(const json::value& value) { return std::string(value.as_string()); }

}  // namespace quire::test
