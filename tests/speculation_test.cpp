// Speculation over a real (tiny) model: drafts, whatever they are, change no bit of any answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "engine/engine.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 96;
constexpr int32_t kEnd = 5;
constexpr int kRequests = 16;

std::shared_ptr<const TokenSequences> words(TokenSequences sequences) {
  return std::make_shared<const TokenSequences>(std::move(sequences));
}

// The steps that depend on more than the logits: on what was generated before, and on draws of their own.
void add_steps(int index, SamplingParams& sampling) {
  switch (index) {
    case 8: sampling.dry = {.multiplier = 8.0f, .allowed_length = 1, .breakers = words({{3}})}; break;
    case 9: sampling.xtc = {.probability = 0.5f, .threshold = 0.05f}; break;
    case 10: sampling.bad_words = words({{7}, {20, 21}, {1, 2, 3}}); break;
    case 11: sampling.mirostat = {.version = 2, .tau = 3.0f, .eta = 0.3f}; break;
    case 12:
      sampling.allowed_token_ids = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{4, 8, 15, 16, 23});
      break;
    case 13:
      sampling.mirostat = {.version = 1, .tau = 4.0f, .eta = 0.2f};
      sampling.dynatemp = {.range = 4.0f};
      break;
    case 14: sampling.logprob_token_ids = {1, 2, 90}; break;
    case 15:
      sampling.top_n_sigma = 2.0f;
      sampling.dynatemp = {.range = 5.0f, .exponent = 0.5f};
      sampling.xtc = {.probability = 0.3f, .threshold = 0.1f};
      sampling.dry = {.multiplier = 2.0f, .allowed_length = 0, .penalty_last_n = 20};
      sampling.bad_words = words({{30, 31}});
      break;
    default: break;
  }
}

// One request for each thing that verification must combine with.
GenerateRequest request(int index) {
  GenerateRequest out;
  for (int i = 0; i < 5 + 4 * (index % 9); ++i) out.prompt.push_back((index * 31 + i * 17) % kVocab);
  out.max_tokens = 24 + 12 * (index % 5);
  SamplingParams& sampling = out.sampling;
  sampling.temperature = index % 2 == 0 ? 0.0f : 10.0f;  // the logits of this model are far apart
  sampling.seed = 100 + index;
  switch (index % 8) {
    case 1: sampling.top_k = 5; break;
    case 2: sampling.repetition_penalty = 1.5f; break;
    case 3: sampling.top_p = 0.7f; break;
    case 4: sampling.logit_bias = {{7, 3.0f}, {11, -2.0f}}; break;
    case 5: sampling.min_p = 0.1f; break;
    case 6: sampling.num_logprobs = 2; break;
    case 7:
      sampling.presence_penalty = 0.5f;
      sampling.frequency_penalty = 0.5f;
      break;
    default: break;
  }
  add_steps(index, sampling);
  if (index % 4 == 3) {
    out.eog_ids = {kEnd, 60, 61};
    sampling.min_tokens = 6;
  }
  if (index % 5 == 4) out.stop_token_ids = {17, 18, 19};
  return out;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason finish = FinishReason::kNone;
  int64_t num_cached_tokens = 0;
  int64_t num_accepted_tokens = 0;  // events of accepted drafts
  DraftCounts drafts;
};

std::vector<Answer> read(OutputStream& stream) {
  std::map<int, Answer> choices;
  while (const auto event = stream.try_next()) {
    Answer& answer = choices[event->choice];
    if (event->has_token) {
      answer.tokens.push_back(event->token.id);
      answer.logprobs.push_back(event->token.logprob);
      answer.num_accepted_tokens += event->is_accepted_draft ? 1 : 0;
    }
    if (event->finish == FinishReason::kNone) continue;
    answer.finish = event->finish;
    answer.num_cached_tokens = event->num_cached_tokens;
    answer.drafts = event->drafts;
  }
  std::vector<Answer> all;
  for (const auto& [index, answer] : choices) all.push_back(answer);
  return all;
}

