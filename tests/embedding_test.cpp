// Embeddings against sentence-transformers (tests/golden_embeddings, tools/golden/make_embeddings.py): a decoder as
// that library saves one, without an output matrix.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "base/error.h"
#include "engine/engine.h"

namespace quire {
namespace {

const std::filesystem::path kFolder = QUIRE_SOURCE_DIR "/tests/golden_embeddings";

class GoldenEmbeddings : public testing::TestWithParam<int64_t> {
 protected:
  GoldenEmbeddings()
      : golden_(read_json_file(kFolder / "vectors.json", size_t{1} << 20).as_object()),
        checkpoint_(Checkpoint::open(kFolder)) {
    RunnerOptions options;
    options.num_threads = 2;
    options.max_sequences = 2;
    options.max_batch_tokens = GetParam();
    options.max_context = 128;
    options.num_blocks = 16;
    options.k_format = options.v_format = Format::kF32;
    engine_.emplace(ModelRunner::load(*checkpoint_, options), EngineOptions{});
    for (const json::value& token : golden_.at("tokens").as_array()) prompt_.push_back(token.to_number<int32_t>());
  }

  OutputEvent run(Pooling pooling) {
    GenerateRequest request;
    request.prompt = prompt_;
    request.max_tokens = 0;
    request.pooling = pooling;
    const auto stream = engine_->submit(std::move(request)).stream;
    while (engine_->step()) {
    }
    return stream->try_next().value();
  }

  json::object golden_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Engine> engine_;
  std::vector<int32_t> prompt_;
};

TEST_P(GoldenEmbeddings, AreThoseOfSentenceTransformers) {
  const std::map<std::string, Pooling> modes = {
      {"mean", Pooling::kMean}, {"cls", Pooling::kCls}, {"lasttoken", Pooling::kLast}};
  for (const auto& [mode, pooling] : modes) {
    const std::vector<float> embedding = run(pooling).embedding;
    const json::array& expected = golden_.at("vectors").at(mode).as_array();
    ASSERT_EQ(embedding.size(), expected.size());
    for (size_t i = 0; i < embedding.size(); ++i) {
      EXPECT_NEAR(embedding[i], expected[i].to_number<double>(), 2e-5) << mode << ", element " << i;
    }
  }
}

TEST_P(GoldenEmbeddings, TheFileSaysHow) {
  EXPECT_EQ(engine_->runner().info().embedding, (EmbeddingUse{.pooling = Pooling::kLast, .normalize = true}));
}

TEST_P(GoldenEmbeddings, AModelWithoutAHeadGeneratesNoText) {
  EXPECT_FALSE(engine_->runner().info().has_head);
  GenerateRequest request;
  request.prompt = prompt_;
  try {
    engine_->submit(std::move(request));
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "this model (Qwen3Model) has no output matrix: it makes embeddings and generates no text");
  }
}

// The prompt whole, and in chunks.
INSTANTIATE_TEST_SUITE_P(BatchTokens, GoldenEmbeddings, testing::Values(64, 7),
                         [](const auto& tested) { return std::to_string(tested.param); });

}  // namespace
}  // namespace quire
