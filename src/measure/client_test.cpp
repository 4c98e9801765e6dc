// The client against a server that answers from a script. Nothing here depends on how long anything takes.
#include "measure/client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <thread>

#include "base/error.h"

namespace quire::load {
namespace {

std::string chunk(const std::string& data) { return fmt::format("{:x}\r\n{}\r\n", data.size(), data); }

std::string event(const std::string& text) {
  return chunk("data: {\"choices\":[{\"index\":0,\"text\":\"" + text + "\"}]}\n\n");
}

const std::string kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const std::string kUsage = chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n");
const std::string kEnd = chunk("data: [DONE]\n\n") + "0\r\n\r\n";
const std::string kGood = kStreamHead + event("a") + event("b") + kUsage + kEnd;

// Answers the n-th request that arrives, on any connection, with the n-th reply; the last one repeats. An empty
// reply closes the connection; so does the end of the server.
class FakeServer {
 public:
  explicit FakeServer(std::vector<std::string> replies, bool closes_after_reply = false)
      : replies_(std::move(replies)), closes_after_reply_(closes_after_reply) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    accepter_ = std::thread([this] { accept_all(); });
  }
  ~FakeServer() {
    ::shutdown(listener_, SHUT_RDWR);
    accepter_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& worker : workers_) worker.join();
    for (const int socket : sockets_) ::close(socket);
    ::close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  size_t num_connections() {
    const std::lock_guard lock(mutex_);
    return sockets_.size();
  }