// Proposes what `guess` makes of a request, and checks what it is told.
class ScriptedDrafter : public Drafter {
 public:
  using Guess = std::function<std::vector<int32_t>(const DraftRequest&)>;
  explicit ScriptedDrafter(Guess guess) : guess_(std::move(guess)) {}

  void propose(std::span<DraftRequest> requests) override {
    EXPECT_FALSE(requests.empty());
    for (DraftRequest& request : requests) {
      EXPECT_TRUE(request.drafts->empty());
      EXPECT_GE(request.max_drafts, 1);
      EXPECT_NE(request.sampler, nullptr);
      EXPECT_GT(static_cast<int64_t>(request.tokens.size()), request.num_prompt_tokens);
      EXPECT_EQ(ended_.count(request.sequence), 0u);
      request.drafts->tokens = guess_(request);
      proposed_[request.sequence] = {request.tokens.begin(), request.tokens.end()};
      proposed_[request.sequence].insert(proposed_[request.sequence].end(), request.drafts->tokens.begin(),
                                         request.drafts->tokens.end());
      num_known_[request.sequence] = static_cast<int64_t>(request.tokens.size());
    }
  }

  void settle(const VerifiedDrafts& verified) override {
    EXPECT_GE(verified.num_verified, 1);
    EXPECT_LE(num_known_.at(verified.sequence) + verified.num_verified,
              static_cast<int64_t>(proposed_.at(verified.sequence).size()));
    EXPECT_GE(verified.num_accepted, 0);
    EXPECT_LE(verified.num_accepted, verified.num_verified);
    accepted_.emplace_back(verified.sequence, num_known_.at(verified.sequence) + verified.num_accepted);
  }

  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t /*num_prompt_tokens*/,
              std::string_view /*salt*/) override {
    EXPECT_TRUE(ended_.insert({sequence, {tokens.begin(), tokens.end()}}).second);
    // Every draft that it was told to hold is a token of the sequence.
    for (const auto& [id, length] : accepted_) {
      if (id != sequence || tokens.empty()) continue;
      EXPECT_LE(length, static_cast<int64_t>(tokens.size()));
    }
    std::erase_if(accepted_, [&](const auto& entry) { return entry.first == sequence; });
  }

  const std::map<uint64_t, std::vector<int32_t>>& ended() const { return ended_; }

 private:
  Guess guess_;
  std::map<uint64_t, std::vector<int32_t>> proposed_;  // by sequence: its known tokens and the drafts after them
  std::map<uint64_t, int64_t> num_known_;
  std::vector<std::pair<uint64_t, int64_t>> accepted_;  // by sequence: its length up to the last accepted draft
  std::map<uint64_t, std::vector<int32_t>> ended_;
};

class SpeculationTest : public testing::Test {
 protected:
  struct Setting {
    std::string name;
    int64_t max_sequences = 16;
    int64_t max_batch_tokens = 256;
    int64_t num_blocks = 64;
    int64_t num_swap_blocks = 0;
    bool adaptive = false;
    int num_ranks = 1;
    bool keeps_all = false;  // typical acceptance, to which every draft is typical
  };

