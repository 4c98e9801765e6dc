// Every key that is refused, in a file of each kind.
#include "models/loading/refused_keys.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "base/error.h"
#include "models/loading/config.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

using test::as_bytes;
using test::error_of;
using test::tiny_gguf;
using test::TinyDirectory;
using test::TinyGguf;

std::string read_gguf(const std::string& architecture, const std::function<void(GgufWriter&)>& add) {
  const std::string image = tiny_gguf({.architecture = architecture, .more_metadata = add});
  return error_of([&] { (void)read_decoder_config(*Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf")); });
}

std::string with_gguf_key(const std::string& architecture, std::string_view key, float value) {
  return read_gguf(architecture,
                   [&](GgufWriter& writer) { writer.add_float(architecture + "." + std::string(key), value); });
}

TEST(RefusedKeys, OfGguf) {
  for (const RefusedKey& refused : refused_gguf_keys()) {
    const std::string error = with_gguf_key("llama", refused.key, 7);
    EXPECT_EQ(error, "tiny.gguf: \"llama." + std::string(refused.key) + "\" is 7: the model has " +
                         std::string(refused.meaning) + ", which this build does not run");
    for (const double harmless : refused.harmless) {
      EXPECT_EQ(with_gguf_key("llama", refused.key, static_cast<float>(harmless)), "no error") << refused.key;
    }
  }
}

TEST(RefusedKeys, OfGgufInTheTypesThatFilesHave) {
  const auto refused = [](const std::function<void(GgufWriter&)>& add) { return read_gguf("llama", add); };
  EXPECT_NE(refused([](GgufWriter& writer) { writer.add_bool("llama.attention.causal", false); }), "no error");
  EXPECT_EQ(refused([](GgufWriter& writer) { writer.add_bool("llama.attention.causal", true); }), "no error");
  const auto labels = [](const char* first, uint32_t pooling_type = 4) {
    return [=](GgufWriter& writer) {
      writer.add_uint32("llama.pooling_type", pooling_type);
      writer.add_strings("llama.classifier.output_labels", std::vector<std::string>{first, "no"});
    };
  };
  EXPECT_EQ(refused(labels("yes")), "no error") << "words of the vocabulary";
  EXPECT_NE(refused(labels("yes", 3)), "no error");
  EXPECT_NE(refused(labels("positive")).find("\"llama.classifier.output_labels\" is set: the model has a classifier"),
            std::string::npos);
  EXPECT_NE(refused([](GgufWriter& writer) { writer.add_string("general.type", "adapter"); }), "no error");
  EXPECT_EQ(refused([](GgufWriter& writer) { writer.add_string("general.type", "model"); }), "no error");
}

TEST(RefusedKeys, AKeyThatOnlyRepeatsAnotherIsHarmless) {
  EXPECT_EQ(with_gguf_key("llama", "attention.key_length_swa", 16), "no error");
  EXPECT_NE(with_gguf_key("llama", "attention.key_length_swa", 32), "no error");
}

TEST(RefusedKeys, WhatGemmaReadsIsNotRefusedThere) {
  EXPECT_EQ(with_gguf_key("gemma2", "attn_logit_softcapping", 7), "no error");
  EXPECT_NE(with_gguf_key("qwen2", "attn_logit_softcapping", 7), "no error");
}

json::object config_with(std::string_view key, const json::value& value, std::string_view type = "llama") {
  json::object config{{"architectures", {"LlamaForCausalLM"}},
                      {"model_type", type},
                      {"vocab_size", 8},
                      {"hidden_size", 16},
                      {"intermediate_size", 32},
                      {"num_hidden_layers", 1},
                      {"num_attention_heads", 2},
                      {"max_position_embeddings", 64}};
  config[key] = value;
  return config;
}

std::string read_config(const json::object& config) {
  const TinyDirectory directory(config, {{"x", "F32", {1}}});
  return error_of([&] { (void)read_decoder_config(*Checkpoint::open(directory.path())); });
}

TEST(RefusedKeys, OfConfigurations) {
  for (const RefusedKey& refused : refused_config_keys()) {
    const std::string error = read_config(config_with(refused.key, 7));
    EXPECT_NE(error.find("\"" + std::string(refused.key) + "\" is 7: the model has " + std::string(refused.meaning) +
                         ", which this build does not run"),
              std::string::npos)
        << refused.key << ": " << error;
    EXPECT_EQ(read_config(config_with(refused.key, nullptr)), "no error") << refused.key;
    EXPECT_EQ(read_config(config_with(refused.key, refused.harmless[0])), "no error") << refused.key;
  }
  EXPECT_NE(read_config(config_with("is_causal", false)), "no error");
  EXPECT_EQ(read_config(config_with("is_causal", true)), "no error");
  EXPECT_EQ(read_config(config_with("pruned_heads", json::object())), "no error");
  EXPECT_NE(read_config(config_with("pruned_heads", {{"0", {1}}})), "no error");
  EXPECT_EQ(read_config(config_with("final_logit_softcapping", 30.0, "gemma2")), "no error");
}

TEST(RefusedKeys, TheDocumentationNamesThem) {
  std::ifstream file(QUIRE_SOURCE_DIR "/docs/model-files.md");
  const std::string document{std::istreambuf_iterator<char>(file), {}};
  for (const std::span<const RefusedKey> keys : {refused_gguf_keys(), refused_config_keys()}) {
    for (const RefusedKey& refused : keys) {
      EXPECT_NE(document.find("`" + std::string(refused.key) + "`"), std::string::npos) << refused.key;
    }
  }
}

}  // namespace
}  // namespace quire
