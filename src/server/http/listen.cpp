#include "server/http/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "base/error.h"

namespace quire::http {
namespace {

constexpr int kBacklog = 4096;

std::string error_text(int error) { return std::strerror(error); }

// The inode of the socket that listens on a port, from /proc/net/tcp or tcp6; empty when there is none.
std::string listening_inode(const char* table, uint16_t port) {
  std::ifstream lines(table);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string number, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    words >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    const size_t colon = local.find(':');
    constexpr const char* kListen = "0A";
    if (state != kListen || colon == std::string::npos) continue;
    if (std::strtoul(local.c_str() + colon + 1, nullptr, 16) == port) return inode;
  }
  return "";
}

// "python3 (process 812)", or empty when /proc does not show it to this user.
std::string holder_of(uint16_t port) {
  namespace fs = std::filesystem;
  std::string inode = listening_inode("/proc/net/tcp", port);
  if (inode.empty()) inode = listening_inode("/proc/net/tcp6", port);
  if (inode.empty()) return "";
  const std::string wanted = "socket:[" + inode + "]";
  std::error_code error;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", error)) {
    const std::string pid = process.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (fs::directory_iterator file(process.path() / "fd", error), end; !error && file != end; file.increment(error)) {
      std::error_code gone;
      if (fs::read_symlink(file->path(), gone) != wanted) continue;
      std::string command;
      std::ifstream name(process.path() / "comm");
      std::getline(name, command);
      return fmt::format("{} (process {})", printable(command, 40), pid);
    }
  }
  return "";
}

[[noreturn]] void fail_to_bind(const std::string& where, uint16_t port, int error) {
  if (error == EADDRINUSE) {
    const std::string holder = holder_of(port);
    fail(ErrorCode::kIo,
         "{} is in use{}; stop that program or choose another --port (0: any "
         "that is free, also for --check beside a running server)",
         where, holder.empty() ? "" : " by " + holder);
  }
  if (error == EACCES) {
    fail(ErrorCode::kIo, "{} may not be used by this user; choose a --port above 1023", where);
  }
  fail(ErrorCode::kIo, "cannot listen on {}: {}", where, error_text(error));
}

Address bound_address(int socket) {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(storage);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &size);
  char host[NI_MAXHOST] = "";
  char service[NI_MAXSERV] = "0";
  ::getnameinfo(reinterpret_cast<sockaddr*>(&storage), size, host, sizeof(host), service, sizeof(service),
                NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, static_cast<uint16_t>(std::stoi(service))};
}

int open_listener(const addrinfo& info) {
  const int socket = ::socket(info.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return -errno;
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // its connections inherit it
  if (info.ai_family == AF_INET6) ::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (::bind(socket, info.ai_addr, info.ai_addrlen) == 0 && ::listen(socket, kBacklog) == 0) return socket;
  const int error = errno;
  ::close(socket);
  return -error;
}

}  // namespace

std::vector<ListeningSocket> listen_on(const Address& address) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(address.port);
  const int status = ::getaddrinfo(address.host.c_str(), service.c_str(), &hints, &found);
  if (status != 0) {
    fail(ErrorCode::kInvalidArgument,
         "--host '{}' is not an address of this machine: {}; 127.0.0.1 or 0.0.0.0 are usual", printable(address.host),
         ::gai_strerror(status));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  std::vector<ListeningSocket> sockets;
  int last_error = 0;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    const int socket = open_listener(*info);
    if (socket >= 0) {
      sockets.push_back({socket, bound_address(socket), ""});
      if (address.port == 0) break;  // one name, one port
    } else {
      last_error = -socket;
      if (last_error == EADDRINUSE || last_error == EACCES) break;
    }
  }
  // A name may have addresses of a family that this machine lacks; a port in use in one family counts as in use.
  if (sockets.empty() || last_error == EADDRINUSE || last_error == EACCES) {
    for (const ListeningSocket& open : sockets) ::close(open.socket);
    const bool is_v6 = address.host.find(':') != std::string::npos;
    const std::string host = is_v6 ? "[" + printable(address.host) + "]" : printable(address.host);
    fail_to_bind(fmt::format("{}:{}", host, address.port), address.port, last_error);
  }
  return sockets;
}

ListeningSocket listen_on_unix(const std::string& path) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) {
    fail(ErrorCode::kInvalidArgument, "--uds '{}' has {} characters; a socket's path has at most {}", printable(path),
         path.size(), sizeof(name.sun_path) - 1);
  }
  path.copy(name.sun_path, path.size());
  const auto* const at = reinterpret_cast<const sockaddr*>(&name);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) fail(ErrorCode::kIo, "no Unix socket can be made: {}", error_text(errno));
  int status = ::bind(socket, at, sizeof(name));
  struct stat file = {};
  if (status != 0 && errno == EADDRINUSE && ::lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode)) {
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const bool is_answered = ::connect(probe, at, sizeof(name)) == 0 || errno != ECONNREFUSED;
    ::close(probe);
    if (!is_answered) {
      ::unlink(path.c_str());
      status = ::bind(socket, at, sizeof(name));
    } else {
      errno = EADDRINUSE;
    }
  }
  if (status != 0 || ::listen(socket, kBacklog) != 0) {
    const int error = errno;
    ::close(socket);
    fail(ErrorCode::kIo, "cannot listen on --uds '{}': {}", printable(path),
         error == EADDRINUSE ? "another program or file has this path" : error_text(error));
  }
  return {socket, {}, path};
}

}  // namespace quire::http
