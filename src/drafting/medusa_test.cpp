// Medusa heads on synthetic weights against the same arithmetic written plainly.
#include "drafting/medusa.h"

#include <gtest/gtest.h>

#include "drafting/likely_tree.h"
#include "drafting/test_parts.h"

namespace quire {
namespace {

using test::Floats;
using test::kHidden;
using test::kVocab;
using test::PartFile;
using test::propose;
using test::TargetFile;

constexpr int64_t kHeads = 3;
constexpr int64_t kBlocks = 2;

enum class Layout : uint8_t { kAuthors, kVllm, kSharedHead, kReducedVocabulary };

std::unique_ptr<PartFile> heads_file(Layout layout, int64_t hidden = kHidden) {
  const bool authors = layout == Layout::kAuthors;
  json::object config = authors ? json::object{{"medusa_num_heads", kHeads}, {"medusa_num_layers", kBlocks}}
                                : json::object{{"architectures", {"MedusaModel"}},
                                               {"hidden_size", hidden},
                                               {"num_heads", kHeads},
                                               {"num_hidden_layers", kBlocks},
                                               {"original_lm_head", layout == Layout::kSharedHead}};
  auto file = std::make_unique<PartFile>(std::move(config));
  const int64_t vocab = layout == Layout::kReducedVocabulary ? kVocab / 2 : kVocab;
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t i = 0; i < kBlocks; ++i) {
      if (layout == Layout::kVllm) {
        file->add(fmt::format("blocks.{}.layers.{}.weight", head, i), {hidden, hidden}, 0.3f);
      } else {
        file->add(fmt::format("{}.{}.linear.weight", head, i), {hidden, hidden}, 0.3f);
        file->add(fmt::format("{}.{}.linear.bias", head, i), {hidden}, 0.3f);
      }
    }
    if (layout == Layout::kSharedHead) continue;
    file->add(
        layout == Layout::kVllm ? fmt::format("lm_heads.{}.weight", head) : fmt::format("{}.{}.weight", head, kBlocks),
        {vocab, hidden}, 0.3f);
  }
  if (layout == Layout::kReducedVocabulary) {
    std::vector<int64_t> ids;
    for (int64_t id = 0; id < vocab; ++id) ids.push_back(2 * id + 1);
    file->add_ids("token_map", ids);
  }
  file->write();
  return file;
}

class MedusaTest : public testing::TestWithParam<std::tuple<std::string, Layout>> {
 protected:
  std::unique_ptr<Drafter> drafter(bool tree, float min_probability = 0.0f) const {
    return test::load_drafter(parts({.method = "medusa", .min_probability = min_probability, .tree = tree}));
  }
  DraftParts parts(const SpeculationOptions& options) const {
    return {.options = options,
            .checkpoint = &file_->checkpoint(),
            .target = &target_.checkpoint(),
            .target_options = test::with_table({.num_threads = 2, .max_sequences = 2}, std::get<0>(GetParam()))};
  }

  // What the heads say of a state, each in descending order.
  std::vector<std::vector<Candidate>> levels(const Floats& state) const {
    std::vector<std::vector<Candidate>> result;
    for (int64_t head = 0; head < kHeads; ++head) {
      Floats x = state;
      for (int64_t i = 0; i < kBlocks; ++i) {
        const std::string vllm = fmt::format("blocks.{}.layers.{}.weight", head, i);
        const std::string own = fmt::format("{}.{}.linear", head, i);
        Floats y = test::multiply((*file_)[file_->has(vllm) ? vllm : own + ".weight"], x);
        if (file_->has(own + ".bias")) test::add_to(y, (*file_)[own + ".bias"]);
        for (float& value : y) value = test::silu(value);
        test::add_to(x, y);
      }
      result.push_back(test::sorted_candidates(test::multiply(output(head), x)));
      if (layout() != Layout::kReducedVocabulary) continue;
      for (Candidate& token : result.back()) token.id = 2 * token.id + 1;
    }
    return result;
  }
  Floats output(int64_t head) const {
    if (layout() == Layout::kSharedHead) return target_.tensor("lm_head.weight");
    const std::string vllm = fmt::format("lm_heads.{}.weight", head);
    return (*file_)[file_->has(vllm) ? vllm : fmt::format("{}.{}.weight", head, kBlocks)];
  }
  Layout layout() const { return std::get<1>(GetParam()); }

  // As if the target had computed a sequence of `length` tokens, the last but one with this state.
  static Floats observe(Drafter& drafter, uint64_t sequence, int64_t length) {
    std::mt19937 random(static_cast<unsigned>(sequence * 100) + static_cast<unsigned>(length));
    const Floats state = test::random_floats(kHidden, random, 1.0f);
    const HiddenRows rows{.sequence = sequence, .first_position = length - 2, .num_rows = 1, .hidden = state};
    drafter.observe({&rows, 1});
    return state;
  }

  TargetFile target_;
  std::unique_ptr<PartFile> file_ = heads_file(layout());
};

