// EAGLE layers on synthetic weights against the same arithmetic written plainly, which computes every path of a tree
// from its beginning.
#include "drafting/eagle.h"

#include <gtest/gtest.h>

#include <numeric>

#include "drafting/test_parts.h"

namespace quire {
namespace {

using test::Floats;
using test::kHidden;
using test::kVocab;
using test::PartFile;
using test::propose;
using test::TargetFile;
using Tokens = std::vector<int32_t>;

constexpr int kNumHeads = 4;
constexpr int kNumKvHeads = 2;
constexpr int kHeadDim = 16;
constexpr int64_t kInner = 96;
constexpr int64_t kDraftVocab = 40;
constexpr float kEps = 1e-5f;
const std::vector<int> kTaps = {0, 1, 3};

enum class Kind : uint8_t { kEagle, kEagle3 };

std::unique_ptr<PartFile> eagle_file(Kind kind, int64_t context = 128) {
  const bool is3 = kind == Kind::kEagle3;
  json::object config{{"architectures", {is3 ? "LlamaForCausalLMEagle3" : "LlamaForCausalLMEagle"}},
                      {"hidden_size", kHidden},
                      {"intermediate_size", kInner},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", kNumHeads},
                      {"num_key_value_heads", kNumKvHeads},
                      {"head_dim", kHeadDim},
                      {"rms_norm_eps", kEps},
                      {"vocab_size", kVocab},
                      {"draft_vocab_size", kDraftVocab},
                      {"max_position_embeddings", context}};
  if (is3) config["eagle_config"] = {{"eagle_aux_hidden_state_layer_ids", json::array(kTaps.begin(), kTaps.end())}};
  auto file = std::make_unique<PartFile>(std::move(config));
  const std::string layer = is3 ? "midlayer." : "layers.0.";
  const int64_t input = is3 ? 2 * kHidden : kHidden;
  const float out = is3 ? 0.2f : 0.05f;  // without a final norm, logits are as far apart as states are large
  file->add("fc.weight", {kHidden, is3 ? 3 * kHidden : 2 * kHidden}, out);
  file->add(layer + "self_attn.q_proj.weight", {kNumHeads * kHeadDim, input}, 0.2f);
  file->add(layer + "self_attn.k_proj.weight", {kNumKvHeads * kHeadDim, input}, 0.2f);
  file->add(layer + "self_attn.v_proj.weight", {kNumKvHeads * kHeadDim, input}, 0.2f);
  file->add(layer + "self_attn.o_proj.weight", {kHidden, kNumHeads * kHeadDim}, out);
  file->add(layer + "mlp.gate_proj.weight", {kInner, kHidden}, 0.2f);
  file->add(layer + "mlp.up_proj.weight", {kInner, kHidden}, 0.2f);
  file->add(layer + "mlp.down_proj.weight", {kHidden, kInner}, out);
  file->add(layer + "post_attention_layernorm.weight", {kHidden}, 1.0f);
  if (is3) {
    file->add(layer + "input_layernorm.weight", {kHidden}, 1.0f);
    file->add(layer + "hidden_norm.weight", {kHidden}, 1.0f);
    file->add("norm.weight", {kHidden}, 1.0f);
    file->add("lm_head.weight", {kDraftVocab, kHidden}, 0.3f);
    std::vector<int64_t> offsets;  // token i of the part is token i + i / 2 of the target
    for (int64_t i = 0; i < kDraftVocab; ++i) offsets.push_back(i / 2);
    file->add_ids("d2t", offsets);
  }
  file->write();
  return file;
}

Floats normed(const Floats& x, const Floats& weight) {
  double squares = 0.0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  Floats y(x.size());
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + kEps);
  for (size_t i = 0; i < x.size(); ++i) y[i] = static_cast<float>(x[i] * scale) * weight[i];
  return y;
}

Floats joined(const Floats& a, const Floats& b) {
  Floats both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

void rotate(Floats& heads, int64_t position) {
  for (size_t head = 0; head < heads.size() / kHeadDim; ++head) {
    for (int i = 0; i < kHeadDim / 2; ++i) {
      const double angle = static_cast<double>(position) * std::pow(10000.0, -2.0 * i / kHeadDim);
      float& a = heads[head * kHeadDim + static_cast<size_t>(i)];
      float& b = heads[head * kHeadDim + static_cast<size_t>(i) + kHeadDim / 2];
      const double x = a, y = b;
      a = static_cast<float>(x * std::cos(angle) - y * std::sin(angle));
      b = static_cast<float>(y * std::cos(angle) + x * std::sin(angle));
    }
  }
}

// A path through the layer: K and V of its rows, and the results of the last.
class Reference {
 public:
  Reference(const PartFile& file, const TargetFile& target, Kind kind)
      : file_(&file), kind_(kind), embedding_(target.tensor("model.embed_tokens.weight")) {
    head_ = kind == Kind::kEagle3 ? file["lm_head.weight"] : target.tensor("lm_head.weight");
  }

  // `state`: of the target or of this layer.
  void append(const Floats& state, int32_t token) {
    const Floats embedded(embedding_.begin() + token * kHidden, embedding_.begin() + (token + 1) * kHidden);
    Floats input, residual;
    if (kind_ == Kind::kEagle3) {
      residual = state.size() == kHidden ? state : test::multiply((*file_)["fc.weight"], state);
      input = joined(normed(embedded, layer("input_layernorm.weight")), normed(residual, layer("hidden_norm.weight")));
    } else {
      input = residual = test::multiply((*file_)["fc.weight"], joined(embedded, state));
    }
    test::add_to(residual, attend(input));
    const Floats x = normed(residual, layer("post_attention_layernorm.weight"));
    Floats gate = test::multiply(layer("mlp.gate_proj.weight"), x);
    const Floats up = test::multiply(layer("mlp.up_proj.weight"), x);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = test::silu(gate[i]) * up[i];
    test::add_to(residual, test::multiply(layer("mlp.down_proj.weight"), gate));
    state_ = residual;
  }

  const Floats& state() const { return state_; }
  // Of the target's tokens, the likeliest first.
  std::vector<Candidate> candidates() const {
    const Floats x = kind_ == Kind::kEagle3 ? normed(state_, (*file_)["norm.weight"]) : state_;
    std::vector<Candidate> all = test::sorted_candidates(test::multiply(head_, x));
    for (Candidate& token : all) token.id += kind_ == Kind::kEagle3 ? token.id / 2 : 0;
    return all;
  }

 private:
  const Floats& layer(const std::string& name) const {
    return (*file_)[(kind_ == Kind::kEagle3 ? "midlayer." : "layers.0.") + name];
  }

  Floats attend(const Floats& input) {
    const auto position = static_cast<int64_t>(keys_.size());
    Floats q = test::multiply(layer("self_attn.q_proj.weight"), input);
    Floats k = test::multiply(layer("self_attn.k_proj.weight"), input);
    rotate(q, position);
    rotate(k, position);
    keys_.push_back(k);
    values_.push_back(test::multiply(layer("self_attn.v_proj.weight"), input));
    Floats out(kNumHeads * kHeadDim);
    for (size_t head = 0; head < kNumHeads; ++head) {
      const size_t kv = head / (kNumHeads / kNumKvHeads) * kHeadDim;
      std::vector<double> weights;
      for (const Floats& key : keys_) {
        double dot = 0.0;
        for (size_t i = 0; i < kHeadDim; ++i) dot += static_cast<double>(q[head * kHeadDim + i]) * key[kv + i];
        weights.push_back(dot / std::sqrt(static_cast<double>(kHeadDim)));
      }
      const double top = std::ranges::max(weights);
      for (double& weight : weights) weight = std::exp(weight - top);
      const double mass = std::accumulate(weights.begin(), weights.end(), 0.0);
      for (size_t i = 0; i < kHeadDim; ++i) {
        double sum = 0.0;
        for (size_t row = 0; row < weights.size(); ++row) sum += weights[row] * values_[row][kv + i];
        out[head * kHeadDim + i] = static_cast<float>(sum / mass);
      }
    }
    return test::multiply(layer("self_attn.o_proj.weight"), out);
  }

  const PartFile* file_;
  Kind kind_;
  Floats embedding_, head_, state_;
  std::vector<Floats> keys_, values_;
};

Tokens reference_chain(Reference path, int max_drafts) {
  Tokens tokens;
  for (;;) {
    tokens.push_back(path.candidates()[0].id);
    if (static_cast<int>(tokens.size()) == max_drafts) return tokens;
    path.append(Floats(path.state()), tokens.back());
  }
}

// At each depth the likeliest kBeam of the nodes that may still be proposed are extended.
Drafts reference_tree(const Reference& root, int max_drafts) {
  std::vector<LikelyNode> nodes;
  std::vector<Reference> paths = {root};
  std::vector<int32_t> extended = {-1};
  for (int depth = 1; !extended.empty(); ++depth) {
    const size_t first_new = nodes.size();
    for (size_t i = 0; i < paths.size(); ++i) {
      const float probability = extended[i] < 0 ? 1.0f : nodes[static_cast<size_t>(extended[i])].probability;
      std::vector<Candidate> children = paths[i].candidates();
      children.resize(static_cast<size_t>(max_drafts));
      for (const Candidate& child : children) nodes.push_back({child.id, extended[i], probability * child.probability});
    }
    if (depth == max_drafts) break;
    std::vector<int32_t> order(nodes.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::ranges::greater(),
                             [&](int32_t i) { return nodes[static_cast<size_t>(i)].probability; });
    order.resize(static_cast<size_t>(max_drafts));
    std::erase_if(order, [&](int32_t i) { return static_cast<size_t>(i) < first_new; });
    order.resize(std::min(order.size(), static_cast<size_t>(EagleDrafter::kBeam)));
    std::vector<Reference> next;
    for (const int32_t i : order) {
      const LikelyNode& node = nodes[static_cast<size_t>(i)];
      next.push_back(paths[static_cast<size_t>(std::ranges::find(extended, node.parent) - extended.begin())]);
      next.back().append(Floats(next.back().state()), node.token);
    }
    paths = std::move(next);
    extended = order;
  }
  return likeliest_of(nodes, max_drafts);
}

class EagleTest : public testing::TestWithParam<std::tuple<std::string, Kind>> {
 protected:
  Kind kind() const { return std::get<1>(GetParam()); }
  int64_t state_size() const { return kind() == Kind::kEagle3 ? 3 * kHidden : kHidden; }

  std::unique_ptr<Drafter> drafter(bool tree, int64_t num_blocks = 16) const {
    RunnerOptions options{.num_threads = 2, .max_sequences = 2, .num_blocks = num_blocks};
    options.k_format = options.v_format = Format::kF32;
    return test::load_drafter({.options = {.method = kind() == Kind::kEagle3 ? "eagle3" : "eagle", .tree = tree},
                               .checkpoint = &file_->checkpoint(),
                               .target = &target_.checkpoint(),
                               .target_options = test::with_table(options, std::get<0>(GetParam()))});
  }

  // As the target would compute it; any numbers do.
  Floats state_of(const Tokens& tokens, int64_t position) const {
    unsigned seed = 17;
    for (int64_t i = 0; i <= position; ++i) seed = seed * 31 + static_cast<unsigned>(tokens[static_cast<size_t>(i)]);
    std::mt19937 random(seed);
    return test::random_floats(static_cast<size_t>(state_size()), random, 1.0f);
  }

  void observe(Drafter& drafter, uint64_t sequence, const Tokens& tokens, int64_t first, int64_t end) const {
    Floats hidden;
    for (int64_t position = first; position < end; ++position) hidden = joined(hidden, state_of(tokens, position));
    const HiddenRows rows{.sequence = sequence, .first_position = first, .num_rows = end - first, .hidden = hidden};
    drafter.observe({&rows, 1});
  }

  // From the states of positions [first, tokens.size() - 2].
  Reference reference(const Tokens& tokens, int64_t first = 0) const {
    Reference path(*file_, target_, kind());
    for (int64_t i = first; i + 1 < static_cast<int64_t>(tokens.size()); ++i) {
      path.append(state_of(tokens, i), tokens[static_cast<size_t>(i) + 1]);
    }
    return path;
  }

  static Tokens text(int64_t length, int32_t seed) {
    Tokens tokens;
    for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>((i * 7 + seed * 13 + i * i) % kVocab));
    return tokens;
  }

  TargetFile target_{{.layers = 6}};
  std::unique_ptr<PartFile> file_ = eagle_file(kind());
};

TEST_P(EagleTest, ChainsAreThoseOfTheReference) {
  const auto eagle = drafter(/*tree=*/false);
  EXPECT_EQ(eagle->hidden_use(), HiddenUse::kAll);
  EXPECT_EQ(method_for(file_->checkpoint()), kind() == Kind::kEagle3 ? "eagle3" : "eagle");
  EXPECT_EQ(method_for(target_.checkpoint()), "draft_model");
  EXPECT_EQ(eagle->tapped_layers(), kind() == Kind::kEagle3 ? kTaps : std::vector<int>{});
  const Tokens known = text(40, 1);
  observe(*eagle, 1, known, 0, 25);
  EXPECT_TRUE(propose(*eagle, 1, known, 5).empty()) << "states are missing";
  observe(*eagle, 1, known, 25, 39);
  const Drafts drafts = propose(*eagle, 1, known, 5);
  EXPECT_TRUE(drafts.is_chain());
  EXPECT_EQ(drafts.tokens, reference_chain(reference(known), 5));
  EXPECT_EQ(propose(*eagle, 1, known, 3).tokens, reference_chain(reference(known), 3)) << "asked again";
}

TEST_P(EagleTest, DraftsThatWereWrongLeaveNoTrace) {
  for (const bool tree : {false, true}) {
    const auto eagle = drafter(tree);
    Tokens known = text(10, 1);
    observe(*eagle, 1, known, 0, 9);
    for (int round = 0; round < 8; ++round) {
      const Drafts drafts = propose(*eagle, 1, known, 4);
      const Drafts expected = tree ? reference_tree(reference(known), 4)
                                   : Drafts{.tokens = reference_chain(reference(known), 4), .parents = {}};
      EXPECT_EQ(drafts.tokens, expected.tokens) << round;
      EXPECT_EQ(drafts.parents, expected.parents) << round;
      const auto first = static_cast<int64_t>(known.size()) - 1;
      if (round % 2 == 0) known.push_back(drafts.tokens[0]);
      known.push_back(static_cast<int32_t>(round + 20));
      observe(*eagle, 1, known, first, static_cast<int64_t>(known.size()) - 1);
    }
  }
}

// Around the ends of blocks, where branches begin with a full one, an empty one, or grow into the next.
TEST_P(EagleTest, TreesAreThoseOfTheReference) {
  for (const int64_t length : {2, 29, 31, 32, 33, 34, 62}) {
    const auto eagle = drafter(/*tree=*/true);
    const Tokens known = text(length, 2);
    observe(*eagle, 1, known, 0, length - 1);
    const Drafts drafts = propose(*eagle, 1, known, 10);
    const Drafts expected = reference_tree(reference(known), 10);
    EXPECT_EQ(drafts.tokens, expected.tokens) << length;
    EXPECT_EQ(drafts.parents, expected.parents) << length;
    EXPECT_EQ(drafts.size(), 10u);
  }
}

TEST_P(EagleTest, BeginsWhereStatesHaveNoGap) {
  const auto eagle = drafter(/*tree=*/false);
  const Tokens known = text(40, 3);
  observe(*eagle, 1, known, 8, 20);  // what lies before is cached
  observe(*eagle, 1, known, 15, 39);
  EXPECT_EQ(propose(*eagle, 1, known, 4).tokens, reference_chain(reference(known, 8), 4));
  const Tokens longer = text(60, 3);
  observe(*eagle, 1, longer, 50, 59);
  EXPECT_EQ(propose(*eagle, 1, longer, 4).tokens, reference_chain(reference(longer, 50), 4));
  eagle->finish(1, longer, 1, {});
  EXPECT_TRUE(propose(*eagle, 1, longer, 4).empty());
}

TEST_P(EagleTest, CompanyChangesNothing) {
  const auto eagle = drafter(/*tree=*/true, 40);
  const Sampler greedy(test::with_temperature(0.0f), 0, {}, {}), sampled(test::with_temperature(1.0f), 7, {}, {});
  std::vector<Tokens> known;
  std::vector<Drafts> drafts(5);
  for (int32_t i = 0; i < 5; ++i) known.push_back(text(10 + 11 * i, i));
  std::vector<DraftRequest> requests;
  for (uint64_t i = 0; i < 5; ++i) {
    observe(*eagle, i, known[i], 0, static_cast<int64_t>(known[i].size()) - 1);
    requests.push_back({.sequence = i,
                        .tokens = known[i],
                        .max_drafts = 3 + static_cast<int>(i),
                        .sampler = i % 2 == 0 ? &greedy : &sampled,
                        .drafts = &drafts[i]});
  }
  eagle->propose(requests);
  for (uint64_t i = 0; i < 5; ++i) {
    const auto lone = drafter(/*tree=*/true, 40);
    observe(*lone, i, known[i], 0, static_cast<int64_t>(known[i].size()) - 1);
    Drafts alone;
    DraftRequest request = requests[i];
    request.drafts = &alone;
    lone->propose({&request, 1});
    EXPECT_EQ(alone.tokens, drafts[i].tokens);
    EXPECT_EQ(alone.parents, drafts[i].parents);
    EXPECT_EQ(static_cast<int>(alone.size()), requests[i].max_drafts);
    EXPECT_TRUE(i % 2 == 0 || alone.is_chain());
  }
}

// What has lost its blocks begins again with the last state.
TEST_P(EagleTest, AFullPoolDegradesDraftsOnly) {
  const auto eagle = drafter(/*tree=*/false, /*num_blocks=*/1);  // and those of branches
  for (const uint64_t sequence : {1, 2, 3, 4, 5, 6, 7}) {
    const Tokens known = text(90, static_cast<int32_t>(sequence));
    observe(*eagle, sequence, known, 0, 89);
    EXPECT_EQ(propose(*eagle, sequence, known, 4).tokens, reference_chain(reference(known), 4));
  }
  Tokens known = text(90, 1);
  EXPECT_EQ(propose(*eagle, 1, known, 4).tokens, reference_chain(reference(known, 88), 4));
  known.push_back(5);
  observe(*eagle, 1, known, 89, 90);
  EXPECT_EQ(propose(*eagle, 1, known, 4).tokens, reference_chain(reference(known, 88), 4));
}

TEST_P(EagleTest, DraftsEndAtItsContext) {
  const auto eagle = drafter(/*tree=*/false);
  const Tokens known = text(200, 1);
  for (const auto& [length, expected] : {std::pair{127, 3}, {129, 1}, {130, 0}}) {
    const Tokens part(known.begin(), known.begin() + length);
    observe(*eagle, static_cast<uint64_t>(length), part, 0, length - 1);
    EXPECT_EQ(static_cast<int>(propose(*eagle, static_cast<uint64_t>(length), part, 8).size()), expected) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EagleTest,
                         testing::Combine(testing::ValuesIn(test::table_names()),
                                          testing::Values(Kind::kEagle, Kind::kEagle3)),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) +
                                  (std::get<1>(tested.param) == Kind::kEagle3 ? "_eagle3" : "_eagle");
                         });

