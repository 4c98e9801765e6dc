// Drafters that have a model, in an engine: they change no bit of any answer, whatever they guess, and a draft model
// that is the target guesses everything.
#include "drafting/model_drafters.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "dialogue/text_processor.h"
#include "drafting/test_parts.h"
#include "engine/engine.h"
#include "models/layers/linear.h"

namespace quire {
namespace {

constexpr int32_t kVocabSize = 96;
constexpr int kRequests = 12;

GenerateRequest request(int index) {
  GenerateRequest out;
  for (int i = 0; i < 5 + 5 * (index % 6); ++i) out.prompt.push_back((index * 31 + i * 17) % kVocabSize);
  out.max_tokens = 50 + 5 * (index % 4);
  SamplingParams& sampling = out.sampling;
  sampling.temperature = index % 2 == 0 ? 0.0f : 10.0f;  // the logits of this model are far apart
  sampling.seed = 100 + index;
  if (index % 4 == 1) sampling.top_p = 0.8f;
  if (index % 4 == 2) sampling.repetition_penalty = 1.3f;
  if (index % 4 == 3) sampling.num_logprobs = 1;
  return out;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Answer&) const = default;
};

// Parts with random weights for a target of this hidden size.
std::unique_ptr<test::PartFile> medusa_file(int64_t hidden) {
  auto file = std::make_unique<test::PartFile>(json::object{{"architectures", {"MedusaModel"}},
                                                            {"hidden_size", hidden},
                                                            {"num_heads", 4},
                                                            {"num_hidden_layers", 1},
                                                            {"original_lm_head", true}});
  for (int head = 0; head < 4; ++head) {
    file->add(fmt::format("blocks.{}.layers.0.weight", head), {hidden, hidden}, 0.1f);
  }
  file->write();
  return file;
}

std::unique_ptr<test::PartFile> eagle_file(int64_t hidden, int num_taps) {
  constexpr int64_t kHeadsSize = 64;
  json::object config{{"hidden_size", hidden},    {"intermediate_size", 32},       {"num_hidden_layers", 1},
                      {"num_attention_heads", 4}, {"num_key_value_heads", 4},      {"head_dim", 16},
                      {"vocab_size", kVocabSize}, {"max_position_embeddings", 128}};
  json::array layers;
  for (int i = 0; i < num_taps; ++i) layers.emplace_back(i);
  config["eagle_aux_hidden_state_layer_ids"] = layers;
  auto file = std::make_unique<test::PartFile>(std::move(config));
  const int64_t input = num_taps > 0 ? 2 * hidden : hidden;
  file->add("fc.weight", {hidden, (num_taps > 0 ? num_taps : 2) * hidden}, 0.1f);
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    file->add(fmt::format("layers.0.self_attn.{}.weight", name), {kHeadsSize, input}, 0.1f);
  }
  file->add("layers.0.self_attn.o_proj.weight", {hidden, kHeadsSize}, 0.1f);
  file->add("layers.0.mlp.gate_proj.weight", {32, hidden}, 0.1f);
  file->add("layers.0.mlp.up_proj.weight", {32, hidden}, 0.1f);
  file->add("layers.0.mlp.down_proj.weight", {hidden, 32}, 0.1f);
  file->add("layers.0.post_attention_layernorm.weight", {hidden}, 1.0f);
  if (num_taps > 0) {
    file->add("layers.0.input_layernorm.weight", {hidden}, 1.0f);
    file->add("layers.0.hidden_norm.weight", {hidden}, 1.0f);
    file->add("norm.weight", {hidden}, 1.0f);
  }
  file->write();
  return file;
}

class ModelDraftersTest : public testing::Test {
 protected:
  struct Setting {
    std::string name;
    int64_t max_sequences = 16;
    int64_t max_batch_tokens = 128;
    int64_t num_blocks = 64;
    bool tree = false;
  };

  static RunnerOptions runner_options(const Setting& setting) {
    return {.num_threads = 2,
            .max_batch_tokens = setting.max_batch_tokens,
            .max_sequences = setting.max_sequences,
            .max_branches = setting.tree ? 5 * setting.max_sequences : 0,
            .max_context = 128,
            .num_blocks = setting.num_blocks};
  }

