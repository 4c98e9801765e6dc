#include "kvstore/file_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "kvstore/secret_key.h"
#include "kvstore/test_blocks.h"

namespace quire {
namespace {

constexpr uint64_t kPayload = 5000;  // a record of two pages
constexpr uint64_t kOther = 100;     // of group 1

FileStore::Options small_disk(const std::filesystem::path& path) {
  return {.path = path,
          .capacity_bytes = 256 << 10,
          .secret = {1, 2},
          .fingerprint = "a model",
          .payload_bytes = {kPayload, kOther}};
}

TestBlock numbered(uint64_t number) { return TestBlock(number, kPayload); }

class FileStoreMethods : public testing::TestWithParam<bool> {
 protected:
  FileStore::Options options() const {
    auto options = small_disk(folder_ / "kv");
    if (GetParam()) options.make_queue = [](int file, int) { return make_thread_queue(file, 2); };
    return options;
  }
  TestFolder folder_;
};

TEST_P(FileStoreMethods, BlocksOutliveTheStore) {
  const TestBlock other(7, kOther, 1);
  for (const bool is_again : {false, true}) {
    FileStore store(options());
    StoreCaller caller(store);
    for (uint64_t i = 0; i < 5; ++i) {
      EXPECT_EQ(caller.read(numbered(i)), is_again ? StoreOutcome::kDone : StoreOutcome::kMissing);
      EXPECT_EQ(caller.write(numbered(i)), is_again ? StoreOutcome::kRefused : StoreOutcome::kDone);
    }
    EXPECT_EQ(caller.write(other), is_again ? StoreOutcome::kRefused : StoreOutcome::kDone);
    EXPECT_EQ(caller.find({numbered(0).id(), numbered(1).id(), numbered(9).id(), numbered(2).id()}), 2);
    EXPECT_EQ(caller.find({other.id()}), 1);
    EXPECT_EQ(caller.find({}), 0);
    EXPECT_EQ(caller.read(other), StoreOutcome::kDone);
    EXPECT_EQ(caller.read(numbered(4)), StoreOutcome::kDone);
    EXPECT_EQ(store.statistics().num_blocks, 6);
    EXPECT_EQ(store.statistics().num_failed, 0);
  }
  struct stat status = {};
  ASSERT_EQ(::stat((folder_ / "kv").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_LE(status.st_size, 256 << 10);
}

TEST_P(FileStoreMethods, ManyAtOnceAndCancelled) {
  FileStore store(options());
  StoreCaller caller(store);
  std::vector<TestBlock> blocks;
  for (uint64_t i = 0; i < 12; ++i) blocks.push_back(numbered(i));
  std::vector<BlockStore::Ticket> tickets;
  for (const TestBlock& block : blocks) {
    store.begin_write(tickets.emplace_back(caller.next()), block.block(), block.sources());
    if (tickets.size() % 3 == 0) store.cancel(tickets.back());
  }
  for (const auto ticket : tickets) caller.wait(ticket);
  std::vector<std::vector<std::byte>> bytes(blocks.size(), std::vector<std::byte>(kPayload));
  std::vector<StoreOutcome> outcomes;
  for (int round = 0; round < 20; ++round) {
    tickets.clear();
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::vector<std::span<std::byte>> parts = {bytes[i]};
      store.begin_read(tickets.emplace_back(caller.next()), blocks[i].block(), parts);
      if (i % 2 == 1) store.cancel(tickets[i]);
    }
    for (size_t i = 0; i < blocks.size(); ++i) {
      const auto ended = caller.wait(tickets[i]);
      if (ended.outcome == StoreOutcome::kDone) {
        EXPECT_TRUE(bytes[i] == blocks[i].bytes());
      }
      if (i % 2 == 0 && i % 3 != 2) {
        EXPECT_EQ(ended.outcome, StoreOutcome::kDone);
      }
      bytes[i].assign(kPayload, std::byte{0});  // ours again, whatever the disk still does
    }
  }
}

TEST_P(FileStoreMethods, TheLeastUsedGoesFirst) {
  FileStore store(options());
  StoreCaller caller(store);
  const auto capacity = static_cast<uint64_t>(
      KvFile::num_slots({.capacity_bytes = 256 << 10, .record_bytes = {kPayload + 64, kOther + 64}, .tag = {}}));
  for (uint64_t i = 0; i < capacity; ++i) ASSERT_EQ(caller.write(numbered(i)), StoreOutcome::kDone);
  EXPECT_EQ(caller.read(numbered(3)), StoreOutcome::kDone);
  EXPECT_EQ(caller.find({numbered(0).id()}), 1);
  for (uint64_t i = 0; i + 2 < capacity; ++i) ASSERT_EQ(caller.write(numbered(100 + i)), StoreOutcome::kDone);
  EXPECT_EQ(store.statistics().num_blocks, static_cast<int64_t>(capacity));
  EXPECT_EQ(store.statistics().num_evicted, static_cast<int64_t>(capacity) - 2);
  EXPECT_EQ(caller.read(numbered(0)), StoreOutcome::kDone);
  EXPECT_EQ(caller.read(numbered(3)), StoreOutcome::kDone);
  EXPECT_EQ(caller.read(numbered(1)), StoreOutcome::kMissing);
}

INSTANTIATE_TEST_SUITE_P(Ring, FileStoreMethods, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Threads, FileStoreMethods, testing::Values(true));

TEST(FileStore, OnlyItsOwnBlocksAreFound) {
  const TestFolder folder;
  const auto options = small_disk(folder / "kv");
  {
    FileStore store(options);
    StoreCaller caller(store);
    EXPECT_EQ(caller.write(numbered(1)), StoreOutcome::kDone);
    TestBlock other = numbered(1);
    ++other.tokens().back();
    EXPECT_EQ(caller.read(other), StoreOutcome::kFailed);
    EXPECT_EQ(caller.write(numbered(1)), StoreOutcome::kDone);  // what failed is gone
    other = numbered(1);
    ++other.parent().low;
    EXPECT_EQ(caller.read(other), StoreOutcome::kFailed);
    EXPECT_EQ(caller.write(numbered(1)), StoreOutcome::kDone);
  }
  const auto finds = [&](auto change) {
    auto changed = options;
    change(changed);
    FileStore store(changed);
    StoreCaller caller(store);
    const int64_t found = caller.find({numbered(1).id()});
    if (found == 0) {
      EXPECT_EQ(caller.write(numbered(1)), StoreOutcome::kDone);
    }
    return found;
  };
  EXPECT_EQ(finds([](auto&) {}), 1);
  EXPECT_EQ(finds([](auto& o) { o.fingerprint = "another model"; }), 0);
  EXPECT_EQ(finds([](auto&) {}), 0);
  EXPECT_EQ(finds([](auto& o) { o.secret.high = 3; }), 0);
  EXPECT_EQ(finds([](auto& o) { o.capacity_bytes = 512 << 10; }), 0);
  EXPECT_EQ(finds([](auto& o) { o.capacity_bytes = 512 << 10; }), 1);
  std::filesystem::resize_file(options.path, 48);  // a process was killed when it made the file
  EXPECT_EQ(finds([](auto& o) { o.capacity_bytes = 512 << 10; }), 0);
  EXPECT_EQ(finds([](auto& o) { o.capacity_bytes = 512 << 10; }), 1);
}

TEST(FileStore, RefusesWhatItMustNotUse) {
  const TestFolder folder;
  const auto refusal = [&](const FileStore::Options& options) -> std::string {
    try {
      const FileStore store(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  const auto options = small_disk(folder / "kv");
  {
    const FileStore store(options);
    EXPECT_NE(refusal(options).find("used by another process"), std::string::npos);
  }
  EXPECT_EQ(refusal(options), "none");
  std::ofstream(folder / "letter") << "Dear reader, this file is something that must not be overwritten.";
  EXPECT_NE(refusal(small_disk(folder / "letter")).find("is something else"), std::string::npos);
  std::filesystem::create_symlink(folder / "kv", folder / "link");
  EXPECT_NE(refusal(small_disk(folder / "link")).find("cannot be opened"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal(small_disk(folder / "pipe")).find("not a regular file"), std::string::npos);
  auto tiny = small_disk(folder / "tiny");
  tiny.capacity_bytes = 10000;
  EXPECT_NE(refusal(tiny).find("has no room for 2 blocks"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "tiny"));
  auto huge = small_disk(folder / "huge");
  huge.capacity_bytes = uint64_t{1} << 44;
  EXPECT_NE(refusal(huge).find("and its file system has"), std::string::npos);
}

TEST(SecretKey, IsMadeOnceAndKeptFromOthers) {
  const TestFolder folder;
  const HashKey made = secret_of_file(folder / "key");
  const HashKey again = secret_of_file(folder / "key");
  EXPECT_EQ(made.low, again.low);
  EXPECT_EQ(made.high, again.high);
  std::filesystem::permissions(folder / "key", std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  EXPECT_THROW(secret_of_file(folder / "key"), Error);
  const auto of_text = [&](const char* text) {
    std::ofstream(folder / "text") << text;
    std::filesystem::permissions(folder / "text", std::filesystem::perms::owner_read);
    std::filesystem::permissions(folder / "text", std::filesystem::perms::owner_write,
                                 std::filesystem::perm_options::add);
    return secret_of_file(folder / "text");
  };
  EXPECT_EQ(of_text("00000000000000ff0000000000000010\n").high, 255u);
  EXPECT_EQ(of_text("00000000000000ff0000000000000010").low, 16u);
  EXPECT_THROW(of_text("short"), Error);
  EXPECT_THROW(of_text("00000000000000fg0000000000000010"), Error);
}

// 1,000 random damages: flipped bits, pages of zeros or of another place, files cut short. Blocks may be gone; a wrong
// one is a failure of StoreCaller::read.
TEST(FileStore, DamageIsFoundOut) {
  const TestFolder folder;
  const auto path = folder / "kv";
  const auto options = small_disk(path);
  constexpr uint64_t kNumBlocks = 20;
  std::mt19937_64 random(1);
  int64_t num_lost = 0;
  for (int round = 0; round < 25; ++round) {
    {
      FileStore store(options);
      StoreCaller caller(store);
      for (uint64_t i = 0; i < kNumBlocks; ++i) caller.write(numbered(i));
    }
    const uint64_t size = std::filesystem::file_size(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (int damage = 0; damage < 40; ++damage) {
      const uint64_t at = random() % size;
      file.clear();
      file.seekg(static_cast<std::streamoff>(at));
      char byte = 0;
      file.get(byte);
      file.clear();
      file.seekp(static_cast<std::streamoff>(damage == 1 ? at / 4096 * 4096 : at));
      if (damage == 1) {
        file << std::string(4096, '\0');
      } else if (damage == 2) {
        std::string page(4096, '\0');
        file.seekg(static_cast<std::streamoff>(random() % (size / 4096) * 4096));
        file.read(page.data(), std::ssize(page));
        file.clear();
        file.seekp(static_cast<std::streamoff>(random() % (size / 4096 - 4) * 4096 + 12288));
        file << page;
      } else {
        file.put(static_cast<char>(byte ^ (1 << random() % 8)));
      }
    }
    file.close();
    if (round % 10 == 9) std::filesystem::resize_file(path, 4096 + random() % size);
    if (round % 10 != 9) std::filesystem::resize_file(path, size);
    try {
      FileStore store(options);
      StoreCaller caller(store);
      for (uint64_t i = 0; i < kNumBlocks; ++i) num_lost += caller.read(numbered(i)) == StoreOutcome::kDone ? 0 : 1;
    } catch (const Error&) {  // the header is not one any more
      std::filesystem::remove(path);
      num_lost += kNumBlocks;
    }
  }
  EXPECT_GT(num_lost, 50);
  EXPECT_LT(num_lost, 25 * static_cast<int64_t>(kNumBlocks));
}

// A child writes blocks without end until it is killed. QUIRE_KV_KILLS: how often; tools/kv_crash.sh does it 1,000
// times.
TEST(FileStore, KilledAtAnyMoment) {
  const TestFolder folder;
  auto options = small_disk(folder / "kv");
  // The child has one thread when it is made: it must not inherit locks of others.
  options.make_queue = [](int file, int) { return make_thread_queue(file, 2); };
  const char* kills = std::getenv("QUIRE_KV_KILLS");
  const int num_kills = kills != nullptr ? std::atoi(kills) : 5;
  std::mt19937_64 random(7);
  int64_t num_read = 0;
  for (int i = 0; i < num_kills; ++i) {
    const uint64_t seed = random();
    int written[2] = {};  // the child says when its first blocks are
    ASSERT_EQ(::pipe(written), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      FileStore store(options);
      StoreCaller caller(store);
      std::mt19937_64 numbers(seed);
      while (true) {
        std::vector<TestBlock> blocks;
        for (int k = 0; k < 8; ++k) blocks.push_back(numbered(numbers() % 64));
        std::vector<BlockStore::Ticket> tickets;
        for (const auto& block : blocks) {
          store.begin_write(tickets.emplace_back(caller.next()), block.block(), block.sources());
        }
        for (const auto ticket : tickets) caller.wait(ticket);
        if (::write(written[1], "", 1) < 0) ::_exit(1);
      }
    }
    ::close(written[1]);
    // Every other one may be killed while it opens the file.
    char byte = 0;
    if (i % 2 == 0) {
      ASSERT_EQ(::read(written[0], &byte, 1), 1);
    }
    ::usleep(static_cast<useconds_t>(random() % 20000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ::close(written[0]);
    FileStore store(options);
    StoreCaller caller(store);
    for (uint64_t number = 0; number < 64; ++number) {
      num_read += caller.read(numbered(number)) == StoreOutcome::kDone ? 1 : 0;
    }
  }
  EXPECT_GT(num_read, 0);
  if (kills != nullptr) {
    std::printf("%d kills, %ld blocks read and none wrong\n", num_kills, static_cast<long>(num_read));
  }
}

// A disk with faults: every operation goes through the real one, and then its result may become another.
class FaultyQueue final : public DiskQueue {
 public:
  struct Faults {
    std::atomic<int> read_error{0};
    std::atomic<int> write_error{0};
    std::atomic<bool> is_stuck{false};
  };
  FaultyQueue(std::unique_ptr<DiskQueue> disk, Faults& faults) : disk_(std::move(disk)), faults_(faults) {}

  void start(const Operation& operation) override {
    const int error = operation.is_write ? faults_.write_error.load() : faults_.read_error.load();
    if (faults_.is_stuck) {
      held_.push_back({.tag = operation.tag, .error = EIO});
    } else if (error != 0) {
      failed_.push_back({.tag = operation.tag, .error = error});
      disk_->nudge();
    } else {
      disk_->start(operation);
    }
  }
  void wait(std::vector<Result>& ended) override {
    disk_->wait(ended);
    ended.insert(ended.end(), failed_.begin(), failed_.end());
    failed_.clear();
    if (faults_.is_stuck) return;
    ended.insert(ended.end(), held_.begin(), held_.end());
    held_.clear();
  }
  void nudge() override { disk_->nudge(); }
  const char* name() const override { return "faulty"; }

 private:
  std::unique_ptr<DiskQueue> disk_;
  Faults& faults_;
  std::vector<Result> failed_;
  std::vector<Result> held_;
};

class FileStoreFaults : public testing::Test {
 protected:
  FileStoreFaults() {
    options_ = small_disk(folder_ / "kv");
    options_.first_pause = std::chrono::milliseconds(20);
    options_.make_queue = [this](int file, int) {
      return std::make_unique<FaultyQueue>(make_thread_queue(file, 2), faults_);
    };
    log::set_level(log::Level::kError);
  }
  ~FileStoreFaults() override { log::set_level(log::Level::kInfo); }
  TestFolder folder_;
  FaultyQueue::Faults faults_;
  FileStore::Options options_;
};

TEST_F(FileStoreFaults, ADiskThatFailsIsGivenUpAndTriedAgain) {
  FileStore store(options_);
  StoreCaller caller(store);
  EXPECT_EQ(caller.write(numbered(0)), StoreOutcome::kDone);
  faults_.write_error = ENOSPC;
  for (uint64_t i = 1; i <= 3; ++i) EXPECT_EQ(caller.write(numbered(i)), StoreOutcome::kFailed);
  EXPECT_FALSE(store.statistics().is_available);
  EXPECT_EQ(store.statistics().num_failed, 3);
  faults_.write_error = 0;
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(caller.write(numbered(1)), StoreOutcome::kDone);
  EXPECT_TRUE(store.statistics().is_available);
  EXPECT_EQ(caller.find({numbered(0).id(), numbered(1).id(), numbered(2).id()}), 2);
  faults_.read_error = EIO;
  EXPECT_EQ(caller.read(numbered(0)), StoreOutcome::kFailed);
  faults_.read_error = 0;
  EXPECT_EQ(caller.read(numbered(0)), StoreOutcome::kMissing);  // what failed is not tried again
  EXPECT_EQ(caller.read(numbered(1)), StoreOutcome::kDone);
}

TEST_F(FileStoreFaults, AStuckDiskHoldsNobodyWhoCancels) {
  FileStore store(options_);
  StoreCaller caller(store);
  ASSERT_EQ(caller.write(numbered(0)), StoreOutcome::kDone);
  faults_.is_stuck = true;
  {
    const TestBlock gone = numbered(1);
    std::vector<std::byte> bytes(kPayload);
    const std::vector<std::span<std::byte>> parts = {bytes};
    const auto write = caller.next();
    const auto read = caller.next();
    store.begin_write(write, gone.block(), gone.sources());
    store.begin_read(read, numbered(0).block(), parts);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    store.cancel(write);
    store.cancel(read);
    caller.wait(write);
    caller.wait(read);
  }
  EXPECT_EQ(caller.find({numbered(0).id()}), 1);
  faults_.is_stuck = false;
}

}  // namespace
}  // namespace quire
