#include "server/http/server.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <thread>

#include "base/error.h"
#include "server/http/proxies.h"
#include "server/http/test_client.h"

namespace quire::http {
namespace {

using test::ask;
using test::body_of;
using test::Client;
using test::field_of;
using test::status_of;
using ExchangePtr = std::shared_ptr<Exchange>;

const std::string kGet = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
const std::string kStream = "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
const std::string kHang = "GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n";

// A server whose handler's behaviour depends on the path.
struct Running {
  explicit Running(ServerOptions options = {}) {
    if (options.addresses.empty()) options.addresses = {{"127.0.0.1", 0}};
    options.handle = [this](const ExchangePtr& exchange) { handle(exchange); };
    options.on_finished = [this](const Finished& finished) {
      if (finished.status == 499) ++num_left;
    };
    options.on_connection = [this](int change) { num_connections += change; };
    options.cut_stream = [](const Request&) { return "data: cut\n\n"; };
    server = std::make_unique<Server>(std::move(options));
    port = server->addresses().empty() ? 0 : server->addresses().front().port;
  }

  void handle(const ExchangePtr& exchange) {
    const std::string& path = exchange->request().path;
    if (path == "/echo") return exchange->reply({.content_type = "text/plain", .body = exchange->request().body});
    if (path == "/throw") throw std::runtime_error("secret text");
    if (path == "/later") return exchange->post([exchange] { exchange->reply({.body = "later"}); });
    if (path == "/size") {
      return exchange->reply(
          {.content_type = "text/plain", .body = std::string(std::stoul(exchange->request().query), 'x')});
    }
    exchange->on_disconnect([this] { lost.set_value(); });
    if (path == "/stream") {
      exchange->begin_stream("text/event-stream");
      exchange->send("data: one\n\n");
    }
    if (path == "/throw-in-stream") {
      exchange->begin_stream("text/event-stream");
      exchange->send("data: one\n\n");
      exchange->post([] { throw std::runtime_error("secret text"); });
    }
    if (path == "/flood") flood(exchange);
    held.set_value(exchange);
  }
  // Sends whenever the queue is empty, for ever.
  static void flood(const ExchangePtr& exchange) {
    exchange->begin_stream("text/plain");
    exchange->send(std::string(100'000, 'y'));
    const std::weak_ptr<Exchange> weak = exchange;
    exchange->on_sent([weak] {
      if (const auto self = weak.lock()) self->send(std::string(100'000, 'y'));
    });
  }
  // The exchange of the one request that is held.
  ExchangePtr take() { return held.get_future().get(); }
  bool wait_until_lost() { return lost.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready; }

  std::promise<ExchangePtr> held;
  std::promise<void> lost;
  std::atomic<int> num_left{0};
  std::atomic<int> num_connections{0};
  uint16_t port = 0;
  std::unique_ptr<Server> server;
};

std::string post_request(const std::string& body) {
  return "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  Running running;
  Client client(running.port);
  for (int i = 0; i < 3; ++i) {
    client.send(post_request("body " + std::to_string(i)));
    const std::string reply = client.read_reply();
    EXPECT_EQ(status_of(reply), 200);
    EXPECT_EQ(body_of(reply), "body " + std::to_string(i));
    EXPECT_TRUE(field_of(reply, "x-request-id").starts_with("req-"));
    EXPECT_EQ(field_of(reply, "Server"), "");
  }
}

TEST(HttpServer, EchoesOnlyWellFormedRequestIds) {
  Running running;
  const auto id_for = [&](const std::string& id) {
    return field_of(ask(running.port, "GET /echo HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + id + "\r\n\r\n"),
                    "x-request-id");
  };
  EXPECT_EQ(id_for("abc-1.2_3:4"), "abc-1.2_3:4");
  EXPECT_TRUE(id_for("a b").starts_with("req-"));
  EXPECT_TRUE(id_for("a\"b").starts_with("req-"));
  EXPECT_TRUE(id_for(std::string(129, 'a')).starts_with("req-"));
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  Running running;
  Client client(running.port);
  std::string all;
  constexpr int kCount = 200;
  for (int i = 0; i < kCount; ++i) {
    all += i % 3 == 0 ? "GET /later HTTP/1.1\r\nHost: a\r\n\r\n" : post_request(std::to_string(i));
  }
  client.send(all);
  for (int i = 0; i < kCount; ++i) {
    ASSERT_EQ(body_of(client.read_reply()), i % 3 == 0 ? "later" : std::to_string(i));
  }
}

TEST(HttpServer, RepliesLargerThanTheSocketsBufferArriveWhole) {
  Running running;
  Client client(running.port);
  client.send("GET /size?20000000 HTTP/1.1\r\nHost: a\r\n\r\nGET /size?3 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(body_of(client.read_reply()).size(), 20'000'000u);
  EXPECT_EQ(body_of(client.read_reply()), "xxx");
  Client last(running.port);
  last.send("GET /size?20000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(body_of(last.read_all()).size(), 20'000'000u);
}

TEST(HttpServer, SplittingTheBytesChangesNothing) {
  Running running;
  std::mt19937 random(3);
  const std::string text =
      post_request("first") +
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n" + kGet;
  for (int round = 0; round < 30; ++round) {
    Client client(running.port);
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min<size_t>(text.size() - at, 1 + random() % 40);
      client.send(std::string_view(text).substr(at, size));
      at += size;
    }
    EXPECT_EQ(body_of(client.read_reply()), "first");
    EXPECT_EQ(body_of(client.read_reply()), "second");
    EXPECT_EQ(status_of(client.read_reply()), 200);
  }
}

TEST(HttpServer, HeadHasNoBody) {
  Running running;
  Client client(running.port);
  client.send("HEAD /size?7 HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_EQ(field_of(head, "Content-Length"), "7");
  client.send(kGet);
  EXPECT_TRUE(client.read_reply().starts_with("HTTP/1.1 200"));
}

TEST(HttpServer, Answers100ContinueWhenExpected) {
  Running running;
  Client client(running.port);
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(body_of(client.read_reply()), "ok");
}

TEST(HttpServer, Http10ClosesUnlessAskedTo) {
  Running running;
  Client plain(running.port);
  plain.send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_NE(plain.read_all().find("Connection: close"), std::string::npos);
  Client kept(running.port);
  kept.send("GET /echo HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
  EXPECT_EQ(field_of(kept.read_reply(), "Connection"), "keep-alive");
  kept.send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_EQ(status_of(kept.read_reply()), 200);
}

TEST(HttpServer, BadFramingIsAnsweredAndTheConnectionEnds) {
  Running running;
  Client client(running.port);
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + kGet);
  const std::string all = client.read_all();
  EXPECT_EQ(status_of(all), 400);
  EXPECT_EQ(field_of(all, "Connection"), "close");
  EXPECT_EQ(all.find("HTTP/1.1 ", 8), std::string::npos) << "what followed was taken for a request";
}

TEST(HttpServer, AHeaderUpToARaisedLimitIsRead) {
  constexpr size_t kBytes = 1 << 20;
  ServerOptions options;
  options.limits.header_bytes = kBytes;
  const Running running(std::move(options));
  const auto request = [](size_t bytes) {
    return "GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Long: " + std::string(bytes, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(status_of(ask(running.port, request(kBytes - 100))), 200);
  EXPECT_EQ(status_of(ask(running.port, request(kBytes))), 431);
}

// A page that may read answers may read refusals, too.
TEST(HttpServer, ARefusedBodysReplyHasTheFieldsOfItsRequest) {
  ServerOptions options;
  options.limits.body_bytes = 10;
  options.admit = [](Request& request, Headers& fields) -> std::optional<Response> {
    fields.emplace_back("X-Path", request.path);
    return std::nullopt;
  };
  const Running running(std::move(options));
  Client client(running.port);
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.send("ff\r\n");
  const std::string too_large = client.read_all();
  EXPECT_EQ(status_of(too_large), 413);
  EXPECT_EQ(field_of(too_large, "X-Path"), "/echo");

  Client other(running.port);
  other.send(kGet);
  EXPECT_EQ(field_of(other.read_reply(), "X-Path"), "/echo");
  other.send("no request\r\n\r\n");
  const std::string malformed = other.read_all();
  EXPECT_EQ(status_of(malformed), 400);
  EXPECT_EQ(field_of(malformed, "X-Path"), "") << "of the request before";
}

TEST(HttpServer, AnOversizedBodyIsRefusedUnreadAndTheReplyArrives) {
  ServerOptions options;
  options.limits.body_bytes = 1000;
  Running running(std::move(options));
  Client client(running.port);
  client.send(post_request(std::string(3'000'000, 'z')));
  const std::string all = client.read_all();
  EXPECT_EQ(status_of(all), 413);
}

TEST(HttpServer, AnEscapedExceptionRevealsOnlyTheRequestId) {
  Running running;
  const std::string reply = ask(running.port, "GET /throw HTTP/1.1\r\nHost: a\r\nx-request-id: me\r\n\r\n");
  EXPECT_EQ(status_of(reply), 500);
  EXPECT_NE(body_of(reply).find("request id me"), std::string::npos);
  EXPECT_EQ(reply.find("secret"), std::string::npos);

  Client client(running.port);
  client.send("GET /throw-in-stream HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string all = client.read_all();
  EXPECT_FALSE(all.ends_with("0\r\n\r\n")) << "a broken stream must not look whole";
  EXPECT_TRUE(running.wait_until_lost());
}

TEST(HttpServer, AStreamIsSentAtOnceAndEnds) {
  Running running;
  Client client(running.port);
  client.send(kStream);
  const std::string head = client.read_until("data: one\n\n\r\n");
  EXPECT_EQ(field_of(head, "Transfer-Encoding"), "chunked");
  EXPECT_EQ(field_of(head, "X-Accel-Buffering"), "no");
  EXPECT_EQ(field_of(head, "Cache-Control"), "no-cache");
  EXPECT_EQ(field_of(head, "Content-Type"), "text/event-stream");
  const ExchangePtr exchange = running.take();
  exchange->post([exchange] {
    exchange->send("data: two\n\n");
    exchange->end();
  });
  EXPECT_EQ(client.read_until("0\r\n\r\n"), "b\r\ndata: two\n\n\r\n0\r\n\r\n");
  client.send(kGet);
  EXPECT_EQ(status_of(client.read_reply()), 200) << "the connection goes on";
}

TEST(HttpServer, ARequestBehindAStreamIsAnsweredAfterIt) {
  Running running;
  Client client(running.port);
  client.send(kStream + post_request("next"));
  const ExchangePtr exchange = running.take();
  exchange->post([exchange] { exchange->on_sent([exchange] { exchange->end(); }); });
  exchange->post([exchange] { exchange->send("data: two\n\n"); });
  client.read_until("0\r\n\r\n");
  EXPECT_EQ(body_of(client.read_reply()), "next");
}

TEST(HttpServer, NoticesAClientThatLeavesWhileNothingIsWritten) {
  for (const std::string& request : {kHang, kStream}) {
    Running running;
    Client client(running.port);
    client.send(request);
    const ExchangePtr exchange = running.take();
    client.close();
    EXPECT_TRUE(running.wait_until_lost());
    EXPECT_EQ(running.num_left, 1);
    std::promise<bool> told_late;
    exchange->post([&] {
      EXPECT_FALSE(exchange->is_connected());
      exchange->send("to nobody");  // arrives nowhere and does no harm
      exchange->on_disconnect([&] { told_late.set_value(true); });
    });
    EXPECT_TRUE(told_late.get_future().get());
  }
}

TEST(HttpServer, AnswersAtOnceToAClientThatSendsNoMore) {
  Running running;
  Client client(running.port);
  client.send(kGet + kGet);
  client.finish_sending();
  const std::string all = client.read_all();
  EXPECT_EQ(status_of(all), 200);
}

TEST(HttpServer, AStalledReaderIsDisconnectedAndItsMemoryIsBounded) {
  ServerOptions options;
  options.limits.write_stall_seconds = 1;
  Running running(std::move(options));
  Client client(running.port);
  client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");
  const ExchangePtr exchange = running.take();
  EXPECT_TRUE(running.wait_until_lost());
  EXPECT_LE(exchange->unsent_bytes(), 300'000u);
}

TEST(HttpServer, AReaderBelowTheLeastRateIsDisconnected) {
  ServerOptions options;
  options.limits.write_stall_seconds = 1;
  options.limits.write_stall_bytes = uint64_t{1} << 40;
  Running running(std::move(options));
  Client client(running.port);
  // More than any socket's buffer, so that every piece that is read lets the server write some more.
  client.send("GET /size?30000000 HTTP/1.1\r\nHost: a\r\n\r\n");
  client.read_until("\r\n\r\n");
  const auto start = std::chrono::steady_clock::now();
  while (running.num_connections > 0 && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
    client.read_some();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(running.num_connections, 0) << "it read, but slowly";
}

TEST(HttpServer, BodiesThatArriveAreBoundedTogether) {
  ServerOptions options;
  options.limits.receiving_bytes = 1'500'000;
  Running running(std::move(options));
  const auto header = [](size_t size) {
    return "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  };
  const std::string half(1'000'000, 'x');
  Client slow(running.port);
  slow.send(header(2 * half.size()) + half);
  int num_refused = 0;
  std::string refusal;
  for (int i = 0; i < 200 && num_refused == 0; ++i) {
    refusal = ask(running.port, header(half.size()) + half);
    num_refused += status_of(refusal) == 503 ? 1 : 0;
  }
  // Which of the two grew beyond the limit depends on who was read first.
  slow.send(half);
  num_refused += status_of(slow.read_reply()) == 503 ? 1 : 0;
  EXPECT_EQ(num_refused, 1);
  EXPECT_EQ(status_of(ask(running.port, header(half.size()) + half)), 200) << "nothing is arriving any more";
}

// Slow bodies of one address leave room for those of another.
TEST(HttpServer, AnAddressTakesAtMostHalfOfTheBodiesThatArrive) {
  ServerOptions options;
  options.limits.receiving_bytes = 1'000'000;
  Running running(std::move(options));
  const auto header = [](size_t size) {
    return "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  };
  const std::string part(200'000, 'x');
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 6; ++i) {
    slow.push_back(std::make_unique<Client>(running.port));
    slow.back()->send(header(part.size() + 1) + part);
  }
  // More than the limit in all: some have been refused, and those that stay are at most half of it.
  Client neighbour(running.port, "127.0.0.2");
  const std::string body(240'000, 'y');
  neighbour.send(header(body.size()) + body);
  EXPECT_EQ(status_of(neighbour.read_reply()), 200);
}

// Behind a proxy, and with keys.
TEST(HttpServer, ClientsOfOneAddressHaveSharesOfTheirOwn) {
  ServerOptions options;
  options.limits.receiving_bytes = 1'000'000;
  options.trusted_proxies = {"127.0.0.1"};
  options.admit = [](Request& request, Headers&) {
    request.tenant = request.header("x-key");
    return std::optional<Response>();
  };
  Running running(std::move(options));
  const auto header = [](const std::string& fields, size_t size) {
    return "POST /echo HTTP/1.1\r\nHost: a\r\n" + fields + "Content-Length: " + std::to_string(size) + "\r\n\r\n";
  };
  const std::string part(200'000, 'x');
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 6; ++i) {
    slow.push_back(std::make_unique<Client>(running.port));
    slow.back()->send(header("X-Forwarded-For: 192.0.2.1\r\n", part.size() + 1) + part);
  }
  const std::string body(240'000, 'y');
  EXPECT_EQ(status_of(ask(running.port, header("X-Forwarded-For: 192.0.2.2\r\n", body.size()) + body)), 200);
  const std::string key = "X-Forwarded-For: 192.0.2.1\r\nX-Key: another\r\n";
  EXPECT_EQ(status_of(ask(running.port, header(key, body.size()) + body)), 200);
}

TEST(HttpServer, AClientIsTheLastAddressThatNoProxyHas) {
  const Proxies proxies({"10.0.0.1", "2001:DB8::1"});
  const auto client_of = [&](std::string_view remote, const std::vector<std::string>& fields) {
    Headers headers;
    for (const std::string& field : fields) headers.emplace_back("x-forwarded-for", field);
    return proxies.client_of(remote, headers);
  };
  EXPECT_EQ(client_of("192.0.2.9", {"192.0.2.1"}), "192.0.2.9") << "not a proxy";
  EXPECT_EQ(client_of("10.0.0.1", {}), "10.0.0.1");
  EXPECT_EQ(client_of("10.0.0.1", {"192.0.2.7, 192.0.2.1"}), "192.0.2.1") << "the first is the client's own claim";
  EXPECT_EQ(client_of("10.0.0.1", {"192.0.2.7", "192.0.2.1,2001:db8:0::1"}), "192.0.2.1") << "the last is a proxy";
  EXPECT_EQ(client_of("10.0.0.1", {"192.0.2.7", "10.0.0.1"}), "192.0.2.7");
  EXPECT_EQ(client_of("2001:db8::1", {"192.0.2.1:4711"}), "192.0.2.1");
  EXPECT_EQ(client_of("::ffff:10.0.0.1", {"::ffff:192.0.2.1"}), "192.0.2.1") << "IPv4 through a socket of IPv6";
  EXPECT_EQ(client_of("2001:db8::1", {"[2001:db8::2]:4711"}), "2001:db8::2");
  EXPECT_EQ(client_of("10.0.0.1", {"192.0.2.1, unknown"}), "10.0.0.1") << "what stands before it is not believed";
  EXPECT_EQ(client_of(kUnixPeer, {"192.0.2.1"}), "192.0.2.1");
  EXPECT_THROW(Proxies({"proxy.example"}), Error);
}

TEST(HttpServer, SlowHeadersAndBodiesAndIdleConnectionsEnd) {
  ServerOptions options;
  options.limits.header_seconds = options.limits.body_seconds = options.limits.idle_seconds = 1;
  Running running(std::move(options));
  Client silent(running.port), header(running.port), body(running.port), idle(running.port);
  header.send("GET / HTT");
  body.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  idle.send(kGet);
  EXPECT_EQ(status_of(idle.read_reply()), 200);
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_EQ(status_of(header.read_all()), 408);
  EXPECT_EQ(status_of(body.read_all()), 408);
  EXPECT_EQ(idle.read_all(), "");
}

class HttpConnections : public testing::TestWithParam<int Limits::*> {};
INSTANTIATE_TEST_SUITE_P(Limits, HttpConnections,
                         testing::Values(&Limits::connections, &Limits::connections_per_address));

TEST_P(HttpConnections, AreCountedAndLimited) {
  ServerOptions options;
  options.limits.*GetParam() = 2;
  Running running(std::move(options));
  auto first = std::make_unique<Client>(running.port);
  Client second(running.port);
  for (Client* client : {first.get(), &second}) {
    client->send(kGet);
    EXPECT_EQ(status_of(client->read_reply()), 200);
  }
  Client third(running.port);
  EXPECT_EQ(status_of(third.read_all()), 503);
  first.reset();
  while (running.num_connections > 1) std::this_thread::yield();
  Client fourth(running.port);
  fourth.send(kGet);
  EXPECT_EQ(status_of(fourth.read_reply()), 200);
}

TEST(HttpServer, ADrainFinishesRunningRequestsAndRefusesNewOnes) {
  Running running;
  Client idle(running.port), busy(running.port);
  idle.send(kGet);
  idle.read_reply();
  busy.send(kStream);
  busy.read_until("data: one\n\n\r\n");
  const ExchangePtr exchange = running.take();
  std::thread drain([&] { running.server->drain(std::chrono::seconds(20)); });
  EXPECT_EQ(idle.read_all(), "");
  Client late(running.port);
  EXPECT_TRUE(late.is_ended()) << "nobody listens any more";
  exchange->post([exchange] {
    exchange->send("data: two\n\n");
    exchange->end();
  });
  EXPECT_TRUE(busy.read_all().ends_with("data: two\n\n\r\n0\r\n\r\n"));
  busy.close();
  drain.join();
  EXPECT_EQ(running.num_left, 0);
}

TEST(HttpServer, ADrainEndsRequestsThatTakeTooLong) {
  for (const std::string& request : {kStream, kHang}) {
    Running running;
    Client client(running.port);
    client.send(request);
    const ExchangePtr exchange = running.take();
    std::thread drain([&] { running.server->drain(std::chrono::milliseconds(10)); });
    const std::string all = client.read_all();
    if (request == kStream) {
      EXPECT_TRUE(all.ends_with("data: cut\n\n\r\n0\r\n\r\n")) << all;
    } else {
      EXPECT_EQ(status_of(all), 503);
    }
    EXPECT_TRUE(running.wait_until_lost());
    client.close();
    drain.join();
  }
}

TEST(HttpServer, AnExchangeMayOutliveTheServer) {
  ExchangePtr exchange;
  {
    Running running;
    Client client(running.port);
    client.send(kStream);
    exchange = running.take();
    running.server.reset();
    EXPECT_TRUE(running.wait_until_lost());
  }
  exchange->post([] { FAIL() << "nothing runs any more"; });
}

TEST(HttpServer, ManyClientsComeAndGoAtRandom) {
  Running running;
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&running, seed] {
      std::mt19937 random(seed);
      const std::string text = post_request("0123456789") + kGet;
      for (int i = 0; i < 100; ++i) {
        Client client(running.port);
        client.send(text.substr(0, random() % (text.size() + 1)));
        if (random() % 2 == 0) client.finish_sending();
        if (random() % 2 == 0) client.close();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(status_of(ask(running.port, kGet)), 200);
  while (running.num_connections > 0) std::this_thread::yield();
}

TEST(HttpServer, APortInUseIsReportedWithItsProcess) {
  Running running;
  ServerOptions options;
  options.addresses = {{"127.0.0.1", running.port}};
  try {
    const Server second(std::move(options));
    FAIL() << "two servers on one port";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("in use by"), std::string::npos) << message;
    EXPECT_NE(message.find("process " + std::to_string(::getpid())), std::string::npos) << message;
  }
}

TEST(HttpServer, ListensOnAUnixSocketAndReplacesADeadOne) {
  const std::string path = std::filesystem::temp_directory_path() / ("quire-test-" + std::to_string(::getpid()));
  const auto connect = [&] {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
    return socket;
  };
  {  // as a killed server leaves it
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
    ::close(dead);
  }
  ServerOptions options;
  options.unix_path = path;
  {
    Running running(options);
    const int socket = connect();
    ASSERT_EQ(::send(socket, kGet.data(), kGet.size(), 0), static_cast<ssize_t>(kGet.size()));
    char reply[16] = "";
    EXPECT_GT(::recv(socket, reply, sizeof(reply) - 1, 0), 0);
    EXPECT_EQ(status_of(reply), 200);
    ::close(socket);
    EXPECT_THROW(Running second(options), Error) << "the path is in use";
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

// A self-signed certificate and its key, in files.
struct Certificate {
  explicit Certificate(const std::string& name)
      : certificate_file(std::filesystem::temp_directory_path() / (name + std::to_string(::getpid()) + ".crt")),
        key_file(std::filesystem::temp_directory_path() / (name + std::to_string(::getpid()) + ".key")) {
    EVP_PKEY* const key = EVP_EC_gen("P-256");
    X509* const made = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
    X509_gmtime_adj(X509_getm_notBefore(made), 0);
    X509_gmtime_adj(X509_getm_notAfter(made), 3600);
    X509_set_pubkey(made, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made, X509_get_subject_name(made));
    X509_sign(made, key, EVP_sha256());
    std::FILE* file = std::fopen(certificate_file.c_str(), "w");
    PEM_write_X509(file, made);
    std::fclose(file);
    file = std::fopen(key_file.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(made);
    EVP_PKEY_free(key);
  }
  ~Certificate() {
    std::filesystem::remove(certificate_file);
    std::filesystem::remove(key_file);
  }

  const std::string certificate_file;
  const std::string key_file;
};

struct TlsAnswer {
  std::string name;      // of the certificate
  std::string protocol;  // by ALPN
  std::string reply;
};

TlsAnswer ask_over_tls(uint16_t port, const std::string& request, int max_version = TLS1_3_VERSION) {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, max_version);
  static constexpr unsigned char kOffered[] = "\x02h2\x08http/1.1";
  SSL_CTX_set_alpn_protos(context, kOffered, sizeof(kOffered) - 1);
  BIO* const bio = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(bio, ("127.0.0.1:" + std::to_string(port)).c_str());
  TlsAnswer answer;
  if (BIO_do_connect(bio) == 1 && BIO_do_handshake(bio) == 1) {
    SSL* ssl = nullptr;
    BIO_get_ssl(bio, &ssl);
    const unsigned char* protocol = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &protocol, &size);
    if (protocol != nullptr) answer.protocol.assign(reinterpret_cast<const char*>(protocol), size);
    X509* const certificate = SSL_get1_peer_certificate(ssl);
    char name[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof(name));
    X509_free(certificate);
    answer.name = name;
    BIO_write(bio, request.data(), static_cast<int>(request.size()));
    char bytes[4096];
    for (int count = 0; (count = BIO_read(bio, bytes, sizeof(bytes))) > 0;) {
      answer.reply.append(bytes, static_cast<size_t>(count));
    }
  }
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return answer;
}

TEST(HttpServer, ServesTlsAndReloadsACertificateWithoutARestart) {
  const Certificate first("first");
  const Certificate second("second");
  ServerOptions options;
  options.certificate_file = first.certificate_file;
  options.key_file = first.key_file;
  Running running(std::move(options));
  const std::string request = "GET /size?200000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const TlsAnswer answer = ask_over_tls(running.port, request, version);
    EXPECT_EQ(answer.name, "first");
    EXPECT_EQ(answer.protocol, "http/1.1");
    EXPECT_EQ(body_of(answer.reply).size(), 200'000u);
  }
  EXPECT_EQ(ask_over_tls(running.port, request, TLS1_1_VERSION).reply, "") << "TLS 1.1 is refused";
  Client plain(running.port);
  plain.send(kGet);
  EXPECT_EQ(status_of(plain.read_all()), 0);

  std::filesystem::copy_file(second.certificate_file, first.certificate_file,
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(second.key_file, first.key_file, std::filesystem::copy_options::overwrite_existing);
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::string name = "first";
  while (name == "first" && std::chrono::steady_clock::now() < patience)
    name = ask_over_tls(running.port, request).name;
  EXPECT_EQ(name, "second");
}

TEST(HttpServer, AKeyThatDoesNotMatchTheCertificateIsRefusedAtTheStart) {
  const Certificate first("first");
  const Certificate second("second");
  ServerOptions options;
  options.certificate_file = first.certificate_file;
  options.key_file = second.key_file;
  EXPECT_THROW(Running running(std::move(options)), Error);
}

}  // namespace
}  // namespace quire::http
