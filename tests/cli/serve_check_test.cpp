// `quire serve --check` finds what would keep the server from starting.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "answers.h"

namespace quire::test {
namespace {

// A socket that listens on a port of loopback.
class TakenPort {
 public:
  TakenPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(socket_, reinterpret_cast<const sockaddr*>(&address), size) != 0 || ::listen(socket_, 1) != 0) return;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { ::close(socket_); }
  TakenPort(const TakenPort&) = delete;
  TakenPort& operator=(const TakenPort&) = delete;
  int port() const { return port_; }

 private:
  const int socket_;
  int port_ = 0;
};

Outcome check(const Arguments& more) {
  Arguments arguments = {"serve", "demo", "--check"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program({.arguments = arguments, .directory = {}, .input = {}});
}

void expect_refused(const Arguments& more, const std::string& part) {
  const Outcome outcome = check(more);
  EXPECT_NE(outcome.exit_code, 0) << outcome.out;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
}

TEST(ServeCheck, DoesWhatAStartDoes) {
  const TemporaryFolder folder;
  const Outcome good = check({"--port", "0", "--uds", folder.path() / "socket"});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_NE(good.out.find("configuration OK: demo needs "), std::string::npos) << good.out;
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "socket"));

  const TakenPort taken;
  ASSERT_NE(taken.port(), 0);
  expect_refused({"--port", std::to_string(taken.port())}, "is in use by quire_cli_test");
  expect_refused({"--port", std::to_string(taken.port())}, "also for --check beside a running server");
  expect_refused({"--port", "0", "--served-model-name", "a", "b", "a"}, "has the name 'a' twice");
  expect_refused({"--port", "0", "--uds", folder.path() / "no folder" / "socket"}, "No such file or directory");
  expect_refused({"--port", "0", "--host", "192.0.2.1"}, "192.0.2.1");
  write_bytes(folder.path() / "key.pem", "no key");
  expect_refused(
      {"--port", "0", "--ssl-certfile", folder.path() / "missing.pem", "--ssl-keyfile", folder.path() / "key.pem"},
      "No such file or directory");
  expect_refused({"--port", "0", "--temperature", "-1"}, "temperature is -1");
  expect_refused({"--port", "0", "--chat-template", "{% if %}"}, "--chat-template: ");
}

// The pool of a small model is not planned for every sequence at its full length.
TEST(ServeCheck, ThePoolHasTheSizeThatWasAskedFor) {
  const auto needed = [](const Arguments& more) {
    Arguments arguments = {"--port", "0", "-c", "64K", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const std::string out = check(arguments).out;
    const std::string begin = "demo needs ";
    const size_t at = out.find(begin);
    return at == std::string::npos ? "?" : out.substr(at + begin.size(), out.find(" of") - at - begin.size());
  };
  const std::string usual = needed({});
  EXPECT_NE(usual.find(" MiB"), std::string::npos) << usual;
  EXPECT_NE(needed({"--kv-size", "1GiB"}).find(" GiB"), std::string::npos);
  EXPECT_EQ(needed({"--kv-size", "1"}), needed({"--kv-size", "1024MiB"}));
}

}  // namespace
}  // namespace quire::test