  std::unique_ptr<Engine> make_engine(const Setting& setting, std::unique_ptr<Drafter> drafter = nullptr) {
    RunnerOptions runner;
    runner.num_threads = 2;
    runner.tensor_parallel = setting.num_ranks;
    runner.max_sequences = setting.max_sequences;
    runner.max_batch_tokens = setting.max_batch_tokens;
    runner.max_context = 128;
    runner.num_blocks = setting.num_blocks;
    runner.num_swap_blocks = setting.num_swap_blocks;
    EngineOptions options;
    options.speculation.adaptive = setting.adaptive;
    options.speculation.max_drafts = 5;
    if (setting.keeps_all) {
      options.speculation.acceptance = DraftAcceptance::kTypical;
      options.speculation.typical_threshold = 0.0f;
    }
    options.scheduler.preemption = setting.num_swap_blocks > 0 ? Preemption::kSwap : Preemption::kRecompute;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options), std::move(drafter));
  }

  static std::vector<std::vector<Answer>> answers(Engine& engine, const std::vector<GenerateRequest>& requests) {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (const GenerateRequest& asked : requests) streams.push_back(engine.submit(asked).stream);
    while (engine.step()) engine.scheduler().check();
    EXPECT_EQ(engine.scheduler().blocks().num_active(), 0);
    std::vector<std::vector<Answer>> all;
    all.reserve(streams.size());
    for (const auto& stream : streams) all.push_back(read(*stream));
    return all;
  }

  static std::vector<GenerateRequest> requests() {
    std::vector<GenerateRequest> all;
    for (int i = 0; i < kRequests; ++i) all.push_back(request(i));
    return all;
  }

  static void expect_equal(const Answer& given, const Answer& expected, const std::string& what) {
    EXPECT_EQ(given.tokens, expected.tokens) << what;
    EXPECT_EQ(given.logprobs, expected.logprobs) << what;
    EXPECT_EQ(given.finish, expected.finish) << what;
  }

  // The answers without drafts, each request alone.
  const std::vector<Answer>& plain() {
    if (plain_.empty()) {
      auto engine = make_engine({.name = "alone", .max_sequences = 1});
      for (const GenerateRequest& asked : requests()) plain_.push_back(answers(*engine, {asked})[0][0]);
    }
    return plain_;
  }

  // What follows the known tokens of a sequence; after its end, anything.
  std::vector<int32_t> truth(const DraftRequest& asked, int count) {
    for (int i = 0; i < kRequests; ++i) {
      const std::vector<int32_t> prompt = request(i).prompt;
      if (static_cast<int64_t>(prompt.size()) != asked.num_prompt_tokens) continue;
      if (!std::equal(prompt.begin(), prompt.end(), asked.tokens.begin())) continue;
      std::vector<int32_t> all = plain()[static_cast<size_t>(i)].tokens;
      all.resize(all.size() + static_cast<size_t>(count), 1);
      const auto begin = all.begin() + (static_cast<int64_t>(asked.tokens.size()) - asked.num_prompt_tokens);
      return {begin, begin + std::min<int64_t>(count, all.end() - begin)};
    }
    ADD_FAILURE() << "a prompt that nobody asked for";
    return {};
  }

  // Those that guess in every way that verification may meet.
  std::map<std::string, ScriptedDrafter::Guess> guesses() {
    std::map<std::string, ScriptedDrafter::Guess> all;
    all["always right"] = [this](const DraftRequest& asked) { return truth(asked, asked.max_drafts); };
    all["always wrong"] = [this](const DraftRequest& asked) {
      std::vector<int32_t> drafts = truth(asked, asked.max_drafts);
      for (int32_t& draft : drafts) draft = (draft + 1) % kVocab;
      return drafts;
    };
    all["random"] = [this, random = std::mt19937(3)](const DraftRequest& asked) mutable {
      std::vector<int32_t> drafts = truth(asked, static_cast<int>(random() % 7));
      for (int32_t& draft : drafts) {
        if (random() % 4 == 0) draft = static_cast<int32_t>(random() % kVocab);
      }
      return drafts;
    };
    all["too long, with tokens that the model does not have"] = [this](const DraftRequest& asked) {
      std::vector<int32_t> drafts = truth(asked, asked.max_drafts + 100);
      drafts[static_cast<size_t>(asked.tokens.size() % 4)] = asked.tokens.size() % 2 == 0 ? -1 : kVocab;
      return drafts;
    };
    all["an end token in the middle"] = [this](const DraftRequest& asked) {
      std::vector<int32_t> drafts = truth(asked, asked.max_drafts);
      drafts[drafts.size() / 2] = kEnd;
      return drafts;
    };
    return all;
  }

  std::unique_ptr<Checkpoint> checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied");
  std::vector<Answer> plain_;
};

