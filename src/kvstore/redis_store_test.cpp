#include "kvstore/redis_store.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "base/error.h"
#include "base/log.h"
#include "kvstore/file_store.h"
#include "kvstore/stacked_store.h"
#include "kvstore/test_blocks.h"

namespace quire {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kValue = 3000;  // bytes of payload

TestBlock shared_block(uint64_t number) { return TestBlock(number, kValue); }

RedisStore::Options at_port(int port) {
  return {.address = {.host = "127.0.0.1", .port = port},
          .secret = {5, 6},
          .fingerprint = "a model",
          .payload_bytes = {kValue},
          .connect_timeout = 500ms,
          .command_timeout = 60ms,
          .first_pause = 20ms};
}

// A socket that listens on a free port of this machine.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { ::close(socket_); }
  int port() const { return port_; }
  int number() const { return socket_; }

 private:
  int socket_;
  int port_ = 0;
};

// Answers every command that seems to arrive with the same bytes.
class LyingServer {
 public:
  explicit LyingServer(std::string reply) : reply_(std::move(reply)), thread_([this] { run(); }) {}
  LyingServer(const LyingServer&) = delete;
  LyingServer& operator=(const LyingServer&) = delete;
  ~LyingServer() {
    is_stopped_ = true;
    thread_.join();
    for (const int socket : sockets_) ::close(socket);
  }
  int port() const { return listener_.port(); }

 private:
  void run() {
    while (!is_stopped_) {
      std::vector<pollfd> polled = {{.fd = listener_.number(), .events = POLLIN, .revents = 0}};
      for (const int socket : sockets_) polled.push_back({.fd = socket, .events = POLLIN, .revents = 0});
      ::poll(polled.data(), polled.size(), 5);
      for (size_t i = 1; i < polled.size(); ++i) {
        if (polled[i].revents != 0) answer(polled[i].fd);
      }
      if (polled[0].revents != 0) sockets_.push_back(::accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC));
    }
  }
  void answer(int socket) {
    std::string bytes(65536, '\0');
    const ssize_t count = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count <= 0) {
      std::erase(sockets_, socket);
      ::close(socket);
      return;
    }
    bytes.resize(static_cast<size_t>(count));
    for (size_t at = bytes.find('*'); at != std::string::npos; at = bytes.find('*', at + 1)) {
      if (bytes.compare(at + 2, 3, "\r\n$") == 0) {
        [[maybe_unused]] const ssize_t sent = ::send(socket, reply_.data(), reply_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
    }
  }

  Listener listener_;
  std::string reply_;
  std::atomic<bool> is_stopped_{false};
  std::vector<int> sockets_;
  std::thread thread_;
};

// Debian's redis-server in a process of its own; not running where there is none.
class RealServer {
 public:
  RealServer() : port_(Listener().port()) { start(); }
  RealServer(const RealServer&) = delete;
  RealServer& operator=(const RealServer&) = delete;
  ~RealServer() { stop(); }

  void start() {
    const std::string log = (folder_ / "log").string();
    const std::string port = std::to_string(port_);
    const std::string dir = (folder_ / "").string();
    child_ = ::fork();
    if (child_ != 0) return;
    ::execlp("redis-server", "redis-server", "--port", port.c_str(), "--bind", "127.0.0.1", "--save", "", "--dir",
             dir.c_str(), "--logfile", log.c_str(), "--requirepass", "a:b", nullptr);
    ::_exit(127);
  }
  void stop() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  int port() const { return port_; }
  bool is_up() {
    for (int i = 0; i < 500; ++i) {
      if (::waitpid(child_, nullptr, WNOHANG) == child_) {
        child_ = -1;
        return false;
      }
      try {
        RedisConnection({.address = address()});
        return true;
      } catch (const Error&) {
        std::this_thread::sleep_for(10ms);
      }
    }
    return false;
  }
  RedisAddress address() const { return parse_redis_url(fmt::format("redis://:a%3Ab@127.0.0.1:{}/3", port_)); }
  RedisStore::Options options() const {
    auto options = at_port(port_);
    options.address = address();
    options.command_timeout = 5000ms;
    return options;
  }

 private:
  TestFolder folder_;
  int port_;
  pid_t child_ = -1;
};

class RealRedis : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<RealServer>();
    if (!server_->is_up()) server_.reset();
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    if (server_ == nullptr) GTEST_SKIP() << "redis-server is not installed";
  }
  static std::unique_ptr<RealServer> server_;
};
std::unique_ptr<RealServer> RealRedis::server_;

