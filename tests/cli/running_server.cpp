#include "running_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace quire::test {
namespace {

Invocation serve_demo(const std::filesystem::path& socket, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"serve", "demo",      "--uds", socket,    "--threads",
                                        "1",     "--kv-size", "64MiB", "--limit", "stream_buffer_bytes=4096"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return {.arguments = arguments, .directory = {}, .input = {}};
}

}  // namespace

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
}

std::string post(const std::string& path, const std::string& json) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " + std::to_string(json.size()) +
         "\r\n\r\n" + json;
}

std::string completion(const Story& story) {
  std::string json = R"({"prompt":"Once upon a time","temperature":0,"ignore_eos":true,"max_tokens":)" +
                     std::to_string(story.tokens) + ",\"n\":" + std::to_string(story.choices);
  if (story.logprobs >= 0) json += ",\"logprobs\":" + std::to_string(story.logprobs);
  if (story.is_stream) json += R"(,"stream":true,"stream_options":{"include_usage":true})";
  return post("/v1/completions", json + "}");
}

RunningServer::RunningServer(const std::vector<std::string>& flags)
    : program_(serve_demo(folder_.path() / "socket", flags)) {
  const auto is_ready = [&] { return http::test::status_of(ask(get("/readyz"))) == 200; };
  if (!eventually([&] { return is_ready() || !program_.is_running(); }) || !is_ready()) {
    program_.signal(SIGKILL);
    throw std::runtime_error("the server does not start: " + program_.wait().err);
  }
}

std::unique_ptr<Client> RunningServer::send(const std::string& request) const {
  auto client = std::make_unique<Client>(folder_.path() / "socket");
  client->send(request);
  return client;
}

bool RunningServer::is_listening() const { return !Client(folder_.path() / "socket").is_ended(); }

int64_t RunningServer::metric(const std::string& name, const std::vector<std::string>& labels) const {
  std::istringstream lines(http::test::body_of(ask(get("/metrics"))));
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto has = [&](const std::string& label) { return line.find(label) != std::string::npos; };
    if ((!line.starts_with(name + "{") && !line.starts_with(name + " ")) ||
        !std::all_of(labels.begin(), labels.end(), has))
      continue;
    sum += std::strtod(line.substr(line.rfind(' ')).c_str(), nullptr);
  }
  return static_cast<int64_t>(sum);
}

bool RunningServer::is_idle() const {
  return metric("vllm:num_requests_running") == 0 && metric("vllm:num_requests_waiting") == 0 &&
         metric("quire:kv_blocks", {R"(state="active")"}) == 0;
}

void RunningServer::expect_exit(int code) {
  const Outcome outcome = program_.wait();
  EXPECT_EQ(outcome.trouble(), code < 128 ? "" : "ended by signal " + std::to_string(code - 128));
  EXPECT_EQ(outcome.exit_code, code) << outcome.err;
}

}  // namespace quire::test
