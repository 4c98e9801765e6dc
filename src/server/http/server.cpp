#include "server/http/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <future>
#include <thread>

#include "base/log.h"
#include "server/http/connection.h"
#include "server/http/listen.h"
#include "server/http/wire.h"

namespace quire::http {
namespace {

constexpr auto kCutTime = std::chrono::seconds(1);  // to write the last events of a drain
constexpr auto kStopTime = std::chrono::seconds(5);

// Of the peer, without its port.
std::string address_of(const sockaddr_storage& storage, socklen_t size) {
  if (storage.ss_family == AF_UNIX) return std::string(kUnixPeer);
  char host[NI_MAXHOST] = "";
  if (storage.ss_family == AF_INET) {
    return ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(storage).sin_addr, host, sizeof(host));
  }
  ::getnameinfo(reinterpret_cast<const sockaddr*>(&storage), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  return host;
}

}  // namespace

// One listening socket: accepts while connections are waiting.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(std::shared_ptr<Shared> shared, std::shared_ptr<TlsFiles> tls, const ListeningSocket& listening)
      : shared_(std::move(shared)),
        tls_(std::move(tls)),
        unix_path_(listening.unix_path),
        strand_(asio::make_strand(shared_->io)),
        socket_(strand_, listening.socket),
        spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {}
  ~Acceptor() {
    if (spare_ >= 0) ::close(spare_);
  }

  // Any thread.
  void start() {
    asio::post(strand_, [self = shared_from_this()] { self->wait(); });
  }
  // Accepts the connections in the system's queue, then stops listening; the future is ready then.
  std::future<void> stop() {
    const auto done = std::make_shared<std::promise<void>>();
    asio::post(strand_, [self = shared_from_this(), done] {
      self->accept_all();
      boost::system::error_code ignored;
      self->socket_.close(ignored);
      if (!self->unix_path_.empty()) ::unlink(self->unix_path_.c_str());
      done->set_value();
    });
    return done->get_future();
  }

