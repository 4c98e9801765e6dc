// The bytes of one connection, plain or under TLS, on a socket that does not block. Owned by a connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quire::http {

struct IoResult {
  enum class Kind : uint8_t {
    kDone,
    kWantsRead,   // nothing now; try again when the socket is readable
    kWantsWrite,  // nothing now; try again when the socket is writable
    kEnd,         // the peer has closed its sending side
    kBroken,
  };
  Kind kind = Kind::kDone;
  size_t bytes = 0;
  bool is_drained = false;  // of a read: no more bytes are available now
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual IoResult read(std::span<char> into) = 0;
  // `is_last`: finish_sending() follows as soon as all is written, so the end may share a packet with the bytes.
  virtual IoResult write(std::string_view bytes, bool is_last) = 0;
  // Closes the sending side.
  virtual void finish_sending() = 0;
};

// `socket` stays owned by the caller.
std::unique_ptr<Transport> make_plain_transport(int socket);

// Certificate and key from files, reloaded when either file changes. Any thread.
class TlsFiles {
 public:
  // Throws Error naming the file that is missing or wrong.
  TlsFiles(std::string certificate_file, std::string key_file);
  ~TlsFiles();

  std::unique_ptr<Transport> make_transport(int socket);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::http