TEST_F(SpeculationTest, NoDraftChangesABitOfAnyAnswer) {
  const Setting settings[] = {
      {.name = "alone", .max_sequences = 1},
      {.name = "a batch of 16"},
      {.name = "as many drafts as pay", .adaptive = true},
      {.name = "short chunks", .max_batch_tokens = 20},
      {.name = "preempted by recompute", .max_sequences = 8, .max_batch_tokens = 20, .num_blocks = 5},
      {.name = "preempted by swap", .max_sequences = 8, .max_batch_tokens = 20, .num_blocks = 5, .num_swap_blocks = 16},
  };
  for (const Setting& setting : settings) {
    int64_t num_preemptions = 0;
    for (const auto& [kind, guess] : guesses()) {
      auto engine = make_engine(setting, std::make_unique<ScriptedDrafter>(guess));
      for (const bool is_cached : {false, true}) {
        const auto given = answers(*engine, requests());
        for (size_t i = 0; i < given.size(); ++i) {
          const std::string what = setting.name + ", " + kind + ", request " + std::to_string(i) +
                                   (is_cached ? " with its prefix known" : "");
          ASSERT_EQ(given[i].size(), 1u) << what;
          expect_equal(given[i][0], plain()[i], what);
          EXPECT_EQ(given[i][0].num_accepted_tokens, given[i][0].drafts.num_accepted) << what;
        }
      }
      const EngineStatus status = engine->status();
      num_preemptions += status.num_preemptions;
      if (setting.adaptive) continue;  // the times of these steps decide how many there are
      EXPECT_GT(status.draft_tokens, 0) << setting.name << ", " << kind;
      EXPECT_EQ(status.accepted_tokens > 0, kind != "always wrong") << setting.name << ", " << kind;
    }
    EXPECT_EQ(num_preemptions > 0, setting.num_blocks < 64) << setting.name;
  }
}

TEST_F(SpeculationTest, NoDraftChangesABitWhereRanksShareTheModel) {
  const Setting setting{.name = "two ranks", .num_ranks = 2};
  const auto expected = answers(*make_engine(setting), requests());
  for (const char* kind : {"always right", "random"}) {
    auto engine = make_engine(setting, std::make_unique<ScriptedDrafter>(guesses().at(kind)));
    const auto given = answers(*engine, requests());
    for (size_t i = 0; i < given.size(); ++i) {
      expect_equal(given[i][0], expected[i][0], std::string(kind) + ", request " + std::to_string(i));
    }
    EXPECT_GT(engine->status().accepted_tokens, 0) << kind;
  }
}

// Drafts that the model would not have chosen hold when they are typical of a sampled request; exactly, none would.
TEST_F(SpeculationTest, TypicalDraftsHold) {
  for (const bool keeps_all : {false, true}) {
    auto engine = make_engine({.name = "alone", .max_sequences = 1, .keeps_all = keeps_all},
                              std::make_unique<ScriptedDrafter>(guesses().at("always wrong")));
    const Answer given = answers(*engine, {request(1)})[0][0];
    EXPECT_EQ(given.tokens.size(), 36u);
    EXPECT_EQ(given.tokens == plain()[1].tokens, !keeps_all);
    EXPECT_GT(given.drafts.num_verified, 25);
    EXPECT_EQ(given.drafts.num_accepted, keeps_all ? given.drafts.num_verified : 0);
    EXPECT_EQ(engine->status().num_steps, keeps_all ? 7 : 36) << "the prompt; five steps of six tokens; one of five";
  }
}