 private:
  void accept_all() {
    for (int socket; (socket = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      const std::lock_guard lock(mutex_);
      sockets_.push_back(socket);
      workers_.emplace_back([this, socket] { serve(socket); });
    }
  }

  void serve(int socket) {
    std::string received;
    while (receive_request(socket, received)) {
      const std::string reply = take_request(received);
      received.clear();
      ::send(socket, reply.data(), reply.size(), MSG_NOSIGNAL);
      if (reply.empty() || closes_after_reply_) break;
    }
    ::shutdown(socket, SHUT_RDWR);
  }

  static bool receive_request(int socket, std::string& received) {
    while (true) {
      const size_t head_end = received.find("\r\n\r\n");
      if (head_end != std::string::npos) {
        const size_t field = received.find("Content-Length: ");
        const size_t length = field < head_end ? std::stoul(received.substr(field + 16)) : 0;
        if (received.size() >= head_end + 4 + length) return true;
      }
      char piece[4096];
      const ssize_t count = ::recv(socket, piece, sizeof(piece), 0);
      if (count <= 0) return false;
      received.append(piece, static_cast<size_t>(count));
    }
  }

  std::string take_request(const std::string& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    return replies_[std::min(requests_.size(), replies_.size()) - 1];
  }

  const std::vector<std::string> replies_;
  const bool closes_after_reply_;
  int listener_ = -1;
  int port_ = 0;
  std::thread accepter_;
  std::mutex mutex_;
  std::vector<std::thread> workers_;
  std::vector<int> sockets_;
  std::vector<std::string> requests_;
};

constexpr auto kGoOn = [](const Progress&) { return true; };

std::vector<RequestRecord> send(FakeServer& server, int64_t count, int64_t concurrency, ClientOptions options = {},
                                const OnProgress& on_progress = kGoOn) {
  options.target = Target::parse(server.url());
  const WorkloadOptions workload{.arrival = concurrency > 0 ? Arrival::kClosed : Arrival::kFixed,
                                 .rate = 10000,
                                 .num_requests = count,
                                 .input = Lengths::fixed(3),
                                 .output = Lengths::fixed(2)};
  const PromptMaker prompts(workload, 5, 90);
  return run_load(options, prompts, plan_requests(workload), concurrency, on_progress);
}

json::object body_of(const std::string& request) {
  return parse_json(request.substr(request.find("\r\n\r\n") + 4), "request").as_object();
}

TEST(Client, RecordsWhatTheServerStreams) {
  FakeServer server({kGood});
  const auto records = send(server, 4, 1);
  ASSERT_EQ(records.size(), 4u);
  for (const RequestRecord& record : records) {
    EXPECT_TRUE(record.ok()) << record.error << record.error_detail;
    EXPECT_EQ(record.status, 200);
    EXPECT_EQ(record.token_ms.size(), 2u);
    EXPECT_EQ(record.prompt_tokens, 5);
    EXPECT_LE(record.due_ms, record.sent_ms);
    EXPECT_LE(record.sent_ms, record.token_ms.front());
    EXPECT_LE(record.token_ms.back(), record.end_ms);
  }
  EXPECT_EQ(server.num_connections(), 1u);  // kept alive
}

TEST(Client, SendsTheRequestedParameters) {
  FakeServer server({kGood});
  ClientOptions options{.model = "m", .api_key = "secret", .token_ids = true, .keep_alive = false};
  options.extra = {{"top_k", 1}, {"temperature", 0.5}};
  send(server, 2, 1, options);
  EXPECT_EQ(server.num_connections(), 2u);
  for (const std::string& request : server.requests()) {
    EXPECT_TRUE(request.starts_with("POST /v1/completions HTTP/1.1\r\n"));
    EXPECT_NE(request.find("Authorization: Bearer secret\r\n"), std::string::npos);
    EXPECT_NE(request.find("Connection: close\r\n"), std::string::npos);
    const json::object body = body_of(request);
    EXPECT_EQ(find_array(body, "prompt")->size(), 3u);
    EXPECT_EQ(get_int(body, "max_tokens"), 2);
    EXPECT_EQ(get_string(body, "model"), "m");
    EXPECT_EQ(get_int(body, "top_k"), 1);
    EXPECT_EQ(get_double(body, "temperature"), 0.5);
    EXPECT_TRUE(find_bool(body, "ignore_eos", false));
  }
  FakeServer chat({kGood});
  send(chat, 1, 1, {.chat = true, .ignore_eos = false});
  EXPECT_TRUE(chat.requests()[0].starts_with("POST /v1/chat/completions "));
  EXPECT_EQ(find_array(body_of(chat.requests()[0]), "messages")->size(), 1u);
  EXPECT_EQ(find_member(body_of(chat.requests()[0]), "ignore_eos"), nullptr);
}

TEST(Client, SendsInAnOpenLoopWithoutWaitingForAnswers) {
  FakeServer server({kGood});
  const auto records = send(server, 50, 0);
  ASSERT_EQ(records.size(), 50u);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_TRUE(records[i].ok()) << records[i].error;
    EXPECT_NEAR(records[i].due_ms, 0.1 * static_cast<double>(i + 1), 1e-9);  // the time of the plan, not of the sending
  }
}

TEST(Client, NamesEachKindOfFailure) {
  const std::string refusal = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy";
  const std::string page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi";
  FakeServer server({refusal, page, kGood});
  const auto records = send(server, 3, 1);
  EXPECT_EQ(records[0].error, "HTTP 429");
  EXPECT_EQ(records[0].error_detail, "busy");
  EXPECT_EQ(records[1].error, "no event stream");
  EXPECT_TRUE(records[2].ok());

  FakeServer cutting({kStreamHead + event("a")}, /*closes_after_reply=*/true);
  EXPECT_EQ(send(cutting, 1, 1)[0].error, "receive");
  FakeServer closing({""});
  EXPECT_EQ(send(closing, 1, 1)[0].error, "receive");
}

TEST(Client, AnIdleConnectionThatTheServerClosedIsNoFailure) {
  FakeServer server({kGood}, /*closes_after_reply=*/true);
  const auto records = send(server, 5, 1);
  for (const RequestRecord& record : records) EXPECT_TRUE(record.ok()) << record.error << record.error_detail;
  EXPECT_EQ(server.num_connections(), 5u);
}

TEST(Client, GivesUpOnASilentServerAfterTheTimeout) {
  FakeServer server({kStreamHead + event("a")});  // and then nothing
  const auto records = send(server, 1, 1, {.timeout_s = 0.05});
  EXPECT_EQ(records[0].error, "timeout");
}

TEST(Client, StopsWhenAsked) {
  FakeServer server({kStreamHead + event("a")});
  const auto records = send(server, 8, 2, {}, [](const Progress& progress) { return progress.num_sent < 2; });
  ASSERT_EQ(records.size(), 2u);  // the other six were never due
  for (const RequestRecord& record : records) EXPECT_EQ(record.error, "interrupted");
}

TEST(Client, RefusesToHoldMoreThanItsLimit) {
  FakeServer server({kStreamHead + event("a")});
  const auto records =
      send(server, 5, 0, {.max_in_flight = 2}, [](const Progress& progress) { return progress.num_done < 3; });
  int64_t refused = 0;
  for (const RequestRecord& record : records) refused += record.error == "too many in flight" ? 1 : 0;
  EXPECT_EQ(refused, 3);
}

TEST(Client, AsksForTheModel) {
  const std::string list = "{\"object\":\"list\",\"data\":[{\"id\":\"tiny\"},{\"id\":\"other\"}]}";
  FakeServer server({fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", list.size(), list),
                     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                     "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"});
  const Target target = Target::parse(server.url());
  EXPECT_EQ(first_model(target, ""), "tiny");
  EXPECT_EQ(first_model(target, ""), "");
  EXPECT_THROW(first_model(target, ""), Error);
}

TEST(Client, ReadsWhatTheMetricsSayOfDrafts) {
  const std::string text =
      "# TYPE vllm:spec_decode_num_drafts_total counter\n"
      "vllm:spec_decode_num_drafts_total{model_name=\"a b\",engine=\"0\"} 3\n"
      "vllm:spec_decode_num_drafts_total{model_name=\"a b\",engine=\"1\"} 4.0\n"
      "vllm:spec_decode_num_draft_tokens_total 30\n"
      "vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 9\n"
      "vllm:spec_decode_num_accepted_tokens_total{} 1.2e+1";
  FakeServer server({fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", text.size(), text),
                     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"});
  const Target target = Target::parse(server.url());
  const DraftTotals totals = draft_totals(target, "");
  EXPECT_EQ(totals.num_drafts, 7);
  EXPECT_EQ(totals.draft_tokens, 30);
  EXPECT_EQ(totals.accepted_tokens, 12);
  EXPECT_EQ(draft_totals(target, "").draft_tokens, 0);
}

TEST(Target, ParsesUrls) {
  const Target target = Target::parse("http://example:9000/api/v1/");
  EXPECT_EQ(target.host, "example");
  EXPECT_EQ(target.port, "9000");
  EXPECT_EQ(target.path, "/api");
  EXPECT_EQ(Target::parse("http://[::1]:8080").authority(), "[::1]:8080");
  EXPECT_EQ(Target::parse("http://localhost").port, "80");
  for (const char* url : {"", "localhost:80", "https://x", "http://", "http://x:", "http://x:y", "http://x:123456",
                          "http://x y", "http://x/\r\nA: b"}) {
    EXPECT_THROW(Target::parse(url), Error) << url;
  }
}

}  // namespace
}  // namespace quire::load
