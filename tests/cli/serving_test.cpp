// The server as a process under stress: stopped while streams run, overloaded, left by its clients, read slowly.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "running_server.h"

namespace quire::test {
namespace {

using http::test::body_of;
using http::test::field_of;
using http::test::status_of;
using Clients = std::vector<std::unique_ptr<Client>>;

constexpr Story kShort = {.tokens = 8};
// More bytes than the buffers on its way take (a socket's are 208 KiB), so the stream lasts until its client reads.
constexpr Story kWide = {.tokens = 600, .logprobs = 20, .is_stream = true};
// More tokens than any of these tests waits for.
constexpr Story kEndless = {.tokens = 1000, .choices = 128};
constexpr Story kEndlessStream = {.tokens = 1000, .choices = 128, .is_stream = true};
constexpr Story kEndlessShortChoices = {.tokens = 64, .choices = 2000, .is_stream = true};

const std::vector<std::string> kPostCompletions = {R"(method="POST")", R"(route="/v1/completions")"};

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

int64_t num_answers(const RunningServer& server, int status) {
  std::vector<std::string> labels = kPostCompletions;
  labels.push_back("status=\"" + std::to_string(status) + '"');
  return server.metric("quire:http_requests_total", labels);
}

// A stream of which the first token has been read.
std::unique_ptr<Client> begin_stream(const RunningServer& server, const Story& story) {
  auto client = server.send(completion(story));
  EXPECT_TRUE(contains(client->read_until("\ndata: "), "\ndata: "));
  return client;
}

// Reads the rest and closes, for which the server waits a moment.
std::string finish(Client& client) {
  std::string rest = client.read_all();
  client.close();
  return rest;
}

void expect_whole(const std::string& stream, const Story& story) {
  EXPECT_GT(stream.size(), 300u << 10);
  EXPECT_TRUE(contains(stream, "\"completion_tokens\":" + std::to_string(story.tokens) + ",")) << stream.size();
  EXPECT_TRUE(contains(stream, "data: [DONE]\n\n\r\n0\r\n\r\n")) << stream.size();
  EXPECT_FALSE(contains(stream, "\"error\"")) << stream.size();
}

void expect_cut(const std::string& stream) {
  const size_t error = stream.rfind("data: {\"error\":");
  ASSERT_NE(error, std::string::npos) << stream;
  const std::string_view end = std::string_view(stream).substr(error);
  EXPECT_TRUE(contains(end, R"("code":"draining")")) << end;
  EXPECT_TRUE(contains(end, "data: [DONE]\n\n\r\n0\r\n\r\n")) << end;
}

void expect_refused(const std::string& reply, int status, std::string_view code) {
  EXPECT_EQ(status_of(reply), status) << reply;
  EXPECT_TRUE(contains(body_of(reply), "\"code\":\"" + std::string(code) + '"')) << reply;
  EXPECT_GE(std::atoi(field_of(reply, "Retry-After").c_str()), 1) << reply;
  EXPECT_EQ(field_of(reply, "x-should-retry"), "true") << reply;
}

TEST(Drain, LoadBalancersAreToldBeforeRequestsAreRefused) {
  RunningServer server({"--drain-delay", "86400"});
  const auto running = begin_stream(server, kWide);
  server.terminate();
  std::string ready;
  EXPECT_TRUE(eventually([&] { return status_of(ready = server.ask(get("/readyz"))) != 200; }));
  expect_refused(ready, 503, "draining");
  EXPECT_EQ(status_of(server.ask(get("/livez"))), 200);
  EXPECT_TRUE(contains(server.ask(get("/status")), R"("state":"leaving")"));
  EXPECT_EQ(status_of(server.ask(completion(kShort))), 200);
  expect_whole(finish(*running), kWide);
  server.terminate();  // the second signal does not wait
  server.expect_exit(128 + SIGTERM);
}

TEST(Drain, RunningAnswersEndWholeAndNewRequestsAreRefused) {
  RunningServer server({"--drain-timeout", "86400"});
  const std::string request = completion(kShort);
  const std::string_view late = std::string_view(request).substr(10);
  const auto half = server.send(request.substr(0, 10));
  Clients streams;
  for (int i = 0; i < 3; ++i) streams.push_back(begin_stream(server, kWide));
  server.terminate();
  EXPECT_TRUE(eventually([&] { return !server.is_listening(); }));
  half->send(late);
  const std::string refusal = finish(*half);
  expect_refused(refusal, 503, "draining");
  EXPECT_EQ(field_of(refusal, "Connection"), "close");
  for (const auto& stream : streams) expect_whole(finish(*stream), kWide);
  server.expect_exit(0);
}

TEST(Drain, WhatOutlastsTheLimitIsCutWithAnError) {
  RunningServer server({"--drain-timeout", "0", "--max-num-seqs", "4"});
  const auto running = begin_stream(server, kEndlessStream);
  const auto waiting_stream = server.send(completion(kEndlessStream));
  EXPECT_EQ(status_of(waiting_stream->read_until("\r\n\r\n")), 200);
  const auto waiting = server.send(completion(kEndless));
  EXPECT_TRUE(eventually([&] { return server.metric("quire:http_connections") == 4; }));  // these and its own
  auto rest = std::async(std::launch::async, [&] { return finish(*running); });
  server.terminate();
  expect_cut(rest.get());
  expect_cut(finish(*waiting_stream));
  expect_refused(finish(*waiting), 503, "draining");
  server.expect_exit(0);
}

TEST(Overload, EveryRequestIsAnsweredOrToldToComeAgain) {
  RunningServer server({"--max-num-seqs", "2", "--max-num-queued-reqs", "3", "--limit", "choices=2000"});
  // Its further choices wait, so the queue stays full as long as it runs.
  auto load = begin_stream(server, kEndlessShortChoices);
  constexpr int kRequests = 16;
  int num_refused = 0;
  int num_answered = 0;
  const auto send_all = [&] {
    Clients clients;
    for (int i = 0; i < kRequests; ++i) clients.push_back(server.send(completion(kShort)));
    for (const auto& client : clients) {
      const std::string reply = finish(*client);
      if (status_of(reply) == 200) {
        ++num_answered;
        continue;
      }
      ++num_refused;
      expect_refused(reply, 429, "queue_full");
    }
  };
  send_all();
  EXPECT_GT(num_refused, 0);
  load.reset();
  EXPECT_TRUE(eventually([&] { return server.is_idle(); }));
  send_all();
  EXPECT_GE(num_answered, 3);
  EXPECT_EQ(num_refused + num_answered, 2 * kRequests);

  EXPECT_TRUE(eventually([&] { return server.is_idle(); }));
  EXPECT_EQ(num_answers(server, 429), num_refused);
  EXPECT_EQ(num_answers(server, 200), num_answered);
  EXPECT_EQ(server.metric("quire:requests_rejected_total", {R"(reason="queue_full")"}), num_refused);
  EXPECT_TRUE(contains(server.ask(get("/status")), "\"refused_requests\":" + std::to_string(num_refused) + ','));
  EXPECT_EQ(status_of(server.ask(get("/readyz"))), 200);
  EXPECT_EQ(status_of(server.ask(completion(kShort))), 200);
  server.terminate();
  server.expect_exit(0);
}

// So its connection ends.
TEST(Overload, ALargeBodyIsRefusedUnread) {
  const RunningServer server({"--max-num-seqs", "1", "--max-num-queued-reqs", "1"});
  // The choices of two requests take turns: one runs, and the next one of the other fills the queue.
  const auto running = begin_stream(server, kEndlessStream);
  std::unique_ptr<Client> waiting;
  EXPECT_TRUE(eventually([&] {
    waiting = server.send(completion(kEndlessStream));
    return status_of(waiting->read_until("\r\n\r\n")) == 200;
  }));
  const std::string body = R"({"prompt":"Once","max_tokens":1})" + std::string(100'000, ' ');
  const std::string request =
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  std::string reply;
  EXPECT_TRUE(eventually([&] { return status_of(reply = server.send(request)->read_reply()) != 200; }));
  expect_refused(reply, 429, "queue_full");
  EXPECT_EQ(field_of(reply, "Connection"), "close");
}

TEST(Disconnects, GiveEverythingBackAndAreCountedOnce) {
  RunningServer server({"--max-num-seqs", "4"});
  constexpr int kClients = 9;
  Clients clients;
  clients.push_back(begin_stream(server, kEndlessStream));
  for (int i = 1; i < kClients; ++i) {
    clients.push_back(server.send(completion(i % 2 == 0 ? kEndless : kEndlessStream)));
    if (i % 2 == 0) continue;
    EXPECT_EQ(status_of(clients.back()->read_until("\r\n\r\n")), 200);
  }
  clients.push_back(server.send("POST /v1/comp"));  // no request yet: leaves uncounted
  EXPECT_TRUE(eventually([&] { return server.metric("quire:http_connections") == kClients + 2; }));
  EXPECT_FALSE(server.is_idle());
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.is_idle() && server.metric("quire:http_connections") == 1; }));
  EXPECT_EQ(server.metric("quire:client_disconnects_total"), kClients);
  EXPECT_EQ(num_answers(server, 499), kClients);
  EXPECT_EQ(num_answers(server, 200), 0);
  EXPECT_EQ(status_of(server.ask(completion(kShort))), 200);
  server.terminate();
  server.expect_exit(0);
}