TEST_F(RealRedis, TwoStoresShare) {
  RedisStore first(server_->options());
  RedisStore second(server_->options());
  StoreCaller writer(first);
  StoreCaller reader(second);
  EXPECT_EQ(reader.read(shared_block(1)), StoreOutcome::kMissing);
  for (uint64_t i = 1; i < 40; ++i) EXPECT_EQ(writer.write(shared_block(i)), StoreOutcome::kDone);
  std::vector<StoredBlockId> ids;
  for (uint64_t i = 1; i < 50; ++i) ids.push_back(shared_block(i).id());
  EXPECT_EQ(reader.find(ids), 39);
  EXPECT_EQ(reader.find({}), 0);
  for (uint64_t i = 1; i < 40; ++i) EXPECT_EQ(reader.read(shared_block(i)), StoreOutcome::kDone);
  EXPECT_EQ(reader.write(shared_block(1)), StoreOutcome::kRefused);
  EXPECT_EQ(second.statistics().num_read, 39);
  EXPECT_EQ(second.statistics().num_failed, 0);
  EXPECT_TRUE(second.statistics().is_available);

  auto other_secret = server_->options();
  other_secret.secret.low = 1;
  RedisStore third(other_secret);
  EXPECT_EQ(StoreCaller(third).find(ids), 0);
}