// Steps of `num_drafts` right drafts each take that many tokens and one more.
TEST_F(SpeculationTest, RightDraftsSaveSteps) {
  int64_t steps[2];
  for (const bool drafts : {false, true}) {
    std::unique_ptr<Drafter> drafter;
    if (drafts) drafter = std::make_unique<ScriptedDrafter>(guesses().at("always right"));
    auto engine = make_engine({.name = "alone", .max_sequences = 1}, std::move(drafter));
    const Answer given = answers(*engine, {request(0)})[0][0];
    steps[drafts ? 1 : 0] = engine->status().num_steps;
    if (!drafts) continue;
    const EngineStatus status = engine->status();
    EXPECT_EQ(given.drafts.num_verified, status.draft_tokens);
    EXPECT_EQ(given.drafts.num_accepted, status.accepted_tokens);
    EXPECT_EQ(status.accepted_tokens, status.draft_tokens);
    EXPECT_EQ(status.num_drafts, 4);
    EXPECT_EQ(status.accepted_by_position[0], 4);
    EXPECT_EQ(status.accepted_by_position[4], 3);
    EXPECT_EQ(status.accepted_by_position[5], 0);
  }
  EXPECT_EQ(steps[0], 24);
  EXPECT_EQ(steps[1], 5) << "the prompt; three steps of six tokens; one of five";
}

// What the client expects of the answer gives drafts with any drafter and with none.
TEST_F(SpeculationTest, PredictionsOfTheRequestAreDrafts) {
  for (const bool has_drafter : {false, true}) {
    std::unique_ptr<Drafter> drafter;
    if (has_drafter) drafter = std::make_unique<ScriptedDrafter>(guesses().at("always wrong"));
    auto engine = make_engine({.name = "a batch of 16"}, std::move(drafter));
    std::vector<GenerateRequest> asked = requests();
    for (size_t i = 0; i < asked.size(); ++i) {
      asked[i].prediction = plain()[i].tokens;
      // A token in the middle is another one, and one is missing.
      if (i % 2 == 0 && asked[i].prediction.size() > 9) asked[i].prediction[4] = (asked[i].prediction[4] + 1) % kVocab;
      if (i % 3 == 0 && asked[i].prediction.size() > 9) asked[i].prediction.erase(asked[i].prediction.begin() + 8);
    }
    const auto given = answers(*engine, asked);
    for (size_t i = 0; i < given.size(); ++i) {
      expect_equal(given[i][0], plain()[i], "request " + std::to_string(i));
      if (plain()[i].tokens.size() > 9) {
        EXPECT_GT(given[i][0].drafts.num_accepted, 3) << "request " << i;
      }
    }
  }
}

TEST_F(SpeculationTest, ARequestMayHaveFewerDraftsOrNone) {
  auto engine = make_engine({.name = "alone", .max_sequences = 1},
                            std::make_unique<ScriptedDrafter>(guesses().at("always right")));
  for (const int max_drafts : {-1, 0, 1, 3, 100}) {
    GenerateRequest asked = request(0);
    asked.max_drafts = max_drafts;
    const int64_t before = engine->status().num_steps;
    const Answer given = answers(*engine, {asked})[0][0];
    const int drafts = max_drafts < 0 ? 5 : std::min(max_drafts, 5);
    EXPECT_EQ(engine->status().num_steps - before, 1 + (23 + drafts) / (drafts + 1)) << max_drafts;
    expect_equal(given, plain()[0], std::to_string(max_drafts));
    EXPECT_EQ(given.drafts.num_verified > 0, max_drafts != 0);
  }
  GenerateRequest asked = request(0);
  asked.max_drafts = -2;
  EXPECT_THROW(engine->submit(asked), Error);
  asked.max_drafts = 3;
  asked.prediction = {1, kVocab};
  EXPECT_THROW(engine->submit(asked), Error);
}

// The choices of a request are forked before they have drafts, and each has its own.
TEST_F(SpeculationTest, ChoicesOfARequest) {
  GenerateRequest asked = request(1);
  asked.num_choices = 3;
  const Setting setting{.name = "a batch of 16"};
  const auto expected = answers(*make_engine(setting), {asked})[0];
  ASSERT_EQ(expected.size(), 3u);
  ASSERT_NE(expected[0].tokens, expected[1].tokens);
  asked.prediction = expected[1].tokens;
  auto drafter = std::make_unique<ScriptedDrafter>([&](const DraftRequest& request) {
    const auto length = request.tokens.size() - static_cast<size_t>(request.num_prompt_tokens);
    const std::vector<int32_t>& all = expected[request.sequence % 3].tokens;
    return std::vector<int32_t>(all.begin() + static_cast<int64_t>(length), all.end());
  });
  auto engine = make_engine(setting, std::move(drafter));
  const auto given = answers(*engine, {asked})[0];
  ASSERT_EQ(given.size(), 3u);
  for (size_t i = 0; i < given.size(); ++i) {
    expect_equal(given[i], expected[i], "choice " + std::to_string(i));
    EXPECT_GT(given[i].drafts.num_accepted, 10) << "choice " << i;
  }
}

