// One connection to a Redis or Valkey server over hiredis: commands are appended, then all replies are read. No call
// takes longer than its timeout, whatever the server sends, and replies take no more memory than they may.
//
// One thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct redisContext;
struct redisReply;

namespace quire {

struct RedisAddress {
  std::string host;
  int port = 6379;
  std::string user = {};      // empty: that of the server's default
  std::string password = {};  // empty: no authentication
  int database = 0;

  std::string printed() const;  // without the password
};

// redis://[[user]:password@]host[:port][/database]. Throws Error: kInvalidArgument, kUnsupported.
RedisAddress parse_redis_url(std::string_view url);

class RedisConnection {
 public:
  using Reply = std::unique_ptr<redisReply, void (*)(redisReply*)>;
  struct Options {
    RedisAddress address;
    std::chrono::milliseconds connect_timeout{1000};
    std::chrono::milliseconds command_timeout{2000};  // of each reply
    size_t most_reply_bytes = 0;
    std::function<bool()> should_stop = {};  // asked now and then while waiting
  };

  // Connects, authenticates and selects the database. This and the other functions throw Error kIo, after which the
  // connection is of no use; a refusal by the server is a reply.
  explicit RedisConnection(Options options);

  void append(std::span<const std::string_view> words);
  // The reply to each command that was appended.
  std::vector<Reply> exchange();

 private:
  void expect_ok(const char* what);
  void send_and_receive(std::chrono::steady_clock::time_point until);
  [[noreturn]] void refuse(const char* what) const;

  Options options_;
  std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
  size_t num_waiting_ = 0;  // replies
};

}  // namespace quire