TEST(Eagle, OfALongPromptItRemembersTheEnd) {
  const TargetFile target({.layers = 6});
  const auto file = eagle_file(Kind::kEagle, 2048);
  RunnerOptions options{.num_threads = 2, .max_sequences = 1};
  options.k_format = options.v_format = Format::kF32;
  const auto eagle = test::load_drafter({.options = {.method = "eagle", .tree = false},
                                         .checkpoint = &file->checkpoint(),
                                         .target = &target.checkpoint(),
                                         .target_options = options});
  constexpr int64_t kLength = 3000;
  const Floats state(kHidden, 0.5f);
  Floats hidden;
  for (int64_t i = 0; i < 100; ++i) hidden = joined(hidden, state);
  for (int64_t first = 0; first < kLength; first += 100) {
    const HiddenRows rows{.sequence = 1, .first_position = first, .num_rows = 100, .hidden = hidden};
    eagle->observe({&rows, 1});
  }
  Tokens known;
  for (int32_t i = 0; i <= kLength; ++i) known.push_back(i * i % static_cast<int32_t>(kVocab));
  EXPECT_TRUE(propose(*eagle, 1, known, 4).empty()) << "half of the states are computed in one call";
  Reference path(*file, target, Kind::kEagle);
  for (int64_t i = kLength - EagleDrafter::kMaxWaitingRows; i < kLength; ++i) {
    path.append(state, known[static_cast<size_t>(i) + 1]);
  }
  EXPECT_EQ(propose(*eagle, 1, known, 4).tokens, reference_chain(path, 4));
}

