// A draft model beside a target of the same weights must guess everything; whatever the company, the chunks and the
// state of its pool, its drafts are those of a model that has just read the sequence.
#include "drafting/draft_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "drafting/model_drafters.h"
#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::as_bytes;
using test::table_names;
using test::tiny_gguf;
using test::TinyGguf;

constexpr int64_t kVocab = test::kVocab;
using Tokens = std::vector<int32_t>;

struct Model {
  explicit Model(const TinyGguf& model) : image(tiny_gguf(model)) {
    checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  }
  std::unique_ptr<ModelRunner> load(const RunnerOptions& options) const {
    return ModelRunner::load(*checkpoint, options);
  }
  std::string image;
  std::unique_ptr<Checkpoint> checkpoint;
};

const Model& tiny() {
  static const Model model({.format = Format::kF16});
  return model;
}

const RunnerOptions kOptions{.num_threads = 2,
                             .max_batch_tokens = 64,
                             .max_sequences = 4,
                             .max_logit_rows = 4,
                             .max_context = 256,
                             .num_blocks = 32,
                             .keep_all_positions = true};

std::unique_ptr<DraftModel> draft_model(const RunnerOptions& options = kOptions, float min_probability = 0.0f,
                                        const Model& model = tiny()) {
  return std::make_unique<DraftModel>(model.load(options), DraftVocabulary({.size = kVocab}, {.size = kVocab}),
                                      min_probability);
}

SamplingParams with(float temperature, float top_p = 1.0f, float frequency_penalty = 0.0f) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_p = top_p;
  params.frequency_penalty = frequency_penalty;
  return params;
}

Tokens prompt(int64_t length, int32_t seed) { return test::sequence(length, seed, 0).tokens; }

Sampler sampler_of(std::span<const int32_t> known, int64_t num_generated, const SamplingParams& params) {
  Sampler sampler(params, 99, known.first(known.size() - static_cast<size_t>(num_generated)), {});
  for (const int32_t token : known.last(static_cast<size_t>(num_generated))) sampler.accept(token);
  return sampler;
}

// Proposes for one sequence. `num_generated`: of its tokens.
Tokens propose(Drafter& drafter, uint64_t sequence, const Tokens& known, int max_drafts, int64_t num_generated = 0,
               const SamplingParams& params = with(0.0f)) {
  const Sampler sampler = sampler_of(known, num_generated, params);
  Drafts drafts;
  DraftRequest request{.sequence = sequence,
                       .tokens = known,
                       .num_prompt_tokens = static_cast<int64_t>(known.size()) - num_generated,
                       .max_drafts = max_drafts,
                       .sampler = &sampler,
                       .drafts = &drafts};
  drafter.propose({&request, 1});
  EXPECT_TRUE(drafts.is_chain());
  EXPECT_LE(static_cast<int>(drafts.size()), max_drafts);
  return drafts.tokens;
}

// What the target generates after `known`, computed from the beginning for every token.
Tokens generate(ModelRunner& runner, Tokens known, int count, const SamplingParams& params) {
  Sampler sampler(params, 99, known, {});
  SamplerScratch scratch(kVocab);
  Tokens generated;
  for (int i = 0; i < count; ++i) {
    test::Sequence sequence = test::sequence(static_cast<int64_t>(known.size()), 0, 0);
    sequence.tokens = known;
    Batch batch;
    test::append(batch, sequence, static_cast<int64_t>(known.size()));
    batch.logit_rows = {static_cast<int32_t>(known.size()) - 1};
    const int32_t token = sampler.sample(runner.run(batch), scratch)->id;
    generated.push_back(token);
    known.push_back(token);
  }
  return generated;
}

class DraftModelTest : public testing::TestWithParam<std::string> {
 protected:
  RunnerOptions options() const { return test::with_table(kOptions, GetParam()); }
};

