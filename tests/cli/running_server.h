// `quire serve demo` as its own process on a Unix socket, as tests of its behaviour over time need it.
//
// A Unix socket holds little unread data, and no other program can take its address.
#pragma once

#include <signal.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "program.h"
#include "server/http/test_client.h"

namespace quire::test {

using http::test::Client;

// Polls until `condition` holds; false after a time that only a hang takes.
bool eventually(const std::function<bool()>& condition);

// A request whose connection ends with its answer.
std::string get(const std::string& path);
std::string post(const std::string& path, const std::string& json);

// What stands for a request of /v1/completions: greedy, its length fixed.
struct Story {
  int tokens = 8;
  int choices = 1;
  int logprobs = -1;  // alternatives of each token, to make a long answer; -1: none
  bool is_stream = false;
};
std::string completion(const Story& story);

class RunningServer {
 public:
  // Starts it with these flags besides, and waits until it is ready. Throws std::runtime_error when it ends instead.
  explicit RunningServer(const std::vector<std::string>& flags);

  std::unique_ptr<Client> send(const std::string& request) const;
  std::string ask(const std::string& request) const { return send(request)->read_all(); }
  bool is_listening() const;

  // The sum of a metric's samples that have all of these labels, such as `status="200"`.
  int64_t metric(const std::string& name, const std::vector<std::string>& labels = {}) const;
  // Nothing runs, waits or holds KV blocks.
  bool is_idle() const;

  void terminate() { program_.signal(SIGTERM); }
  // Until it ends. Expects this exit code and no sanitizer's report.
  void expect_exit(int code);

 private:
  const TemporaryFolder folder_;
  RunningProgram program_;
};

}  // namespace quire::test
