// Listening sockets. Owned by the server, made by its constructor's thread.
#pragma once

#include <string>
#include <vector>

#include "server/http/server.h"

namespace quire::http {

struct ListeningSocket {
  int socket = -1;
  Address address;  // as bound; empty host for a Unix socket
  std::string unix_path;
};

// Listens on every address of a name. Throws Error saying what is wrong and, for a used port, which process has it.
std::vector<ListeningSocket> listen_on(const Address& address);
// Replaces the socket file of a server that has ended; refuses when a server still answers there.
ListeningSocket listen_on_unix(const std::string& path);

}  // namespace quire::http
