#include "models/loading/embedding_use.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

#include "base/error.h"
#include "models/running/model_runner.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

using test::as_bytes;
using test::error_of;
using test::tiny_gguf;
using test::TinyDirectory;

// Of a model's folder with further files.
EmbeddingUse read_folder(const std::map<std::string, std::string>& files) {
  const TinyDirectory directory({{"architectures", {"LlamaForCausalLM"}}}, {{"x", "F32", {1}}});
  for (const auto& [name, text] : files) {
    const std::filesystem::path path = directory.path() / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  return read_embedding_use(*Checkpoint::open(directory.path()));
}

constexpr const char* kModules = R"([
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])";
constexpr const char* kNormalizedModules = R"([
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])";

// All switches, one of them on, as published files have them.
std::string pooling_config(const std::string& is_on) {
  json::object config{{"word_embedding_dimension", 16}, {"include_prompt", true}};
  for (const char* mode :
       {"cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"}) {
    config[std::string("pooling_mode_") + mode] = mode == is_on;
  }
  return json::serialize(config);
}

TEST(EmbeddingUse, IsTheMeanWhenNothingIsSaid) {
  EXPECT_EQ(read_folder({}), (EmbeddingUse{.pooling = Pooling::kMean, .normalize = true}));
}

TEST(EmbeddingUse, OfSentenceTransformersModules) {
  const std::map<std::string, Pooling> modes = {
      {"cls_token", Pooling::kCls}, {"mean_tokens", Pooling::kMean}, {"lasttoken", Pooling::kLast}};
  for (const auto& [mode, pooling] : modes) {
    const std::string config = pooling_config(mode);
    EXPECT_EQ(read_folder({{"modules.json", kNormalizedModules}, {"1_Pooling/config.json", config}}),
              (EmbeddingUse{.pooling = pooling, .normalize = true}));
    EXPECT_EQ(read_folder({{"modules.json", kModules}, {"1_Pooling/config.json", config}}),
              (EmbeddingUse{.pooling = pooling, .normalize = false}));
    EXPECT_EQ(read_folder({{"1_Pooling/config.json", config}}), (EmbeddingUse{.pooling = pooling}));
  }
}

TEST(EmbeddingUse, OfTheNewerSpelling) {
  for (const char* config : {R"({"pooling_mode": "lasttoken"})", R"({"pooling_mode": ["lasttoken"]})"}) {
    EXPECT_EQ(read_folder({{"1_Pooling/config.json", config}}).pooling, Pooling::kLast);
  }
}

TEST(EmbeddingUse, RefusesWhatWouldGiveAnotherVector) {
  const auto refusal = [](const std::map<std::string, std::string>& files) {
    return error_of([&] { read_folder(files); });
  };
  for (const char* mode : {"max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"}) {
    EXPECT_NE(refusal({{"1_Pooling/config.json", pooling_config(mode)}}).find(mode), std::string::npos);
  }
  const std::string several = R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})";
  EXPECT_NE(refusal({{"1_Pooling/config.json", several}}).find("one at a time"), std::string::npos);
  EXPECT_NE(refusal({{"1_Pooling/config.json", R"({"pooling_mode": ["cls", "mean"]})"}}).find("one at a time"),
            std::string::npos);
  const std::string dense = R"([{"path": "", "type": "sentence_transformers.models.Transformer"},
                                {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])";
  EXPECT_NE(refusal({{"modules.json", dense}}).find("the module sentence_transformers.models.Dense"),
            std::string::npos);
  const std::string outside = R"([{"path": "../x", "type": "sentence_transformers.models.Pooling"}])";
  EXPECT_NE(refusal({{"modules.json", outside}}).find("expected a folder beside it"), std::string::npos);
  EXPECT_NE(refusal({{"modules.json", "{}"}}).find("expected a JSON list"), std::string::npos);
}

EmbeddingUse of_gguf(uint32_t pooling_type) {
  const std::string image =
      tiny_gguf({.architecture = "qwen3", .qk_norm = true, .more_metadata = [&](GgufWriter& writer) {
                   writer.add_uint32("qwen3.pooling_type", pooling_type);
                 }});
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  const EmbeddingUse use = read_embedding_use(*checkpoint);
  EXPECT_EQ(ModelRunner::info(*checkpoint).embedding, use);
  return use;
}

TEST(EmbeddingUse, OfGguf) {
  EXPECT_EQ(of_gguf(0), EmbeddingUse{});
  EXPECT_EQ(of_gguf(1), (EmbeddingUse{.pooling = Pooling::kMean}));
  EXPECT_EQ(of_gguf(2), (EmbeddingUse{.pooling = Pooling::kCls}));
  EXPECT_EQ(of_gguf(3), (EmbeddingUse{.pooling = Pooling::kLast}));
  EXPECT_EQ(of_gguf(4), EmbeddingUse{}) << "a ranker, whose answer is no embedding";
  EXPECT_NE(error_of([] { of_gguf(5); }).find("\"qwen3.pooling_type\" is 5; this build knows"), std::string::npos);
}

}  // namespace
}  // namespace quire
