#include "server/http/test_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace quire::http::test {
namespace {
constexpr int kPatienceMs = 20'000;  // far longer than any answer takes: only a hang reaches it
}

Client::Client(uint16_t port, const char* from) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  if (from != nullptr) {
    ::inet_pton(AF_INET, from, &address.sin_addr);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0) << from;
  }
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  is_ended_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0;
}

Client::Client(const std::filesystem::path& unix_socket) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  unix_socket.native().copy(address.sun_path, sizeof(address.sun_path) - 1);
  is_ended_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0;
}

Client::~Client() { close(); }

void Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void Client::finish_sending() { ::shutdown(socket_, SHUT_WR); }

void Client::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  is_ended_ = true;
}

bool Client::fill() {
  if (is_ended_) return false;
  pollfd waited = {socket_, POLLIN, 0};
  if (::poll(&waited, 1, kPatienceMs) != 1) {
    ADD_FAILURE() << "the server neither answered nor closed the connection";
    return false;
  }
  std::array<char, 65536> bytes;
  const ssize_t count = ::recv(socket_, bytes.data(), bytes.size(), 0);
  is_ended_ = count <= 0;
  if (count > 0) buffer_.append(bytes.data(), static_cast<size_t>(count));
  return count > 0;
}

std::string Client::read_until(std::string_view marker) {
  size_t at = buffer_.find(marker);
  while (at == std::string::npos && fill()) at = buffer_.find(marker);
  const size_t size = at == std::string::npos ? buffer_.size() : at + marker.size();
  std::string taken = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return taken;
}

std::string Client::read_reply() {
  std::string reply = read_until("\r\n\r\n");
  const std::string length = field_of(reply, "Content-Length");
  if (!length.empty()) {
    const size_t size = std::strtoul(length.c_str(), nullptr, 10);
    while (buffer_.size() < size && fill()) {
    }
    reply += buffer_.substr(0, size);
    buffer_.erase(0, size);
  } else if (field_of(reply, "Transfer-Encoding") == "chunked") {
    reply += read_until("0\r\n\r\n");
  }
  return reply;
}

void Client::read_some() { fill(); }

std::string Client::read_all() {
  while (fill()) {
  }
  return std::move(buffer_);
}

int status_of(std::string_view reply) {
  constexpr std::string_view kStart = "HTTP/1.1 ";
  return reply.starts_with(kStart) ? std::atoi(std::string(reply.substr(kStart.size(), 3)).c_str()) : 0;
}

std::string field_of(std::string_view reply, std::string_view name) {
  const std::string_view header = reply.substr(0, reply.find("\r\n\r\n"));
  const std::string key = "\r\n" + std::string(name) + ": ";
  const size_t at = header.find(key);
  if (at == std::string_view::npos) return "";
  const std::string_view value = header.substr(at + key.size());
  return std::string(value.substr(0, value.find("\r\n")));
}

std::string body_of(std::string_view reply) {
  const size_t at = reply.find("\r\n\r\n");
  return at == std::string_view::npos ? "" : std::string(reply.substr(at + 4));
}

std::string ask(uint16_t port, std::string_view request) {
  Client client(port);
  client.send(request);
  return client.read_reply();
}

}  // namespace quire::http::test
