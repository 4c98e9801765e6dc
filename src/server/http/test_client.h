// A raw client for the server's tests, by TCP or a Unix socket, with a limit on every wait.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace quire::http::test {

class Client {
 public:
  // `from`: the client's own address, one of the loopback network.
  explicit Client(uint16_t port, const char* from = nullptr);
  explicit Client(const std::filesystem::path& unix_socket);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes);  // ignores errors of the connection: read() reports them
  void finish_sending();
  void close();
  // Reads until `marker` has arrived or the connection ends; returns everything read since the last call.
  std::string read_until(std::string_view marker);
  // One reply with its body, by Content-Length or chunks.
  std::string read_reply();
  void read_some();  // what one call brings
  // Reads to the end of the connection; `is_ended`: whether it ended in time.
  std::string read_all();
  bool is_ended() const { return is_ended_; }

 private:
  bool fill();

  int socket_ = -1;
  bool is_ended_ = false;
  std::string buffer_;
};

// The status code of a reply, 0 when there is none.
int status_of(std::string_view reply);
// The value of a header field by its name as it is written; empty when absent.
std::string field_of(std::string_view reply, std::string_view name);
std::string body_of(std::string_view reply);
// The status of the reply to one request on a new connection.
std::string ask(uint16_t port, std::string_view request);

}  // namespace quire::http::test