TEST_F(RealRedis, AChangedValueIsRemoved) {
  RedisStore store(server_->options());
  StoreCaller caller(store);
  ASSERT_EQ(caller.write(shared_block(100)), StoreOutcome::kDone);
  TestBlock other = shared_block(100);
  ++other.tokens()[0];
  EXPECT_EQ(caller.read(other), StoreOutcome::kFailed);
  // Removed by the same thread before it takes another operation, but there are two.
  for (int i = 0; i < 200 && caller.find({other.id()}) > 0; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(caller.read(shared_block(100)), StoreOutcome::kMissing);
}

TEST_F(RealRedis, CancelledAmidst) {
  RedisStore store(server_->options());
  StoreCaller caller(store);
  const TestBlock block = shared_block(200);
  ASSERT_EQ(caller.write(block), StoreOutcome::kDone);
  std::vector<std::vector<std::byte>> bytes(30, std::vector<std::byte>(kValue));
  for (int round = 0; round < 10; ++round) {
    std::vector<BlockStore::Ticket> tickets;
    for (auto& own : bytes) {
      const std::vector<std::span<std::byte>> parts = {own};
      store.begin_read(tickets.emplace_back(caller.next()), block.block(), parts);
    }
    for (size_t i = 0; i < tickets.size(); i += 2) store.cancel(tickets[i]);
    for (size_t i = 0; i < tickets.size(); ++i) {
      const auto outcome = caller.wait(tickets[i]).outcome;
      if (outcome == StoreOutcome::kDone) {
        EXPECT_TRUE(bytes[i] == block.bytes());
      }
      if (i % 2 == 1) {
        EXPECT_EQ(outcome, StoreOutcome::kDone);
      }
      bytes[i].assign(kValue, std::byte{0});
    }
  }
}

TEST_F(RealRedis, DiskAndServerAsOne) {
  const TestFolder folder;
  RedisStore remote(server_->options());
  StoreCaller far(remote);
  for (uint64_t i = 300; i < 304; ++i) ASSERT_EQ(far.write(shared_block(i)), StoreOutcome::kDone);
  const auto near_options = FileStore::Options{.path = folder / "kv",
                                               .capacity_bytes = 256 << 10,
                                               .secret = {5, 6},
                                               .fingerprint = "a model",
                                               .payload_bytes = {kValue}};
  {
    std::vector<std::unique_ptr<BlockStore>> stores;
    stores.push_back(std::make_unique<FileStore>(near_options));
    stores.push_back(std::make_unique<RedisStore>(server_->options()));
    StackedStore store(std::move(stores));
    StoreCaller caller(store);
    EXPECT_EQ(caller.write(shared_block(304)), StoreOutcome::kDone);
    EXPECT_EQ(caller.write(shared_block(304)), StoreOutcome::kRefused);
    EXPECT_EQ(caller.write(shared_block(302)), StoreOutcome::kDone);  // to the disk
    std::vector<StoredBlockId> ids;
    for (uint64_t i = 300; i < 307; ++i) ids.push_back(shared_block(i).id());
    EXPECT_EQ(caller.find(ids), 5);
    for (uint64_t i = 300; i < 305; ++i) EXPECT_EQ(caller.read(shared_block(i)), StoreOutcome::kDone);
    EXPECT_EQ(caller.read(shared_block(305)), StoreOutcome::kMissing);
    for (int i = 0; i < 200 && store.store(0).statistics().num_blocks < 5; ++i) {
      std::this_thread::sleep_for(5ms);
      EXPECT_EQ(caller.find({}), 0);  // polls
    }
  }
  EXPECT_EQ(far.find({shared_block(304).id()}), 1);
  FileStore near(near_options);
  StoreCaller caller(near);
  for (uint64_t i = 300; i < 305; ++i) EXPECT_EQ(caller.read(shared_block(i)), StoreOutcome::kDone);
}

class RedisFaults : public testing::Test {
 protected:
  RedisFaults() { log::set_level(log::Level::kError); }
  ~RedisFaults() override { log::set_level(log::Level::kInfo); }
};

TEST_F(RedisFaults, AServerThatIsGoneAndComesBack) {
  auto server = std::make_unique<RealServer>();
  if (!server->is_up()) GTEST_SKIP() << "redis-server is not installed";
  RedisStore store(server->options());
  StoreCaller caller(store);
  EXPECT_EQ(caller.write(shared_block(1)), StoreOutcome::kDone);
  server->stop();
  EXPECT_EQ(caller.read(shared_block(1)), StoreOutcome::kFailed);
  EXPECT_FALSE(store.statistics().is_available);
  EXPECT_EQ(caller.find({shared_block(1).id()}), 0);
  EXPECT_NE(caller.write(shared_block(1)), StoreOutcome::kDone);
  server->start();
  ASSERT_TRUE(server->is_up());
  StoreOutcome outcome = StoreOutcome::kRefused;
  for (int i = 0; i < 500 && outcome != StoreOutcome::kDone; ++i) {
    outcome = caller.write(shared_block(1));
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(outcome, StoreOutcome::kDone);
  EXPECT_TRUE(store.statistics().is_available);
}

TEST_F(RedisFaults, AServerThatHangsIsGivenUp) {
  const LyingServer server("");  // reads, and says nothing
  RedisStore store(at_port(server.port()));
  StoreCaller caller(store);
  EXPECT_EQ(caller.read(shared_block(1)), StoreOutcome::kFailed);
  EXPECT_FALSE(store.statistics().is_available);
  std::this_thread::sleep_for(30ms);
  // One that waits in vain can be left.
  std::vector<std::byte> bytes(kValue);
  const std::vector<std::span<std::byte>> parts = {bytes};
  const auto ticket = caller.next();
  store.begin_read(ticket, shared_block(1).block(), parts);
  store.cancel(ticket);
  EXPECT_NE(caller.wait(ticket).outcome, StoreOutcome::kDone);
}

TEST_F(RedisFaults, LiesAreHarmless) {
  const std::string right_size = fmt::format("${}\r\n{}\r\n", kValue + 64, std::string(kValue + 64, 'x'));
  const std::vector<std::string> lies = {
      "$-1\r\n",
      "$5\r\nhello\r\n",
      right_size,
      "$1000000000000\r\n",
      ":1\r\n",
      ":9223372036854775807\r\n",
      "+OK\r\n",
      "-OOM command not allowed\r\n",
      "*2147483647\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      std::string(200'000, '$'),
      "$" + std::to_string(kValue + 64) + "\r\n" + std::string(300'000, 'y'),
  };
  for (const std::string& lie : lies) {
    const LyingServer server(lie);
    RedisStore store(at_port(server.port()));
    StoreCaller caller(store);
    EXPECT_NE(caller.read(shared_block(1)), StoreOutcome::kDone) << lie.substr(0, 40);
    EXPECT_LE(caller.find({shared_block(1).id()}), 1);
    EXPECT_NE(caller.write(shared_block(1)), StoreOutcome::kDone) << lie.substr(0, 40);
  }
}

TEST_F(RedisFaults, NobodyListens) {
  RedisStore store(at_port(Listener().port()));
  StoreCaller caller(store);
  EXPECT_NE(caller.read(shared_block(1)), StoreOutcome::kDone);
  EXPECT_FALSE(store.statistics().is_available);
}

TEST(RedisUrl, Forms) {
  const RedisAddress plain = parse_redis_url("redis://example.org");
  EXPECT_EQ(plain.host, "example.org");
  EXPECT_EQ(plain.port, 6379);
  EXPECT_EQ(plain.database, 0);
  const RedisAddress full = parse_redis_url("redis://me:a%40b@[::1]:7000/12");
  EXPECT_EQ(full.user, "me");
  EXPECT_EQ(full.password, "a@b");
  EXPECT_EQ(full.host, "::1");
  EXPECT_EQ(full.port, 7000);
  EXPECT_EQ(full.database, 12);
  EXPECT_EQ(full.printed().find("a@b"), std::string::npos);
  EXPECT_EQ(parse_redis_url("redis://h:1/").port, 1);
  for (const char* bad :
       {"", "http://h", "rediss://h", "redis://", "redis://:5", "redis://h:0", "redis://h:x", "redis://h:1/x",
        "redis://me@h", "redis://me:@h", "redis://:%4@h", "redis://[::1", "redis://[::1]5"}) {
    EXPECT_THROW(parse_redis_url(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace quire
