#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "base/build_id.h"
#include "base/checked_math.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/replace_file.h"
#include "base/shared_library.h"
#include "base/thread_pool.h"

namespace quire {
namespace {

TEST(CheckedMath, ReportsOverflow) {
  EXPECT_EQ(checked_mul(1u << 31, 2), uint64_t{1} << 32);
  EXPECT_FALSE(checked_mul(uint64_t{1} << 40, uint64_t{1} << 40));
  EXPECT_FALSE(checked_add(UINT64_MAX, 1));
  EXPECT_TRUE(range_inside(4, 4, 8));
  EXPECT_FALSE(range_inside(5, 4, 8));
  EXPECT_FALSE(range_inside(8, UINT64_MAX, 8));
}

TEST(ThreadPool, EveryTaskRunsOnceForManyShortLoops) {
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (int loop = 0; loop < 2000; ++loop) {
      const int64_t tasks = 1 + loop % 17;
      std::vector<std::atomic<int>> runs(tasks);
      pool.parallel_for(tasks, [&](int64_t task, int thread) {
        ASSERT_LT(thread, threads);
        runs[task].fetch_add(1);
      });
      for (const auto& run : runs) ASSERT_EQ(run.load(), 1);
    }
  }
}

// A worker may be at any point of its loop when the pool is destroyed; it must notice and not sleep on.
TEST(ThreadPool, DestructionStopsWorkersInAnyState) {
  for (int round = 0; round < 20000; ++round) {
    ThreadPool pool(4);
    std::atomic<int> tasks{0};
    pool.parallel_for(round % 3, [&](int64_t, int) { ++tasks; });
    ASSERT_EQ(tasks, round % 3);
  }
}

// A worker that loses its processor during a task must rest; loops finish without it.
TEST(ThreadPool, WorkersThatLostTheirProcessorRest) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(2);
  std::atomic<int> taken{0};
  const Clock::time_point start = Clock::now();
  pool.parallel_for(2, [&](int64_t, int thread) {
    ++taken;
    while (taken < 2) std::this_thread::yield();  // one each
    if (thread == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50) + 10 * (Clock::now() - start));
  });
  EXPECT_EQ(pool.num_rests(), 1);
  for (int loop = 0; loop < 1000; ++loop) {
    std::atomic<int> tasks{0};
    pool.parallel_for(9, [&](int64_t, int) { ++tasks; });
    ASSERT_EQ(tasks, 9);
  }
}

TEST(SharedLibrary, OpensALibraryOrListsTheFilesTried) {
  const auto refuse = [](const std::string& why) { fail(ErrorCode::kUnsupported, "{}", why); };
  const char* const files[] = {"libnone.so", "libc.so.6"};
  const SharedLibrary library(files, refuse);
  int (*absolute)(int) = nullptr;
  library.find("abs", absolute);
  EXPECT_EQ(absolute(-3), 3);
  EXPECT_THROW(library.find("none_of_that_name", absolute), Error);
  EXPECT_THROW(SharedLibrary(std::span(files).first(1), refuse), Error);
}

TEST(Json, ErrorsNameThePlace) {
  EXPECT_THROW(parse_json("{\"a\": [1, 2", "file x"), Error);
  EXPECT_THROW(parse_json("{} {}", "file x"), Error);
  try {
    parse_json(R"({"a": "\ud83d\ude00"x})", "file x");
    ADD_FAILURE() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("surrogate"), std::string::npos) << "the pair is whole: " << error.what();
  }
  EXPECT_THROW(parse_json(std::string(100000, '['), "file x"), Error);
  const json::value value = parse_json(R"({"n": 7.0, "s": "t", "z": null})", "x");
  const json::object& object = value.as_object();
  EXPECT_EQ(get_int(object, "n"), 7);
  EXPECT_EQ(find_int(object, "z", 3), 3);
  EXPECT_EQ(find_string(object, "absent", "d"), "d");
  try {
    get_int(object, "s");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("\"s\""), std::string::npos);
  }
}

TEST(MappedFile, ReadsAndRefuses) {
  const auto path = std::filesystem::temp_directory_path() / "quire_mapped_file_test";
  std::ofstream(path) << "pages";
  const MappedFile file = MappedFile::open(path);
  EXPECT_EQ(file.bytes().size(), 5u);
  EXPECT_THROW(read_text_file(path, 4), Error);
  EXPECT_THROW(MappedFile::open("/nonexistent/file"), Error);
  EXPECT_THROW(MappedFile::open("/tmp"), Error);
  std::filesystem::remove(path);
}

// The limit would end the program with a signal.
TEST(ReplaceFile, ALimitOfTheSizeIsAnError) {
  const auto path = std::filesystem::temp_directory_path() / "quire_replace_file_test";
  const std::vector<std::byte> bytes(size_t{64} << 10);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = bytes.size() - 1;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(replace_file(path, {bytes}), Error);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path.string() + std::string(kPartialSuffix)));
  EXPECT_TRUE(replace_file(path, {bytes, bytes}));
  EXPECT_EQ(std::filesystem::file_size(path), 2 * bytes.size());
  std::filesystem::remove(path);
}

TEST(Checksum, FindsFlippedBitsAndOtherLengths) {
  std::vector<std::byte> bytes(200);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37);
  const uint64_t sum = checksum64(bytes);
  EXPECT_NE(checksum64(bytes, 1), sum);
  const auto flip = [&](size_t bit) { bytes[bit / 8] ^= std::byte{static_cast<uint8_t>(1 << bit % 8)}; };
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    flip(bit);
    EXPECT_NE(checksum64(bytes), sum) << bit;
    // With a bit of the next word of the same chain: products alone would let two top bits cancel.
    const size_t next = bit / 64 * 64 + 256;
    for (size_t other = next; other < std::min(next + 64, 8 * bytes.size()); ++other) {
      flip(other);
      EXPECT_NE(checksum64(bytes), sum) << bit << " and " << other;
      flip(other);
    }
    flip(bit);
  }
  const std::vector<std::byte> zeros(100);
  std::set<uint64_t> lengths;
  for (size_t size = 0; size <= zeros.size(); ++size) lengths.insert(checksum64(std::span(zeros).first(size)));
  EXPECT_EQ(lengths.size(), zeros.size() + 1);
}

TEST(BuildId, IsTheLinkers) {
  const std::string id = build_id();
  EXPECT_EQ(id.size(), 40u) << id;
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
  EXPECT_EQ(build_id(), id);
}

TEST(Error, PrintableEscapesAndTruncates) {
  EXPECT_EQ(printable("a\nb\x7f"), "a\\x0ab\\x7f");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace quire
