#include "server/http/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "base/log.h"

namespace quire::http {
namespace {

using Kind = IoResult::Kind;

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}

  IoResult read(std::span<char> into) override {
    while (true) {
      const ssize_t count = ::recv(socket_, into.data(), into.size(), 0);
      if (count > 0) return {Kind::kDone, static_cast<size_t>(count), static_cast<size_t>(count) < into.size()};
      if (count == 0) return {Kind::kEnd};
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {Kind::kWantsRead};
      if (errno != EINTR) return {Kind::kBroken};
    }
  }

  IoResult write(std::string_view bytes, bool is_last) override {
    const int flags = MSG_NOSIGNAL | (is_last ? MSG_MORE : 0);
    while (true) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), flags);
      if (count >= 0) return {Kind::kDone, static_cast<size_t>(count)};
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {Kind::kWantsWrite};
      if (errno != EINTR) return {Kind::kBroken};
    }
  }

  void finish_sending() override { ::shutdown(socket_, SHUT_WR); }

 private:
  const int socket_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(SSL* ssl, int socket) : ssl_(ssl), socket_(socket) {
    SSL_set_fd(ssl_, socket);
    SSL_set_accept_state(ssl_);  // reading does the handshake
  }
  ~TlsTransport() override { SSL_free(ssl_); }

  IoResult read(std::span<char> into) override {
    ERR_clear_error();
    size_t count = 0;
    const int status = SSL_read_ex(ssl_, into.data(), into.size(), &count);
    return status == 1 ? IoResult{Kind::kDone, count} : failure(status);
  }

  IoResult write(std::string_view bytes, bool /*is_last*/) override {
    ERR_clear_error();
    size_t count = 0;
    const int status = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &count);
    return status == 1 ? IoResult{Kind::kDone, count} : failure(status);
  }

  void finish_sending() override {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_) == 1) SSL_shutdown(ssl_);
    ::shutdown(socket_, SHUT_WR);
  }

 private:
  IoResult failure(int status) const {
    switch (SSL_get_error(ssl_, status)) {
      case SSL_ERROR_WANT_READ: return {Kind::kWantsRead};
      case SSL_ERROR_WANT_WRITE: return {Kind::kWantsWrite};
      case SSL_ERROR_ZERO_RETURN: return {Kind::kEnd};
      default: return {Kind::kBroken};
    }
  }

  SSL* const ssl_;
  const int socket_;
};

int select_protocol(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                    unsigned offered_bytes, void*) {
  static constexpr unsigned char kProtocols[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* found = nullptr;
  const int status = SSL_select_next_proto(&found, length, kProtocols, sizeof(kProtocols), offered, offered_bytes);
  *chosen = found;
  return status == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  const char* const reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  return reason != nullptr ? reason : "it cannot be read";
}

struct ContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, ContextDeleter>;

ContextPtr load_context(const std::string& certificate_file, const std::string& key_file) {
  ContextPtr context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) fail(ErrorCode::kIo, "TLS cannot be set up: {}", openssl_reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context.get(), select_protocol, nullptr);
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate_file.c_str()) != 1) {
    fail(ErrorCode::kIo, "--ssl-certfile '{}': {}; a PEM certificate chain is expected", printable(certificate_file),
         openssl_reason());
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    fail(ErrorCode::kIo, "--ssl-keyfile '{}': {}; the certificate's private key in PEM form is expected",
         printable(key_file), openssl_reason());
  }
  return context;
}

// Changes when the file is replaced or rewritten.
struct Stamp {
  ino_t inode = 0;
  off_t size = 0;
  timespec time = {};

  bool operator==(const Stamp& other) const {
    return inode == other.inode && size == other.size && time.tv_sec == other.time.tv_sec &&
           time.tv_nsec == other.time.tv_nsec;
  }
};

Stamp stamp_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {status.st_ino, status.st_size, status.st_mtim};
}

}  // namespace

std::unique_ptr<Transport> make_plain_transport(int socket) { return std::make_unique<PlainTransport>(socket); }

struct TlsFiles::Impl {
  using Clock = std::chrono::steady_clock;

  void reload_if_changed() {
    const auto now = Clock::now();
    if (now - looked < std::chrono::seconds(1)) return;
    looked = now;
    const Stamp new_certificate = stamp_of(certificate_file);
    const Stamp new_key = stamp_of(key_file);
    if (new_certificate == certificate_stamp && new_key == key_stamp) return;
    try {
      context = load_context(certificate_file, key_file);
      certificate_stamp = new_certificate;
      key_stamp = new_key;
      log::info("TLS certificate reloaded");
    } catch (const Error& error) {
      // The two files change one after the other: the old matching pair stays in use until the next check.
      log::warning("the TLS certificate was not renewed: {}", error.what());
    }
  }

  std::string certificate_file;
  std::string key_file;
  std::mutex mutex;
  ContextPtr context;
  Stamp certificate_stamp;
  Stamp key_stamp;
  Clock::time_point looked;
};

TlsFiles::TlsFiles(std::string certificate_file, std::string key_file) : impl_(std::make_unique<Impl>()) {
  impl_->certificate_file = std::move(certificate_file);
  impl_->key_file = std::move(key_file);
  impl_->certificate_stamp = stamp_of(impl_->certificate_file);
  impl_->key_stamp = stamp_of(impl_->key_file);
  impl_->context = load_context(impl_->certificate_file, impl_->key_file);
  impl_->looked = Impl::Clock::now();
}

TlsFiles::~TlsFiles() = default;

std::unique_ptr<Transport> TlsFiles::make_transport(int socket) {
  const std::lock_guard lock(impl_->mutex);
  impl_->reload_if_changed();
  SSL* const ssl = SSL_new(impl_->context.get());  // keeps the context alive
  if (ssl == nullptr) return nullptr;
  return std::make_unique<TlsTransport>(ssl, socket);
}

}  // namespace quire::http
