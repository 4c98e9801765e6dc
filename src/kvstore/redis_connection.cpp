#include "kvstore/redis_connection.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

using namespace std::chrono_literals;

constexpr size_t kRoomForForm = size_t{64} << 10;  // of a reply, besides its payload
constexpr auto kLongestSleep = 10ms;               // between questions whether to stop

[[noreturn]] void refuse_url(const char* what) {
  // The URL has a password: it is not repeated.
  fail(ErrorCode::kInvalidArgument, "the URL of the KV store {}: it should be redis://[user:password@]host[:port][/db]",
       what);
}

std::string decode_percent(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned byte = 0;
    const char* const digits = text.data() + i + 1;
    if (i + 2 >= text.size() || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
      refuse_url("has a % that two hexadecimal digits do not follow");
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

int parse_number(std::string_view text, int least, int most, const char* what) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most) refuse_url(what);
  return number;
}

void parse_host(std::string_view text, RedisAddress& address) {
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) refuse_url("has a [ without ]");
    address.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':') refuse_url("has something else than a port after its host");
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    address.host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (address.host.empty()) refuse_url("has no host");
  if (!port.empty()) address.port = parse_number(port.substr(1), 1, 65535, "has a port that is not 1 to 65535");
}

timeval to_timeval(std::chrono::milliseconds time) {
  return {.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
}

// No command of ours is answered by an array: one would only be a way to take memory.
redisReplyObjectFunctions* replies_without_arrays(const redisReplyObjectFunctions& usual) {
  static redisReplyObjectFunctions functions = [&usual] {
    redisReplyObjectFunctions changed = usual;
    changed.createArray = [](const redisReadTask*, auto) -> void* { return nullptr; };
    return changed;
  }();
  return &functions;
}

void free_reply(redisReply* reply) { freeReplyObject(reply); }

}  // namespace

std::string RedisAddress::printed() const {
  return fmt::format("redis://{}:{}/{}", printable(host, 255), port, database);
}

RedisAddress parse_redis_url(std::string_view url) {
  if (url.starts_with("rediss://")) {
    fail(ErrorCode::kUnsupported,
         "rediss:// is not supported: this build has no TLS to a Redis; use redis:// through a tunnel such as stunnel");
  }
  constexpr std::string_view kScheme = "redis://";
  if (!url.starts_with(kScheme)) refuse_url("does not begin with redis://");
  url.remove_prefix(kScheme.size());
  RedisAddress address;
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) {
    const std::string_view user = url.substr(0, at);
    const size_t colon = user.find(':');
    if (colon == std::string_view::npos) refuse_url("has a user without a password");
    address.user = decode_percent(user.substr(0, colon));
    address.password = decode_percent(user.substr(colon + 1));
    if (address.password.empty()) refuse_url("has an empty password");
    url.remove_prefix(at + 1);
  }
  const size_t slash = std::min(url.find('/'), url.size());
  if (slash + 1 < url.size()) {
    address.database = parse_number(url.substr(slash + 1), 0, 1'000'000, "has a database that is no number");
  }
  parse_host(url.substr(0, slash), address);
  return address;
}

RedisConnection::RedisConnection(Options options)
    : options_(std::move(options)),
      context_(redisConnectWithTimeout(options_.address.host.c_str(), options_.address.port,
                                       to_timeval(options_.connect_timeout)),
               redisFree) {
  if (context_ == nullptr) fail(ErrorCode::kOutOfMemory, "no memory for a connection to a Redis");
  if (context_->err != 0) refuse("cannot be reached");
  const int flags = ::fcntl(context_->fd, F_GETFL);
  if (flags < 0 || ::fcntl(context_->fd, F_SETFL, flags | O_NONBLOCK) != 0) refuse("cannot be reached");
  context_->flags &= ~REDIS_BLOCK;
  context_->reader->fn = replies_without_arrays(*context_->reader->fn);
  context_->reader->maxbuf = 0;  // the buffer is kept for the next reply
  const RedisAddress& address = options_.address;
  if (!address.password.empty()) {
    std::vector<std::string_view> words = {"AUTH"};
    if (!address.user.empty()) words.push_back(address.user);
    words.push_back(address.password);
    append(words);
    expect_ok("AUTH");
  }
  if (address.database != 0) {
    const std::string database = std::to_string(address.database);
    append(std::vector<std::string_view>{"SELECT", database});
    expect_ok("SELECT");
  }
}

void RedisConnection::append(std::span<const std::string_view> words) {
  std::vector<const char*> begins;
  std::vector<size_t> sizes;
  for (const std::string_view word : words) {
    begins.push_back(word.data());
    sizes.push_back(word.size());
  }
  if (redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), begins.data(), sizes.data()) != REDIS_OK) {
    refuse("cannot be sent a command");
  }
  ++num_waiting_;
}

std::vector<RedisConnection::Reply> RedisConnection::exchange() {
  std::vector<Reply> replies;
  auto until = std::chrono::steady_clock::now() + options_.command_timeout;
  while (num_waiting_ > 0) {
    void* reply = nullptr;
    if (redisGetReplyFromReader(context_.get(), &reply) != REDIS_OK) refuse("answers what is no reply");
    if (reply != nullptr) {
      replies.emplace_back(static_cast<redisReply*>(reply), free_reply);
      --num_waiting_;
      until = std::chrono::steady_clock::now() + options_.command_timeout;
    } else {
      send_and_receive(until);
    }
  }
  return replies;
}

void RedisConnection::expect_ok(const char* what) {
  const auto replies = exchange();
  if (replies.front()->type == REDIS_REPLY_STATUS) return;
  const std::string_view said =
      replies.front()->type == REDIS_REPLY_ERROR ? std::string_view(replies.front()->str, replies.front()->len) : "";
  fail(ErrorCode::kIo, "{} does not accept {}: {}", options_.address.printed(), what, printable(said));
}

// Moves some bytes in any direction, or waits for a moment.
void RedisConnection::send_and_receive(std::chrono::steady_clock::time_point until) {
  int is_sent = 0;
  if (redisBufferWrite(context_.get(), &is_sent) != REDIS_OK) refuse("cannot be written to");
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  if (left <= 0ms) {
    fail(ErrorCode::kIo, "{} has not answered in {} ms", options_.address.printed(), options_.command_timeout.count());
  }
  if (options_.should_stop && options_.should_stop()) fail(ErrorCode::kIo, "stopped");
  pollfd polled{
      .fd = context_->fd, .events = static_cast<short>(is_sent != 0 ? POLLIN : POLLIN | POLLOUT), .revents = 0};
  const int ready =
      ::poll(&polled, 1, static_cast<int>(std::min<std::chrono::milliseconds>(left, kLongestSleep).count()));
  if (ready <= 0 || polled.revents == POLLOUT) return;
  if (redisBufferRead(context_.get()) != REDIS_OK) refuse("cannot be read from");
  const redisReader& reader = *context_->reader;
  if (reader.len - reader.pos > options_.most_reply_bytes + kRoomForForm) {
    fail(ErrorCode::kIo, "{} sends more than it was asked for", options_.address.printed());
  }
}

void RedisConnection::refuse(const char* what) const {
  fail(ErrorCode::kIo, "{} {}: {}", options_.address.printed(), what, printable(context_->errstr));
}

}  // namespace quire