TEST(Eagle, RefusesLayersThatTheTargetLacks) {
  const TargetFile target({.layers = 2});
  const auto file = eagle_file(Kind::kEagle3);
  const std::string error = test::error_of([&] {
    (void)plan_model_drafter({.options = {.method = "eagle3"},
                              .checkpoint = &file->checkpoint(),
                              .target = &target.checkpoint(),
                              .target_options = {.num_threads = 1}});
  });
  EXPECT_NE(error.find("it reads layers [0, 1, 2] of the target, expected 3 ascending numbers of its 2 layers"),
            std::string::npos)
      << error;
}

TEST(Eagle, TheLedgerCountsWaitingStates) {
  const TargetFile target({.layers = 6});
  const auto file = eagle_file(Kind::kEagle3);
  const MemoryPlan plan = plan_model_drafter({.options = {.method = "eagle3"},
                                              .checkpoint = &file->checkpoint(),
                                              .target = &target.checkpoint(),
                                              .target_options = {.num_threads = 1, .max_sequences = 3}})
                              .memory;
  EXPECT_TRUE(plan.fits);
  EXPECT_GE(plan.workspace_bytes, 3u * EagleDrafter::kMaxWaitingRows * 3 * kHidden * sizeof(float));
  EXPECT_GE(plan.total_bytes, plan.workspace_bytes + plan.weight_bytes + plan.kv_bytes);
}

}  // namespace
}  // namespace quire