  // `method` empty: without drafts.
  std::unique_ptr<Engine> make_engine(const Setting& setting, const std::string& method = {},
                                      const Checkpoint* part = nullptr) const {
    RunnerOptions options = runner_options(setting);
    EngineOptions engine_options;
    engine_options.speculation.adaptive = false;
    engine_options.speculation.max_drafts = 5;
    engine_options.speculation.tree = setting.tree;
    std::unique_ptr<ModelRunner> runner;
    std::unique_ptr<Drafter> drafter;
    if (!method.empty()) {
      SpeculationOptions speculation = engine_options.speculation;
      speculation.method = method;
      const DrafterPlan plan = plan_model_drafter({.options = speculation,
                                                   .checkpoint = part,
                                                   .target = checkpoint_.get(),
                                                   .target_options = options,
                                                   .texts_of = test::no_texts});
      runner = ModelRunner::load(*checkpoint_, for_drafter(options, plan));
      drafter = plan.load(runner.get());
    } else {
      runner = ModelRunner::load(*checkpoint_, options);
    }
    return std::make_unique<Engine>(std::move(runner), std::move(engine_options), std::move(drafter));
  }

  static std::vector<Answer> answers(Engine& engine, int first, int last) {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = first; i < last; ++i) streams.push_back(engine.submit(request(i)).stream);
    while (engine.step()) engine.scheduler().check();
    std::vector<Answer> all;
    for (const auto& stream : streams) {
      Answer& answer = all.emplace_back();
      while (const auto event = stream->try_next()) {
        if (!event->has_token) continue;
        answer.tokens.push_back(event->token.id);
        answer.logprobs.push_back(event->token.logprob);
      }
    }
    return all;
  }

  const std::vector<Answer>& plain() {
    if (plain_.empty()) plain_ = answers(*make_engine({.name = "plain"}), 0, kRequests);
    return plain_;
  }

  // In every setting, and again with prefixes that are cached.
  void expect_the_same_answers(const std::string& method, const Checkpoint& part) {
    for (const Setting& setting :
         {Setting{.name = "alone", .max_sequences = 1}, Setting{.name = "a batch of 16"},
          Setting{.name = "trees alone", .max_sequences = 1, .tree = true}, Setting{.name = "trees", .tree = true},
          Setting{.name = "short chunks", .max_batch_tokens = 20},
          Setting{.name = "preempted", .max_sequences = 8, .max_batch_tokens = 20, .num_blocks = 5}}) {
      const auto engine = make_engine(setting, method, &part);
      for (const bool is_cached : {false, true}) {
        EXPECT_EQ(answers(*engine, 0, kRequests), plain()) << method << ", " << setting.name << ", " << is_cached;
      }
      EXPECT_GT(engine->status().draft_tokens, 0) << method << ", " << setting.name;
      EXPECT_EQ(engine->status().num_preemptions > 0, setting.name == "preempted") << method;
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_ = Checkpoint::open(QUIRE_SOURCE_DIR "/tests/golden/llama3-gqa-tied");
  int64_t hidden_ = ModelRunner::info(*checkpoint_).hidden_size;
  std::vector<Answer> plain_;
};

TEST_F(ModelDraftersTest, TheTargetItselfGuessesEveryToken) {
  expect_the_same_answers("draft_model", *checkpoint_);
  for (const int64_t max_sequences : {1, 16}) {
    const auto engine = make_engine({.name = "", .max_sequences = max_sequences}, "draft_model", checkpoint_.get());
    EXPECT_EQ(answers(*engine, 0, kRequests), plain());
    const EngineStatus status = engine->status();
    EXPECT_GT(status.draft_tokens, 200);
    EXPECT_EQ(status.accepted_tokens, status.draft_tokens) << "greedy and sampled";
  }
}

TEST_F(ModelDraftersTest, AnotherModelIsMostlyWrong) {
  const std::string image = test::tiny_gguf({.vocab = kVocabSize});
  const auto other = Checkpoint::from_gguf_bytes(test::as_bytes(image), "other.gguf");
  expect_the_same_answers("draft_model", *other);
  const auto engine = make_engine({.name = "", .max_sequences = 1}, "draft_model", other.get());
  answers(*engine, 0, 1);
  EXPECT_LT(engine->status().accepted_tokens * 4, engine->status().draft_tokens);
}

// A part that has no output matrix multiplies by the target's: the plan leaves no room for another.
TEST_F(ModelDraftersTest, PartsShareTheOutputMatrixOfTheirTarget) {
  const auto medusa = medusa_file(hidden_);
  const auto eagle = eagle_file(hidden_, 0);
  const auto target = ModelRunner::load(*checkpoint_, {.num_threads = 1, .max_sequences = 1, .max_context = 64});
  ASSERT_NE(target->output_matrix(), nullptr);
  EXPECT_EQ(target->output_matrix()->weights.rows, kVocabSize);
  for (const auto& [method, file] : {std::pair{"medusa", &medusa->checkpoint()}, {"eagle", &eagle->checkpoint()}}) {
    DraftParts parts{.options = {.method = method},
                     .checkpoint = file,
                     .target = checkpoint_.get(),
                     .target_options = {.num_threads = 1, .max_sequences = 1, .max_context = 64, .num_blocks = 2}};
    const MemoryPlan plan = plan_model_drafter(parts).memory;
    EXPECT_EQ(plan.mapped_bytes, 0u) << "the target's plan counts the embedding";
    parts.target_options.memory_bytes = plan.total_bytes;
    EXPECT_NE(plan_model_drafter(parts).load(target.get()), nullptr) << method;
    if (plan.kv_bytes == 0) {  // few waiting states: without the target's matrix it does not fit
      EXPECT_THROW((void)plan_model_drafter(parts).load(nullptr), Error) << method;
    }
    // Ranks divide the matrix, so the part packs its own.
    parts.target_options.tensor_parallel = 2;
    EXPECT_GT(plan_model_drafter(parts).memory.weight_bytes, plan.weight_bytes + 4096) << method;
  }
}

// Held-out requests to the demo model: how many tokens a step gives, one stream, greedy.
double acceptance_length(const std::string& method, const std::string& part_path) {
  const std::string folder = QUIRE_SOURCE_DIR "/assets/demo/";
  const auto target = Checkpoint::open(folder + "quire-demo.gguf");
  const auto part = Checkpoint::open(folder + part_path);
  const auto text = TextProcessor::load(*target);
  RunnerOptions options{.num_threads = 2, .max_batch_tokens = 128, .max_sequences = 1, .max_context = 512};
  EngineOptions engine_options;
  engine_options.speculation = {.method = method, .adaptive = false, .tree = false};
  const DrafterPlan plan = plan_model_drafter({.options = engine_options.speculation,
                                               .checkpoint = part.get(),
                                               .target = target.get(),
                                               .target_options = options,
                                               .texts_of = test::no_texts});
  auto runner = ModelRunner::load(*target, for_drafter(options, plan));
  auto drafter = plan.load(runner.get());
  Engine engine(std::move(runner), engine_options, std::move(drafter));
  std::ifstream file(folder + "heldout.jsonl");
  int64_t num_tokens = 0;
  std::string line;
  for (int i = 0; i < 60 && std::getline(file, line); ++i) {
    const std::string document = get_string(json::parse(line).as_object(), "text");
    const std::string_view turn = "<|assistant|>";
    GenerateRequest asked;
    asked.prompt = text->encode_plain(document.substr(document.find('>') + 1, document.find(turn) + turn.size()));
    asked.max_tokens = 64;
    asked.sampling.temperature = 0.0f;
    asked.eog_ids = text->eog_ids();
    const auto stream = engine.submit(asked).stream;
    while (engine.step()) {
    }
    while (const auto event = stream->try_next()) num_tokens += event->has_token ? 1 : 0;
  }
  return static_cast<double>(num_tokens) / static_cast<double>(engine.status().num_steps);
}

// Heads that were read wrongly, or asked for the wrong position, are right as seldom as chance.
TEST(DemoModel, TrainedPartsAreRightOften) {
  EXPECT_GT(acceptance_length("medusa", "medusa"), 1.8);
  EXPECT_GT(acceptance_length("eagle", "eagle"), 1.8);
  EXPECT_GT(acceptance_length("draft_model", "quire-demo-small.gguf"), 1.8);
}

TEST_F(ModelDraftersTest, MedusaHeads) {
  const auto file = medusa_file(hidden_);
  expect_the_same_answers("medusa", file->checkpoint());
}
TEST_F(ModelDraftersTest, Eagle) { expect_the_same_answers("eagle", eagle_file(hidden_, 0)->checkpoint()); }
TEST_F(ModelDraftersTest, Eagle3) { expect_the_same_answers("eagle3", eagle_file(hidden_, 2)->checkpoint()); }

}  // namespace
}  // namespace quire