// A sequence that passes the RoPE switch is computed again: drafts stop before it.
TEST_F(SpeculationTest, RopeSwitch) {
  checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/phi3-longrope");
  for (const auto& [kind, guess] : guesses()) {
    auto engine = make_engine({.name = "a batch of 16"}, std::make_unique<ScriptedDrafter>(guess));
    ASSERT_EQ(engine->runner().info().rope_switch_length, 48);
    const auto given = answers(*engine, requests());
    for (size_t i = 0; i < given.size(); ++i) expect_equal(given[i][0], plain()[i], kind + std::to_string(i));
  }
}

TEST_F(SpeculationTest, TheDrafterIsToldHowEachSequenceEnded) {
  auto drafter = std::make_unique<ScriptedDrafter>(guesses().at("random"));
  const ScriptedDrafter& told = *drafter;
  auto engine = make_engine({.name = "a batch of 16"}, std::move(drafter));
  std::vector<GenerateRequest> asked = requests();
  asked[1].shares_cache = false;
  asked[2].max_drafts = 0;
  const auto given = answers(*engine, asked);
  EXPECT_EQ(told.ended().size(), given.size() - 1) << "one has no drafts";
  for (const auto& [id, tokens] : told.ended()) {
    std::vector<int32_t> expected = asked[id].prompt;
    expected.insert(expected.end(), given[id][0].tokens.begin(), given[id][0].tokens.end());
    if (id == 1) expected.clear();
    EXPECT_EQ(tokens, expected) << "request " << id;
  }
}

// Records what it reads of the target model.
class ReadingDrafter : public ScriptedDrafter {
 public:
  ReadingDrafter(Guess guess, HiddenUse use) : ScriptedDrafter(std::move(guess)), use_(use) {}

  void propose(std::span<DraftRequest> requests) override {
    for (const DraftRequest& request : requests) {
      const auto known = static_cast<int64_t>(request.tokens.size());
      // The hidden states of all tokens but the last, which no step has computed yet, have come.
      if (use_ == HiddenUse::kLast) {
        EXPECT_TRUE(hidden_[request.sequence].contains(known - 2));
      }
      if (use_ == HiddenUse::kAll) {
        EXPECT_EQ(std::ssize(hidden_[request.sequence]), known - 1);
      }
    }
    ScriptedDrafter::propose(requests);
  }
  void observe(std::span<const HiddenRows> all) override {
    for (const HiddenRows& rows : all) {
      const size_t width = rows.hidden.size() / static_cast<size_t>(rows.num_rows);
      for (int64_t row = 0; row < rows.num_rows; ++row) {
        const auto values = rows.hidden.subspan(static_cast<size_t>(row) * width, width);
        const auto [found, is_new] =
            hidden_[rows.sequence].try_emplace(rows.first_position + row, std::vector(values.begin(), values.end()));
        if (!is_new) {
          EXPECT_TRUE(std::ranges::equal(found->second, values));
        }
      }
      if (use_ == HiddenUse::kLast) {
        EXPECT_EQ(rows.num_rows, 1);
      }
    }
  }
  void settle(const VerifiedDrafts& verified) override {
    ScriptedDrafter::settle(verified);
    EXPECT_EQ(std::ssize(verified.likeliest), 1 + verified.num_verified);
    for (int64_t i = 0; i <= verified.num_accepted; ++i) {
      likeliest_[verified.sequence].push_back(verified.likeliest[static_cast<size_t>(i)]);
    }
  }
  HiddenUse hidden_use() const override { return use_; }
  bool reads_likeliest() const override { return true; }