TEST_P(DraftModelTest, TheTargetItselfGuessesEveryToken) {
  for (const SamplingParams& params : {with(0.0f), with(1.0f), with(1.3f, 0.9f), with(1.0f, 1.0f, 1.0f)}) {
    const auto target = tiny().load(options());
    const Tokens start = prompt(20, 1);
    const Tokens answer = generate(*target, start, 40, params);
    const auto drafter = draft_model(options());
    for (size_t done = 0; done + 5 <= answer.size(); done += 1 + done % 6) {
      Tokens known = start;
      known.insert(known.end(), answer.begin(), answer.begin() + static_cast<int64_t>(done));
      const Tokens expected(answer.begin() + static_cast<int64_t>(done),
                            answer.begin() + static_cast<int64_t>(done) + 5);
      EXPECT_EQ(propose(*drafter, 1, known, 5, static_cast<int64_t>(done), params), expected) << done;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, DraftModelTest, testing::ValuesIn(table_names()),
                         [](const auto& tested) { return tested.param; });

TEST(DraftModel, RejectedDraftsLeaveNoTrace) {
  const auto drafter = draft_model();
  Tokens known = prompt(30, 1);
  for (int round = 0; round < 12; ++round) {
    const Tokens drafts = propose(*drafter, 1, known, 4 + round % 3);
    EXPECT_EQ(drafts, propose(*draft_model(), 1, known, 4 + round % 3));
    // The first `round % 4` hold, then the target chooses another token.
    const auto accepted = static_cast<size_t>(round % 4);
    known.insert(known.end(), drafts.begin(), drafts.begin() + static_cast<int64_t>(accepted));
    known.push_back((drafts[accepted] + 1) % static_cast<int32_t>(kVocab));
  }
}

TEST(DraftModel, DraftsDoNotDependOnCompany) {
  const auto together = draft_model();
  std::vector<Tokens> known;
  for (int32_t i = 0; i < 6; ++i) known.push_back(prompt(5 + 2 * i, i + 1));  // more than fit in one step
  for (int round = 0; round < 3; ++round) {
    std::vector<Drafts> drafts(known.size());
    std::vector<DraftRequest> requests;
    const Sampler sampler(with(0.0f), 0, {}, {});
    for (size_t i = 0; i < known.size(); ++i) {
      requests.push_back({.sequence = i,
                          .tokens = known[i],
                          .max_drafts = 1 + static_cast<int>(i),
                          .sampler = &sampler,
                          .drafts = &drafts[i]});
    }
    together->propose(requests);
    for (size_t i = 0; i < known.size(); ++i) {
      EXPECT_EQ(drafts[i].tokens, propose(*draft_model(), 1, known[i], 1 + static_cast<int>(i))) << i;
      known[i].insert(known[i].end(), drafts[i].tokens.begin(), drafts[i].tokens.end());
      known[i].push_back(7);
    }
  }
}

TEST(DraftModel, ALongPromptIsReadInChunksWhileOthersAreServed) {
  const auto drafter = draft_model();
  const Tokens quick = prompt(4, 2), slow = prompt(200, 1);
  const Sampler sampler(with(0.0f), 0, {}, {});
  for (int call = 0; call < 4; ++call) {
    Drafts drafts[2];
    DraftRequest requests[] = {
        {.sequence = 1, .tokens = slow, .max_drafts = 3, .sampler = &sampler, .drafts = &drafts[0]},
        {.sequence = 2, .tokens = quick, .max_drafts = 3, .sampler = &sampler, .drafts = &drafts[1]}};
    drafter->propose(requests);
    EXPECT_EQ(drafts[1].tokens, propose(*draft_model(), 1, quick, 3)) << call;
    if (call < 3) {
      EXPECT_TRUE(drafts[0].empty()) << call;  // 64 tokens a call, of which the other takes some
      continue;
    }
    auto whole = kOptions;
    whole.max_batch_tokens = 256;
    EXPECT_EQ(drafts[0].tokens, propose(*draft_model(whole), 1, slow, 3));
  }
}

TEST(DraftModel, AFullPoolComputesAgain) {
  RunnerOptions small = kOptions;
  small.num_blocks = 5;
  const auto drafter = draft_model(small);
  for (int round = 0; round < 3; ++round) {
    for (const uint64_t sequence : {1, 2, 3}) {
      const Tokens known = prompt(60, static_cast<int32_t>(sequence));
      EXPECT_EQ(propose(*drafter, sequence, known, 4), propose(*draft_model(), 1, known, 4));
    }
  }
  // A sequence that no pool of this size holds is left alone, and the others are not.
  EXPECT_TRUE(propose(*drafter, 4, prompt(200, 4), 4).empty());
  drafter->finish(4, {}, 0, {});
  EXPECT_EQ(propose(*drafter, 1, prompt(60, 1), 4).size(), 4u);
}

TEST(DraftModel, DraftsEndAtItsContext) {
  RunnerOptions small = kOptions;
  small.max_context = 32;
  const auto drafter = draft_model(small);
  EXPECT_EQ(propose(*drafter, 1, prompt(30, 1), 8), propose(*draft_model(), 1, prompt(30, 1), 3));
  EXPECT_EQ(propose(*drafter, 2, prompt(32, 1), 8).size(), 1u);
  EXPECT_TRUE(propose(*drafter, 3, prompt(33, 1), 8).empty());
}

TEST(DraftModel, NothingIsDraftedFromNan) {
  const Model poisoned({.poisoned_token = 63});
  const auto drafter = draft_model(kOptions, 0.0f, poisoned);
  Tokens known = prompt(10, 1);
  known[4] = 63;
  EXPECT_TRUE(propose(*drafter, 1, known, 4).empty());
  EXPECT_EQ(propose(*drafter, 2, prompt(10, 2), 4).size(), 4u);
}

TEST(DraftModel, StopsAtAnUnlikelyToken) {
  const Tokens known = prompt(20, 3);
  EXPECT_EQ(propose(*draft_model(kOptions, 1e-6f), 1, known, 4).size(), 4u);
  EXPECT_TRUE(propose(*draft_model(kOptions, 1.01f), 1, known, 4).empty());
}

TEST(DraftModel, FewerThanTheLeastAreNone) {
  const auto drafter = draft_model();
  const Tokens known = prompt(20, 3);
  const Sampler sampler(with(0.0f), 0, {}, {});
  for (const int min_drafts : {3, 4}) {
    Drafts drafts;
    DraftRequest request{.sequence = 1,
                         .tokens = known,
                         .max_drafts = 3,
                         .min_drafts = min_drafts,
                         .sampler = &sampler,
                         .drafts = &drafts};
    drafter->propose({&request, 1});
    EXPECT_EQ(drafts.size(), min_drafts == 3 ? 3u : 0u);
  }
}

// The target counts its tokens from the other end.
TEST(DraftModel, AnotherOrderOfTokensIsTranslated) {
  std::vector<std::string> target, draft;
  for (int i = 0; i < kVocab; ++i) draft.push_back("t" + std::to_string(i));
  target.assign(draft.rbegin(), draft.rend());
  DraftModel mapped(tiny().load(kOptions),
                    DraftVocabulary({.size = kVocab, .texts = target}, {.size = kVocab, .texts = draft}), 0.0f);
  const auto turned = [](Tokens tokens) {
    for (int32_t& token : tokens) token = static_cast<int32_t>(kVocab) - 1 - token;
    return tokens;
  };
  const Tokens known = prompt(20, 3);
  EXPECT_EQ(propose(mapped, 1, turned(known), 4), turned(propose(*draft_model(), 1, known, 4)));
}

TEST(ModelDrafters, TheLedgerIsWhatIsLoaded) {
  RunnerOptions options = kOptions;
  options.keep_all_positions = false;
  options.max_logit_rows = 0;
  DraftParts parts{.options = {.method = "draft_model"},
                   .checkpoint = tiny().checkpoint.get(),
                   .target = tiny().checkpoint.get(),
                   .target_options = options};
  const MemoryPlan plan = plan_model_drafter(parts).memory;
  EXPECT_TRUE(plan.fits);
  EXPECT_EQ(plan.num_blocks, 32);
  EXPECT_GT(plan.total_bytes, plan.weight_bytes + plan.kv_bytes);
  const Tokens known = prompt(20, 3);
  parts.texts_of = [](const Checkpoint&) { return std::vector<std::string>(); };
  EXPECT_EQ(propose(*plan_model_drafter(parts).load(nullptr), 1, known, 4), propose(*draft_model(), 1, known, 4));
  DraftParts unknown = parts;
  unknown.options.method = "guesswork";
  EXPECT_EQ(test::error_of([&] { (void)plan_model_drafter(unknown); }),
            "the method of speculation \"guesswork\" takes no model; those that do: draft_model, medusa, eagle, "
            "eagle3");
}

TEST(ModelDrafters, VocabulariesAreComparedBeforeAnythingIsLoaded) {
  DraftParts parts{.options = {.method = "draft_model"},
                   .checkpoint = tiny().checkpoint.get(),
                   .target = tiny().checkpoint.get(),
                   .target_options = kOptions};
  EXPECT_GT(plan_model_drafter(parts).memory.total_bytes, 0u) << "without texts nothing is compared";
  parts.texts_of = [first = 0](const Checkpoint&) mutable {
    std::vector<std::string> texts;
    for (int i = 0; i < kVocab; ++i) texts.push_back(fmt::format("t{}", first + i));
    first += 1000;
    return texts;
  };
  const std::string error = test::error_of([&] { (void)plan_model_drafter(parts); });
  EXPECT_NE(error.find("t0"), std::string::npos) << error;
}

}  // namespace
}  // namespace quire
