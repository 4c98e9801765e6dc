#include "grammar/grammar_cache.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/error.h"

namespace quire {
namespace {

// As large as a test says.
class SizedGrammar : public CompiledGrammar {
 public:
  explicit SizedGrammar(size_t bytes) : bytes_(bytes) {}
  size_t memory_bytes() const override { return bytes_; }
  std::unique_ptr<TokenConstraint> begin() const override { return nullptr; }
  void grow(size_t bytes) const { bytes_ += bytes; }

 private:
  mutable std::atomic<size_t> bytes_;
};

GrammarSpec spec_of(int number) { return {.kind = GrammarKind::kRegex, .text = fmt::format("a{{{}}}", number)}; }

TEST(GrammarCache, FindsWhatWasCompiled) {
  int num_compiled = 0;
  GrammarCache cache(
      [&](const GrammarSpec&) {
        ++num_compiled;
        return std::make_shared<SizedGrammar>(100);
      },
      1 << 20);
  const auto first = cache.get(spec_of(1));
  EXPECT_EQ(cache.get(spec_of(1)), first);
  // Each part of a specification counts.
  GrammarSpec other = spec_of(1);
  other.kind = GrammarKind::kGbnf;
  EXPECT_NE(cache.get(other), first);
  other = spec_of(1);
  other.starts_after = "a";
  const auto after_a = cache.get(other);
  EXPECT_NE(after_a, first);
  other.starts_after = "";
  other.text = "a" + other.text;
  EXPECT_NE(cache.get(other), after_a);
  other = spec_of(1);
  other.any_whitespace = false;
  EXPECT_NE(cache.get(other), first);
  EXPECT_EQ(num_compiled, 5);
  EXPECT_EQ(cache.counts().num_hits, 1u);
  EXPECT_EQ(cache.counts().num_compiled, 5u);
  EXPECT_EQ(cache.counts().num_grammars, 5u);
}

TEST(GrammarCache, MemoryIsFlat) {
  constexpr uint64_t kMaxBytes = 100'000;
  GrammarCache cache([](const GrammarSpec&) { return std::make_shared<SizedGrammar>(1000); }, kMaxBytes);
  const auto kept = cache.get(spec_of(0));
  for (int i = 1; i < 20'000; ++i) {
    cache.get(spec_of(i));
    if (i % 10 == 0) {
      EXPECT_EQ(cache.get(spec_of(0)), kept) << "used again and again";
    }
    ASSERT_LE(cache.counts().bytes, kMaxBytes);
  }
  EXPECT_GT(cache.counts().bytes, kMaxBytes * 9 / 10);
  EXPECT_EQ(cache.counts().num_compiled, 20'000u);
}

TEST(GrammarCache, GrammarsGrowWhileTheyAreUsed) {
  constexpr uint64_t kMaxBytes = 100'000;
  GrammarCache cache([](const GrammarSpec&) { return std::make_shared<SizedGrammar>(1000); }, kMaxBytes);
  const auto grown = std::static_pointer_cast<const SizedGrammar>(cache.get(spec_of(0)));
  for (int i = 1; i < 50; ++i) cache.get(spec_of(i));
  grown->grow(90'000);
  for (int i = 50; i < 110; ++i) cache.get(spec_of(i));
  EXPECT_LE(cache.counts().bytes, kMaxBytes);
  EXPECT_GT(cache.counts().num_grammars, 50u) << "the large one has left";
  EXPECT_NE(cache.get(spec_of(0)), grown);
}

TEST(GrammarCache, OneThatIsTooLargeIsNotKept) {
  GrammarCache cache([](const GrammarSpec&) { return std::make_shared<SizedGrammar>(1000); }, 500);
  EXPECT_NE(cache.get(spec_of(0)), nullptr);
  EXPECT_EQ(cache.counts().num_grammars, 0u);
  EXPECT_EQ(cache.counts().bytes, 0u);
}

TEST(GrammarCache, ThreadsThatAskAtOnceShareTheWork) {
  std::atomic<int> num_compiled = 0;
  GrammarCache cache(
      [&](const GrammarSpec&) {
        ++num_compiled;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return std::make_shared<SizedGrammar>(1000);
      },
      1 << 20);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_NE(cache.get(spec_of(1)), nullptr); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_compiled, 1);
  EXPECT_EQ(cache.counts().num_hits, 7u);
}

// One that fails for a thread, such as for want of time, is tried by each of the others.
TEST(GrammarCache, AFailureIsNobodyElses) {
  std::atomic<int> num_compiled = 0;
  GrammarCache cache(
      [&](const GrammarSpec&) {
        const bool is_first = num_compiled++ == 0;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (is_first) fail(ErrorCode::kLimit, "it took too long");
        return std::make_shared<SizedGrammar>(1000);
      },
      1 << 20);
  std::atomic<int> num_failures = 0;
  const auto ask = [&] {
    try {
      EXPECT_NE(cache.get(spec_of(1)), nullptr);
    } catch (const Error&) {
      ++num_failures;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(ask);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_failures, 1);
  EXPECT_EQ(cache.counts().num_failed, 1u);
  EXPECT_NE(cache.get(spec_of(1)), nullptr);
}

}  // namespace
}  // namespace quire