  std::map<uint64_t, std::map<int64_t, std::vector<float>>> hidden_;  // by sequence and position
  std::map<uint64_t, std::vector<int32_t>> likeliest_;

 private:
  HiddenUse use_;
};

TEST_F(SpeculationTest, DraftersReadHiddenStatesAndLikeliestTokens) {
  for (const HiddenUse use : {HiddenUse::kLast, HiddenUse::kAll}) {
    for (const char* const kind : {"random", "always wrong"}) {
      auto drafter = std::make_unique<ReadingDrafter>(guesses().at(kind), use);
      const ReadingDrafter& read = *drafter;
      auto engine = make_engine({.name = "a batch of 8"}, std::move(drafter));
      std::vector<GenerateRequest> all = requests();
      all.resize(8);
      const auto given = answers(*engine, all);
      auto plain_engine = make_engine({.name = "alone", .max_sequences = 1});
      for (size_t i = 0; i < given.size(); ++i) {
        expect_equal(given[i][0], plain()[i], kind);
        GenerateRequest asked = request(static_cast<int>(i));
        const std::vector<int32_t>& tokens = given[i][0].tokens;
        const auto known = read.likeliest_.find(i);
        const auto likeliest = known == read.likeliest_.end() ? std::vector<int32_t>{} : known->second;
        // The first token comes from the prompt, and the last ones may have no drafts.
        if (i % 8 == 0) {
          EXPECT_TRUE(std::equal(likeliest.begin(), likeliest.end(), tokens.begin() + 1));
        }
        asked.prompt.insert(asked.prompt.end(), tokens.begin(),
                            tokens.begin() + std::min<int64_t>(3, std::ssize(tokens)));
        asked.prompt.pop_back();
        asked.pooling = Pooling::kLast;
        const auto stream = plain_engine->submit(asked).stream;
        while (plain_engine->step()) {
        }
        const auto event = stream->try_next();
        const auto& rows = read.hidden_.at(i);
        const auto found = rows.find(std::ssize(asked.prompt) - 1);
        if (found == rows.end()) {
          EXPECT_EQ(use, HiddenUse::kLast);
          continue;
        }
        EXPECT_EQ(found->second, event->embedding) << kind << ", request " << i;
      }
    }
  }
}

// Choices that end with their first token: what the drafter read of them goes with them.
TEST_F(SpeculationTest, TheDrafterIsToldOfEveryEndThatItReadOf) {
  auto drafter = std::make_unique<ReadingDrafter>(guesses().at("random"), HiddenUse::kAll);
  const ReadingDrafter& read = *drafter;
  auto engine = make_engine({.name = "a batch of 16"}, std::move(drafter));
  GenerateRequest asked = request(1);
  asked.num_choices = 4;
  asked.max_tokens = 1;
  answers(*engine, {asked});
  EXPECT_EQ(read.hidden_.size(), 4u);
  for (const auto& [id, rows] : read.hidden_) EXPECT_TRUE(read.ended().contains(id)) << "choice " << id;
}

// A drafter that fails costs speed, not answers.
TEST_F(SpeculationTest, ADrafterThatThrowsIsDropped) {
  int num_calls = 0;
  auto drafter = std::make_unique<ScriptedDrafter>([&](const DraftRequest& asked) -> std::vector<int32_t> {
    if (++num_calls == 5) throw std::runtime_error("out of memory");
    return truth(asked, asked.max_drafts);
  });
  auto engine = make_engine({.name = "a batch of 16"}, std::move(drafter));
  const auto given = answers(*engine, requests());
  for (size_t i = 0; i < given.size(); ++i) expect_equal(given[i][0], plain()[i], "request " + std::to_string(i));
  EXPECT_EQ(num_calls, 5);
}

}  // namespace
}  // namespace quire