TEST_P(MedusaTest, ChainsAreTheHeadsFirstChoices) {
  const auto medusa = drafter(/*tree=*/false);
  EXPECT_EQ(medusa->hidden_use(), HiddenUse::kLast);
  EXPECT_EQ(method_for(file_->checkpoint()), "medusa");
  for (const int64_t length : {2, 9, 10}) {
    const Floats state = observe(*medusa, 1, length);
    std::vector<int32_t> expected;
    for (const std::vector<Candidate>& level : levels(state)) expected.push_back(level[0].id);
    const std::vector<int32_t> known(static_cast<size_t>(length), 3);
    const Drafts drafts = propose(*medusa, 1, known, 8);
    EXPECT_EQ(drafts.tokens, expected);
    EXPECT_TRUE(drafts.is_chain());
    EXPECT_EQ(propose(*medusa, 1, known, 2).tokens, std::vector<int32_t>(expected.begin(), expected.begin() + 2));
  }
}

TEST_P(MedusaTest, TreesAreTheLikeliest) {
  const auto medusa = drafter(/*tree=*/true);
  const Floats state = observe(*medusa, 1, 5);
  for (const int max_drafts : {1, 4, 12}) {
    std::vector<std::vector<Candidate>> expected = levels(state);
    const Drafts tree = likeliest_tree(expected, max_drafts);
    const Drafts drafts = propose(*medusa, 1, {1, 2, 3, 4, 5}, max_drafts);
    EXPECT_EQ(drafts.tokens, tree.tokens);
    EXPECT_EQ(drafts.parents, tree.parents);
    EXPECT_EQ(static_cast<int>(drafts.size()), max_drafts);
  }
}

TEST_P(MedusaTest, CompanyChangesNothing) {
  const auto medusa = drafter(/*tree=*/true);
  const std::vector<int32_t> known = {1, 2, 3, 4, 5};
  std::vector<Drafts> drafts(5);
  std::vector<DraftRequest> requests;
  const Sampler greedy(test::with_temperature(0.0f), 0, {}, {}), sampled(test::with_temperature(1.0f), 7, {}, {});
  for (uint64_t i = 0; i < 5; ++i) {
    observe(*medusa, i, 5);
    requests.push_back({.sequence = i,
                        .tokens = known,
                        .max_drafts = 3 + static_cast<int>(i),
                        .sampler = i % 2 == 0 ? &greedy : &sampled,
                        .drafts = &drafts[i]});
  }
  medusa->propose(requests);
  for (uint64_t i = 0; i < 5; ++i) {
    Drafts alone;
    DraftRequest request = requests[i];
    request.drafts = &alone;
    medusa->propose({&request, 1});
    EXPECT_EQ(alone.tokens, drafts[i].tokens);
    EXPECT_EQ(alone.parents, drafts[i].parents);
    EXPECT_FALSE(alone.empty());
    EXPECT_TRUE(i % 2 == 0 || alone.is_chain());
  }
}

TEST_P(MedusaTest, WithoutTheStateBeforeTheNextTokenNothingIsProposed) {
  const auto medusa = drafter(/*tree=*/true);
  const std::vector<int32_t> known = {1, 2, 3, 4, 5};
  EXPECT_TRUE(propose(*medusa, 1, known, 4).empty());
  observe(*medusa, 1, 4);
  EXPECT_TRUE(propose(*medusa, 1, known, 4).empty());
  observe(*medusa, 1, 5);
  EXPECT_FALSE(propose(*medusa, 1, known, 4).empty());
  medusa->finish(1, known, 1, {});
  EXPECT_TRUE(propose(*medusa, 1, known, 4).empty());
  const auto sure = drafter(/*tree=*/true, 1.01f);
  observe(*sure, 1, 5);
  EXPECT_TRUE(propose(*sure, 1, known, 4).empty());
}

INSTANTIATE_TEST_SUITE_P(Layouts, MedusaTest,
                         testing::Combine(testing::ValuesIn(test::table_names()),
                                          testing::Values(Layout::kAuthors, Layout::kVllm, Layout::kSharedHead,
                                                          Layout::kReducedVocabulary)),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) + "_" +
                                  std::to_string(static_cast<int>(std::get<1>(tested.param)));
                         });

TEST(Medusa, RefusesHeadsOfAnotherModel) {
  const TargetFile target;
  const auto file = heads_file(Layout::kVllm, 32);
  const DraftParts parts{.options = {.method = "medusa"},
                         .checkpoint = &file->checkpoint(),
                         .target = &target.checkpoint(),
                         .target_options = {.num_threads = 1}};
  const std::string error = test::error_of([&] { (void)plan_model_drafter(parts); });
  EXPECT_NE(error.find("it reads hidden states of 32 floats, but those of target.gguf have 64"), std::string::npos)
      << error;
}

TEST(Medusa, TheLedgerCountsHeadsAndStates) {
  const TargetFile target;
  const auto file = heads_file(Layout::kVllm);
  const DraftParts parts{.options = {.method = "medusa"},
                         .checkpoint = &file->checkpoint(),
                         .target = &target.checkpoint(),
                         .target_options = {.num_threads = 1}};
  const MemoryPlan plan = plan_model_drafter(parts).memory;
  EXPECT_TRUE(plan.fits);
  EXPECT_EQ(plan.kv_bytes, 0u);
  EXPECT_GE(plan.weight_bytes, sizeof(float) * kHeads * (kBlocks * kHidden + kVocab) * kHidden);
}

}  // namespace
}  // namespace quire