 private:
  void wait() {
    socket_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const boost::system::error_code& error) {
      if (error || !self->socket_.is_open()) return;
      self->accept_all();
      self->wait();
    });
  }

  void accept_all() {
    while (true) {
      sockaddr_storage peer = {};
      socklen_t size = sizeof(peer);
      const int socket =
          ::accept4(socket_.native_handle(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (socket >= 0) {
        take(socket, address_of(peer, size));
      } else if (errno == EMFILE || errno == ENFILE) {
        if (!turn_one_away()) return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  // Out of file descriptors: with the spare one the connection is accepted and closed, instead of left waiting.
  bool turn_one_away() {
    log::warning("no file descriptor is left for another connection; raise the limit (ulimit -n)");
    if (spare_ < 0) return false;
    ::close(spare_);
    const int socket = ::accept(socket_.native_handle(), nullptr, nullptr);
    if (socket >= 0) ::close(socket);
    spare_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return socket >= 0;
  }

  void take(int socket, std::string remote) {
    if (is_full(remote)) {
      if (tls_ == nullptr) refuse(socket);
      ::close(socket);
      return;
    }
    std::unique_ptr<Transport> transport = tls_ ? tls_->make_transport(socket) : make_plain_transport(socket);
    if (transport == nullptr) {
      ::close(socket);
      return;
    }
    std::make_shared<Connection>(shared_, socket, std::move(transport), std::move(remote))->start();
  }

  bool is_full(const std::string& remote) const {
    const Limits& limits = shared_->options.limits;
    const std::lock_guard lock(shared_->mutex);
    if (shared_->connections.size() >= static_cast<size_t>(limits.connections)) return true;
    if (shared_->proxies.contains(remote)) return false;  // its clients are many
    const auto address = shared_->num_connections.find(remote);
    return address != shared_->num_connections.end() && address->second >= limits.connections_per_address;
  }

  void refuse(int socket) const {
    const Response response =
        shared_->refuse({503, "too_many_connections", "this server has reached its limit of connections"}, Request());
    std::string fields;
    for (const auto& [name, value] : response.headers) fields += fmt::format("{}: {}\r\n", name, value);
    const std::string reply = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}x-request-id: {}\r\nConnection: close\r\n"
        "\r\n{}",
        response.status, reason_phrase(response.status), response.content_type, response.body.size(), fields,
        request_id("", 0), response.body);
    // The first bytes to a new socket always fit its buffer.
    [[maybe_unused]] const ssize_t sent = ::send(socket, reply.data(), reply.size(), MSG_NOSIGNAL);
    ::shutdown(socket, SHUT_WR);
  }

  const std::shared_ptr<Shared> shared_;
  const std::shared_ptr<TlsFiles> tls_;
  const std::string unix_path_;
  Strand strand_;
  Descriptor socket_;
  int spare_;
};

struct Server::Impl {
  void for_each(void (Connection::*member)()) {
    std::vector<std::shared_ptr<Connection>> alive;
    {
      const std::lock_guard lock(shared->mutex);
      for (const auto& [key, weak] : shared->connections) {
        if (auto connection = weak.lock()) alive.push_back(std::move(connection));
      }
    }
    for (const auto& connection : alive) (connection.get()->*member)();
  }

  bool wait_until_empty(Clock::duration limit) {
    std::unique_lock lock(shared->mutex);
    return shared->changed.wait_for(lock, limit, [&] { return shared->connections.empty(); });
  }

  void stop_listening() {
    for (const auto& acceptor : acceptors) acceptor->stop().wait();
    acceptors.clear();
  }

  std::shared_ptr<Shared> shared;
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  std::vector<Address> addresses;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>()) {
  // Writing to a client that has disconnected must not end the process by SIGPIPE (OpenSSL has no flag for that per
  // call).
  std::signal(SIGPIPE, SIG_IGN);
  impl_->shared = std::make_shared<Shared>(std::move(options));
  const ServerOptions& settings = impl_->shared->options;
  std::shared_ptr<TlsFiles> tls;
  if (!settings.certificate_file.empty()) {
    tls = std::make_shared<TlsFiles>(settings.certificate_file, settings.key_file);
  }
  for (const Address& address : settings.addresses) {
    for (const ListeningSocket& listening : listen_on(address)) {
      impl_->addresses.push_back(listening.address);
      impl_->acceptors.push_back(std::make_shared<Acceptor>(impl_->shared, tls, listening));
    }
  }
  if (!settings.unix_path.empty()) {
    impl_->acceptors.push_back(std::make_shared<Acceptor>(impl_->shared, nullptr, listen_on_unix(settings.unix_path)));
  }
  impl_->work.emplace(asio::make_work_guard(impl_->shared->io));
  for (int i = 0; i < settings.num_threads; ++i) {
    impl_->threads.emplace_back([&shared = *impl_->shared] {
      while (!shared.io.stopped()) {
        try {
          shared.io.run();
        } catch (const std::exception& error) {
          log::warning("a connection failed unexpectedly: {}", typeid(error).name());
        }
      }
    });
  }
  for (const auto& acceptor : impl_->acceptors) acceptor->start();
}

Server::~Server() {
  impl_->stop_listening();
  impl_->for_each(&Connection::abort);
  if (!impl_->wait_until_empty(kStopTime)) log::warning("some connections did not close in time");
  impl_->shared->is_stopped = true;
  impl_->work.reset();
  impl_->shared->io.stop();
  for (std::thread& thread : impl_->threads) thread.join();
  // Tasks posted at the end hold their connection, which holds the io context: drop them.
  impl_->shared->io.restart();
  impl_->shared->io.poll();
}

const std::vector<Address>& Server::addresses() const { return impl_->addresses; }

std::function<void(std::function<void()>)> Server::executor() const {
  return [shared = impl_->shared](std::function<void()> task) {
    if (!shared->is_stopped) asio::post(shared->io, std::move(task));
  };
}

void Server::drain(std::chrono::milliseconds limit) {
  impl_->shared->is_draining = true;
  impl_->stop_listening();
  impl_->for_each(&Connection::drain);
  if (impl_->wait_until_empty(limit)) return;
  impl_->for_each(&Connection::end_early);
  if (impl_->wait_until_empty(kCutTime)) return;
  impl_->for_each(&Connection::abort);
  impl_->wait_until_empty(kStopTime);
}

}  // namespace quire::http
