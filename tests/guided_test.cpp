// Guided decoding over a real (tiny) model: every answer keeps to its constraint, has the bits that it has alone, and a
// constraint that fails ends its own request only.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "engine/engine.h"
#include "models/running/test_backends.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 96;
constexpr int32_t kEnd = 5;
constexpr int kRequests = 16;

// A language of tokens by arithmetic: what may follow depends on all tokens before. Now and then one token alone may.
struct Language {
  uint32_t seed = 0;
  int num_tokens = 40;  // after which the text is complete
  bool may_end = false;

  uint32_t begin() const { return seed * 2654435761u; }
  static uint32_t next(uint32_t state, int32_t token) {
    return (state ^ static_cast<uint32_t>(token + 1)) * 0x9e3779b1u + 0x7f4a7c15u;
  }
  static bool is_forced(uint32_t state) { return (state >> 8) % 3 != 0; }
  bool allows(uint32_t state, int32_t token) const {
    if (token == kEnd) return may_end && (state >> 16) % 8 == 0;
    const uint32_t forced = (state >> 11) % kVocab;
    if (is_forced(state) && forced != kEnd) return token == static_cast<int32_t>(forced);
    return ((state >> (token % 24)) ^ static_cast<uint32_t>(token)) % 4 == 0 || token == 20;
  }
};

class LanguageConstraint : public TokenConstraint {
 public:
  explicit LanguageConstraint(const Language& language) : language_(language), state_(language.begin()) {}

  void fill_mask(std::span<uint64_t> mask) override {
    EXPECT_EQ(mask.size(), mask_words(kVocab));
    EXPECT_FALSE(is_complete());
    std::ranges::fill(mask, 0);
    for (int32_t token = 0; token < kVocab; ++token) {
      if (language_.allows(state_, token)) mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
    }
  }
  void accept(int32_t token) override {
    EXPECT_FALSE(is_complete());
    EXPECT_TRUE(language_.allows(state_, token));
    state_ = Language::next(state_, token);
    num_tokens_ = token == kEnd ? language_.num_tokens : num_tokens_ + 1;
  }
  bool is_complete() const override { return num_tokens_ >= language_.num_tokens; }
  void guess(size_t limit, std::vector<int32_t>& tokens) override {
    uint32_t state = state_;
    int count = num_tokens_;
    while (tokens.size() < limit && ++count < language_.num_tokens) {  // the last one needs no draft
      int32_t only = -1;
      for (int32_t token = 0; token < kVocab; ++token) {
        if (!language_.allows(state, token)) continue;
        if (only >= 0) return;
        only = token;
      }
      tokens.push_back(only);
      state = Language::next(state, only);
    }
  }
  size_t count_fitting(std::span<const int32_t> tokens) override {
    uint32_t state = state_;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!language_.allows(state, tokens[i])) return i;
      state = Language::next(state, tokens[i]);
    }
    return tokens.size();
  }

 private:
  const Language language_;
  uint32_t state_;
  int num_tokens_ = 0;
};

// Does what `begin` says.
class Source : public ConstraintSource {
 public:
  using Begin = std::function<std::unique_ptr<TokenConstraint>()>;
  explicit Source(Begin begin) : begin_(std::move(begin)) {}
  std::unique_ptr<TokenConstraint> begin() const override { return begin_(); }

 private:
  const Begin begin_;
};

std::shared_ptr<const ConstraintSource> source_of(const Language& language) {
  return std::make_shared<Source>([language] { return std::make_unique<LanguageConstraint>(language); });
}

bool is_guided(int index) { return index % 3 != 2; }

GenerateRequest request(int index) {
  GenerateRequest out;
  for (int i = 0; i < 5 + 5 * (index % 6); ++i) out.prompt.push_back((index * 31 + i * 17) % kVocab);
  out.max_tokens = 48 + 12 * (index % 5);
  out.sampling.temperature = index % 2 == 0 ? 0.0f : 10.0f;  // the logits of this model are far apart
  out.sampling.seed = 100 + index;
  out.eog_ids = {kEnd};
  switch (index % 7) {
    case 1: out.sampling.top_k = 5; break;
    case 2: out.sampling.min_tokens = 12; break;
    case 3: out.sampling.top_p = 0.7f; break;
    case 4: out.sampling.logit_bias = {{7, 100.0f}, {11, -2.0f}}; break;
    case 5: out.sampling.num_logprobs = 2; break;
    case 6: out.sampling.repetition_penalty = 1.5f; break;
    default: break;
  }
  if (index == 4) out.num_prompt_logprobs = 1;
  if (is_guided(index)) {
    out.constraint = source_of(
        {.seed = static_cast<uint32_t>(index) + 1, .num_tokens = 50 + 8 * (index % 4), .may_end = index % 2 == 1});
  }
  return out;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason finish = FinishReason::kNone;
  bool has_stop_token = false;
  std::string error;
  DraftCounts drafts;
};