TEST(SlowReaders, DelayNobodyAndMissNothing) {
  RunningServer server({"--max-num-seqs", "2"});
  Clients slow;
  for (int i = 0; i < 4; ++i) slow.push_back(begin_stream(server, kWide));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(status_of(server.ask(completion(kShort))), 200);
  EXPECT_TRUE(eventually([&] { return server.is_idle(); }));
  // Their tokens are computed and wait as tokens: no answer has become text as a whole.
  EXPECT_EQ(num_answers(server, 200), 4);
  EXPECT_EQ(server.metric("vllm:generation_tokens_total"), 4 * (kWide.tokens + kShort.tokens));
  for (const auto& client : slow) expect_whole(finish(*client), kWide);
  EXPECT_EQ(server.metric("quire:client_disconnects_total"), 0);
  server.terminate();
  server.expect_exit(0);
}

TEST(SlowReaders, CountAsGoneWhenTheyReadNothing) {
  RunningServer server({"--limit", "write_stall_seconds=1"});
  const auto stalled = begin_stream(server, kWide);
  EXPECT_TRUE(eventually([&] { return server.metric("quire:client_disconnects_total") == 1; }));
  EXPECT_TRUE(eventually([&] { return server.is_idle(); }));
  EXPECT_FALSE(contains(finish(*stalled), "[DONE]"));
  EXPECT_EQ(num_answers(server, 499), 1);
  server.terminate();
  server.expect_exit(0);
}

}  // namespace
}  // namespace quire::test
