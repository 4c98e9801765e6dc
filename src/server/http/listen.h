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

// Every address a name stands for. Throws Error saying what is wrong and, for a used port, which process has it.
std::vector<ListeningSocket> listen_on(const Address& address);
// Replaces the socket file of a server that is gone; refuses when one still answers there.
ListeningSocket listen_on_unix(const std::string& path);

}  // namespace quire::http