std::vector<Answer> read(OutputStream& stream) {
  std::map<int, Answer> choices;
  while (const auto event = stream.try_next()) {
    Answer& answer = choices[event->choice];
    if (event->has_token) {
      answer.tokens.push_back(event->token.id);
      answer.logprobs.push_back(event->token.logprob);
    }
    if (event->finish == FinishReason::kNone) continue;
    answer.finish = event->finish;
    answer.has_stop_token = event->is_stop_token;
    answer.error = event->error;
    answer.drafts = event->drafts;
  }
  std::vector<Answer> all;
  for (const auto& [index, answer] : choices) all.push_back(answer);
  return all;
}

// Proposes tokens that are sometimes those that follow and sometimes forbidden; in chains or in trees.
class BadDrafter : public Drafter {
 public:
  explicit BadDrafter(bool is_tree) : is_tree_(is_tree) {}
  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& asked : requests) {
      for (int32_t i = 0; i < asked.max_drafts; ++i) {
        // Of a tree every second node has the parent of the one before it.
        const int32_t parent = is_tree_ && i % 2 == 1 ? std::max(i - 2, -1) : i - 1;
        auto token = static_cast<int32_t>((asked.tokens.size() * 7 + static_cast<size_t>(i) * 5) % kVocab);
        if (i % 3 == 1) token = 20;
        if (is_tree_ && asked.drafts->find_child(parent, token) >= 0) token = (token + 1) % kVocab;
        asked.drafts->tokens.push_back(token);
        if (is_tree_) asked.drafts->parents.push_back(parent);
      }
    }
  }

 private:
  const bool is_tree_;
};

struct Setting {
  std::string name;
  int64_t max_sequences = 16;
  int64_t max_batch_tokens = 256;
  int64_t num_blocks = 64;
  int64_t num_swap_blocks = 0;
  bool adaptive = false;
  bool has_grammar_drafts = true;
  bool has_drafter = false;
  bool has_trees = false;
  DraftAcceptance acceptance = DraftAcceptance::kExact;
  std::string table = {};
};

class Guided : public testing::Test {
 protected:
  std::unique_ptr<Engine> make_engine(const Setting& setting) {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.max_sequences = setting.max_sequences;
    runner.max_batch_tokens = setting.max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = setting.num_blocks;
    runner.num_swap_blocks = setting.num_swap_blocks;
    runner.max_branches = setting.has_trees ? 64 : 0;
    if (!setting.table.empty()) runner = test::with_table(runner, setting.table);
    EngineOptions options;
    options.speculation.adaptive = setting.adaptive;
    options.speculation.max_drafts = 5;
    options.speculation.acceptance = setting.acceptance;
    options.scheduler.preemption = setting.num_swap_blocks > 0 ? Preemption::kSwap : Preemption::kRecompute;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options),
                                    setting.has_drafter ? std::make_unique<BadDrafter>(setting.has_trees) : nullptr);
  }

  static std::vector<std::vector<Answer>> answers(Engine& engine, const std::vector<GenerateRequest>& requests) {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (const GenerateRequest& asked : requests) streams.push_back(engine.submit(asked).stream);
    while (engine.step()) engine.scheduler().check();
    EXPECT_EQ(engine.scheduler().blocks().num_active(), 0);
    std::vector<std::vector<Answer>> all;
    for (const auto& stream : streams) all.push_back(read(*stream));
    return all;
  }

  static std::vector<GenerateRequest> requests(bool has_drafts = true) {
    std::vector<GenerateRequest> all;
    for (int i = 0; i < kRequests; ++i) {
      all.push_back(request(i));
      if (!has_drafts) all.back().max_drafts = 0;
    }
    return all;
  }

  static void expect_equal(const Answer& given, const Answer& expected, const std::string& what) {
    EXPECT_EQ(given.tokens, expected.tokens) << what;
    EXPECT_EQ(given.logprobs, expected.logprobs) << what;
    EXPECT_EQ(given.finish, expected.finish) << what;
    EXPECT_EQ(given.has_stop_token, expected.has_stop_token) << what;
  }

  // Each request alone, without drafts.
  const std::vector<Answer>& plain() {
    if (plain_.empty()) {
      auto engine = make_engine({.name = "alone", .max_sequences = 1});
      for (const GenerateRequest& asked : requests(false)) plain_.push_back(answers(*engine, {asked})[0][0]);
    }
    return plain_;
  }

  std::unique_ptr<Checkpoint> checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied");
  std::vector<Answer> plain_;
};

TEST_F(Guided, AnswersKeepToTheirConstraints) {
  int num_complete = 0;
  int num_ended = 0;
  int num_cut = 0;
  for (int i = 0; i < kRequests; ++i) {
    const GenerateRequest asked = request(i);
    const Answer& answer = plain()[static_cast<size_t>(i)];
    if (!is_guided(i)) continue;
    const auto constraint = asked.constraint->begin();  // accept() checks each token
    for (const int32_t token : answer.tokens) constraint->accept(token);
    const bool is_ended = answer.tokens.back() == kEnd;
    EXPECT_EQ(answer.has_stop_token, is_ended) << i;
    EXPECT_EQ(answer.finish, constraint->is_complete() ? FinishReason::kStop : FinishReason::kLength) << i;
    num_ended += is_ended ? 1 : 0;
    num_complete += constraint->is_complete() && !is_ended ? 1 : 0;
    num_cut += answer.finish == FinishReason::kLength ? 1 : 0;
  }
  EXPECT_GT(num_complete, 0);
  EXPECT_GT(num_ended, 0);
  EXPECT_GT(num_cut, 0);
}

TEST_F(Guided, NothingChangesABitOfAnyAnswer) {
  std::vector<Setting> settings = {
      {.name = "alone", .max_sequences = 1},
      {.name = "a batch", .has_grammar_drafts = false},
      {.name = "a batch with drafts"},
      {.name = "short chunks", .max_sequences = 8, .max_batch_tokens = 16},
      {.name = "as many drafts as pay", .adaptive = true},
      {.name = "a drafter", .has_drafter = true},
      {.name = "a drafter of trees",
       .max_batch_tokens = 512,
       .num_blocks = 160,
       .has_drafter = true,
       .has_trees = true},
      {.name = "preempted by recompute", .max_sequences = 8, .max_batch_tokens = 20, .num_blocks = 5},
      {.name = "preempted by swap", .max_sequences = 8, .max_batch_tokens = 20, .num_blocks = 5, .num_swap_blocks = 16},
  };
  if (test::has_cuda()) settings.push_back({.name = "beside a device", .table = "cuda"});
  for (const Setting& setting : settings) {
    auto engine = make_engine(setting);
    for (const bool is_cached : {false, true}) {
      if (is_cached && !setting.table.empty()) continue;  // the emulation takes its time
      const auto given = answers(*engine, requests(setting.has_grammar_drafts));
      for (size_t i = 0; i < given.size(); ++i) {
        const std::string what =
            setting.name + ", request " + std::to_string(i) + (is_cached ? " with its prefix known" : "");
        if (!setting.table.empty()) {
          // Another arithmetic: the tokens of constraints that leave no choice are the same, and all keep to them.
          ASSERT_FALSE(given[i][0].tokens.empty()) << what;
          if (!is_guided(static_cast<int>(i))) continue;
          const auto constraint = request(static_cast<int>(i)).constraint->begin();
          for (const int32_t token : given[i][0].tokens) constraint->accept(token);
          continue;
        }
        expect_equal(given[i][0], plain()[i], what);
      }
    }
    const EngineStatus status = engine->status();
    EXPECT_EQ(status.num_preemptions > 0, setting.num_blocks < 64) << setting.name;
    if (setting.adaptive) continue;  // the times of these steps decide how many drafts there are
    EXPECT_EQ(status.accepted_tokens > 50, setting.has_grammar_drafts) << setting.name;
    if (!setting.has_drafter && setting.table.empty() && setting.has_grammar_drafts) {
      EXPECT_EQ(status.accepted_tokens, status.draft_tokens) << setting.name << ": all guesses were certain";
    }
  }
}

TEST_F(Guided, EachChoiceHasItsOwnConstraint) {
  GenerateRequest asked = request(3);
  asked.num_choices = 3;
  asked.max_drafts = 0;
  const auto expected = answers(*make_engine({.name = "a batch"}), {asked})[0];
  ASSERT_EQ(expected.size(), 3u);
  EXPECT_NE(expected[0].tokens, expected[1].tokens);
  asked.max_drafts = -1;
  const auto given = answers(*make_engine({.name = "a batch"}), {asked})[0];
  for (size_t i = 0; i < 3; ++i) {
    const auto constraint = asked.constraint->begin();
    for (const int32_t token : given[i].tokens) constraint->accept(token);
    expect_equal(given[i], expected[i], "choice " + std::to_string(i));
  }
}

TEST_F(Guided, TypicalDraftsKeepToTheConstraint) {
  auto engine = make_engine({.name = "typical", .has_drafter = true, .acceptance = DraftAcceptance::kTypical});
  const auto given = answers(*engine, requests());
  for (int i = 0; i < kRequests; ++i) {
    if (!is_guided(i)) continue;
    const auto constraint = request(i).constraint->begin();
    for (const int32_t token : given[static_cast<size_t>(i)][0].tokens) constraint->accept(token);
  }
}

// Constraints that misbehave, each in its own way, from its third token on or at once.
class Misbehaving : public LanguageConstraint {
 public:
  enum Way : uint8_t { kAllowsNothing, kThrowsAtMask, kThrowsAtAccept, kThrowsAtGuess, kGuessesForbidden, kNumWays };
  Misbehaving(Way way, int after) : LanguageConstraint({.seed = 9}), way_(way), left_(after) {}

  void fill_mask(std::span<uint64_t> mask) override {
    LanguageConstraint::fill_mask(mask);
    if (left_ > 0) return;
    if (way_ == kAllowsNothing) std::ranges::fill(mask, 0);
    if (way_ == kThrowsAtMask) throw std::runtime_error("too many states");
  }
  void accept(int32_t token) override {
    LanguageConstraint::accept(token);
    if (left_-- <= 0 && way_ == kThrowsAtAccept) throw std::runtime_error("too many states");
  }
  void guess(size_t limit, std::vector<int32_t>& tokens) override {
    if (way_ == kThrowsAtGuess) throw std::runtime_error("too many states");
    if (way_ == kGuessesForbidden) {
      for (int32_t token = 0; tokens.size() < limit; ++token) tokens.push_back(token * 19 % kVocab);
    }
  }

 private:
  const Way way_;
  int left_;
};

TEST_F(Guided, AConstraintThatFailsEndsItsRequestOnly) {
  auto engine = make_engine({.name = "a batch"});
  for (int way = 0; way < Misbehaving::kNumWays; ++way) {
    for (const int after : {0, 3}) {
      const auto kind = static_cast<Misbehaving::Way>(way);
      std::vector<GenerateRequest> asked = {request(0), request(1), request(2)};
      asked[1].constraint = std::make_shared<Source>([=] { return std::make_unique<Misbehaving>(kind, after); });
      asked[1].num_choices = 2;
      const auto given = answers(*engine, asked);
      expect_equal(given[0][0], plain()[0], "the one before");
      expect_equal(given[2][0], plain()[2], "the one after");
      ASSERT_EQ(given[1].size(), 2u);
      const bool is_harmless = kind == Misbehaving::kThrowsAtGuess || kind == Misbehaving::kGuessesForbidden;
      for (const Answer& answer : given[1]) {
        EXPECT_EQ(answer.finish == FinishReason::kConstraint, !is_harmless) << way;
        if (kind == Misbehaving::kThrowsAtMask) {
          EXPECT_EQ(answer.error, "too many states");
          EXPECT_EQ(std::ssize(answer.tokens), after);
        }
        if (kind == Misbehaving::kAllowsNothing) {
          EXPECT_TRUE(answer.error.starts_with("no token of the model may follow here")) << answer.error;
          EXPECT_EQ(std::ssize(answer.tokens), after);
        }
      }
    }
  }
  EXPECT_EQ(engine->status().num_failed_steps, 0);
}

// One choice of several fails at its first token: all end.
TEST_F(Guided, AChoiceThatCannotBeginEndsItsRequest) {
  auto engine = make_engine({.name = "a batch"});
  for (const int failing : {0, 1, 2}) {
    std::atomic<int> num_begun = 0;
    GenerateRequest asked = request(1);
    asked.num_choices = 3;
    asked.constraint = std::make_shared<Source>([&]() -> std::unique_ptr<TokenConstraint> {
      if (num_begun++ == failing) throw std::runtime_error("no memory");
      return std::make_unique<LanguageConstraint>(Language{.seed = 3});
    });
    const auto given = answers(*engine, {asked, request(0)});
    ASSERT_EQ(given[0].size(), 3u);
    for (const Answer& answer : given[0]) EXPECT_EQ(answer.finish, FinishReason::kConstraint);
    expect_equal(given[1][0], plain()[0], "the other one");
  }
}

TEST_F(Guided, ACompleteTextEndsWithoutAToken) {
  auto engine = make_engine({.name = "a batch"});
  GenerateRequest asked = request(0);
  asked.constraint = source_of({.seed = 1, .num_tokens = 0});
  asked.num_choices = 2;
  const auto given = answers(*engine, {asked, request(2)});
  ASSERT_EQ(given[0].size(), 2u);
  for (const Answer& answer : given[0]) {
    EXPECT_TRUE(answer.tokens.empty());
    EXPECT_EQ(answer.finish, FinishReason::kStop);
    EXPECT_FALSE(answer.has_stop_token);
  }
  expect_equal(given[1][0], plain()[2], "its neighbour");
}

}  // namespace
}  // namespace quire
