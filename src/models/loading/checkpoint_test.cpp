#include "models/loading/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "models/planning/load_plan.h"
#include "models/running/model_runner.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

using test::as_bytes;
using test::error_of;
using test::tiny_gguf;
using test::TinyDirectory;
using test::TinyGguf;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// The image must outlive the checkpoint.
struct OpenGguf {
  explicit OpenGguf(const TinyGguf& options)
      : image(tiny_gguf(options)), checkpoint(Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf")) {}
  std::string image;
  std::unique_ptr<Checkpoint> checkpoint;
};

TEST(GgufCheckpoint, MetadataBecomesConfigJson) {
  const OpenGguf open({.more_metadata = [](GgufWriter& writer) { writer.add_float("llama.rope.freq_base", 5e5f); }});
  const json::object& config = open.checkpoint->config();
  EXPECT_EQ(config.at("model_type"), "llama");
  EXPECT_EQ(config.at("architectures"), json::array{"LlamaForCausalLM"});
  EXPECT_EQ(get_int(config, "hidden_size"), 64);
  EXPECT_EQ(get_int(config, "intermediate_size"), 96);
  EXPECT_EQ(get_int(config, "num_hidden_layers"), 2);
  EXPECT_EQ(get_int(config, "num_attention_heads"), 4);
  EXPECT_EQ(get_int(config, "num_key_value_heads"), 2);
  EXPECT_EQ(get_int(config, "head_dim"), 16);
  EXPECT_EQ(get_int(config, "vocab_size"), 64);
  EXPECT_EQ(get_int(config, "max_position_embeddings"), 256);
  EXPECT_NEAR(get_double(config, "rms_norm_eps"), 1e-5, 1e-12);
  EXPECT_EQ(get_double(config, "rope_theta"), 5e5);
  EXPECT_FALSE(find_bool(config, "tie_word_embeddings", true));
  EXPECT_TRUE(open.checkpoint->rope_is_interleaved());
  EXPECT_FALSE(open.checkpoint->norms_include_one());
  EXPECT_TRUE(open.checkpoint->is_gguf());
}

TEST(GgufCheckpoint, TiedWithoutOutputMatrix) {
  const OpenGguf open({.leave_out = "output.weight"});
  EXPECT_TRUE(find_bool(open.checkpoint->config(), "tie_word_embeddings", false));
  EXPECT_TRUE(ModelRunner::info(*open.checkpoint).tied_embeddings);
}

TEST(GgufCheckpoint, Scalings) {
  const OpenGguf yarn({.architecture = "qwen2", .more_metadata = [](GgufWriter& writer) {
                         writer.add_string("qwen2.rope.scaling.type", "yarn");
                         writer.add_float("qwen2.rope.scaling.factor", 4.0f);
                         writer.add_uint32("qwen2.rope.scaling.original_context_length", 64);
                       }});
  const json::object& config = yarn.checkpoint->config();
  EXPECT_EQ(config.at("rope_scaling").as_object().at("rope_type"), "yarn");
  EXPECT_EQ(get_int(config, "original_max_position_embeddings"), 64);
  EXPECT_FALSE(yarn.checkpoint->rope_is_interleaved());
  const OpenGguf linear({.architecture = "gemma3", .more_metadata = [](GgufWriter& writer) {
                           writer.add_string("gemma3.rope.scaling.type", "linear");
                           writer.add_float("gemma3.rope.scaling.factor", 8.0f);
                           writer.add_float("gemma3.rope.freq_base", 1e6f);
                           writer.add_uint32("gemma3.attention.sliding_window", 32);
                         }});
  const json::object& gemma = linear.checkpoint->config();
  EXPECT_EQ(gemma.at("model_type"), "gemma3_text");
  EXPECT_EQ(get_double(gemma.at("rope_scaling").as_object(), "factor"), 8.0);
  EXPECT_EQ(get_double(gemma, "rope_local_base_freq"), 10000.0);
  EXPECT_EQ(get_int(gemma, "sliding_window"), 32);
  EXPECT_EQ(get_int(gemma, "query_pre_attn_scalar"), 16);
  EXPECT_TRUE(linear.checkpoint->norms_include_one());
}

json::object rope_of(const std::function<void(GgufWriter&)>& add) {
  const OpenGguf open({.more_metadata = add});
  return *find_object(open.checkpoint->config(), "rope_scaling");
}

// A factor without a type is a linear one, also under its oldest name; type "none" switches it off.
TEST(GgufCheckpoint, ScalingWithoutAType) {
  const json::object linear{{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(rope_of([](GgufWriter& writer) { writer.add_float("llama.rope.scaling.factor", 4.0f); }), linear);
  EXPECT_EQ(rope_of([](GgufWriter& writer) { writer.add_float("llama.rope.scale_linear", 4.0f); }), linear);
  EXPECT_EQ(rope_of([](GgufWriter& writer) {
              writer.add_float("llama.rope.scale_linear", 2.0f);
              writer.add_float("llama.rope.scaling.factor", 4.0f);
            }),
            linear);
  const json::object plain{{"rope_type", "default"}};
  EXPECT_EQ(rope_of([](GgufWriter&) {}), plain);
  EXPECT_EQ(rope_of([](GgufWriter& writer) { writer.add_float("llama.rope.scaling.factor", 0.0f); }), plain);
  EXPECT_EQ(rope_of([](GgufWriter& writer) {
              writer.add_string("llama.rope.scaling.type", "none");
              writer.add_float("llama.rope.scaling.factor", 4.0f);
            }),
            plain);
}

TEST(GgufCheckpoint, FactorsOfATensorAndALinearScale) {
  const std::vector<float> factors = {1, 2, 3, 4, 5, 6, 7, 8};  // outlive the writer
  const auto rope = [&](const std::function<void(GgufWriter&)>& add) {
    return rope_of([&](GgufWriter& writer) {
      writer.add_tensor("rope_freqs.weight", Format::kF32, std::vector<int64_t>{8}, factors);
      add(writer);
    });
  };
  EXPECT_EQ(rope([](GgufWriter&) {}).at("long_factor").at(7), 8.0);
  EXPECT_EQ(
      rope([](GgufWriter& writer) { writer.add_float("llama.rope.scaling.factor", 4.0f); }).at("short_factor").at(7),
      32.0);
  const std::string error =
      error_of([&] { rope([](GgufWriter& writer) { writer.add_string("llama.rope.scaling.type", "yarn"); }); });
  EXPECT_TRUE(contains(error, "found RoPE type yarn beside a tensor of RoPE factors")) << error;
}

TEST(GgufCheckpoint, WindowsOfGemma3) {
  const auto config = [](const std::function<void(GgufWriter&)>& add) {
    return OpenGguf({.architecture = "gemma3", .more_metadata = add}).checkpoint->config();
  };
  const char* const key = "gemma3.attention.sliding_window_pattern";
  EXPECT_EQ(get_int(config([&](GgufWriter& writer) { writer.add_uint32(key, 3); }), "sliding_window_pattern"), 3);
}

TEST(GgufCheckpoint, RecommendedSampling) {
  const OpenGguf plain({});
  EXPECT_EQ(plain.checkpoint->generation_config(), nullptr);
  const OpenGguf open({.more_metadata = [](GgufWriter& writer) {
    writer.add_float("general.sampling.temp", 0.5f);
    writer.add_uint32("general.sampling.top_k", 20);
  }});
  const json::object expected{{"temperature", 0.5}, {"top_k", 20}};
  ASSERT_NE(open.checkpoint->generation_config(), nullptr);
  EXPECT_EQ(*open.checkpoint->generation_config(), expected);
}

TEST(GgufCheckpoint, UnusedTensorsAndAMissingPreTokenizerAreSaid) {
  const std::vector<float> values(4);  // outlive the writer
  const OpenGguf open({.more_metadata = [&](GgufWriter& writer) {
    writer.add_string("tokenizer.ggml.model", "gpt2");
    writer.add_tensor("blk.0.odd.weight", Format::kF32, std::vector<int64_t>{4}, values);
  }});
  testing::internal::CaptureStderr();
  (void)ModelRunner::load(*open.checkpoint, {.device = "cpu", .max_sequences = 1, .num_blocks = 2});
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(contains(said, "tiny.gguf: 1 of its tensors is not used: blk.0.odd.weight")) << said;
  EXPECT_TRUE(contains(said, "\"tokenizer.ggml.pre\" is missing")) << said;
}

TEST(GgufCheckpoint, Gemma2WithoutItsConstants) {
  const OpenGguf open({.architecture = "gemma2"});
  const json::object& config = open.checkpoint->config();
  EXPECT_EQ(get_double(config, "attn_logit_softcapping"), 50.0);
  EXPECT_EQ(get_double(config, "final_logit_softcapping"), 30.0);
  EXPECT_EQ(get_int(config, "sliding_window"), 4096);
}

TEST(GgufCheckpoint, TensorsUnderHuggingFaceNames) {
  const OpenGguf open({});
  const Checkpoint& checkpoint = *open.checkpoint;
  const TensorView own = *checkpoint.gguf()->find_tensor("blk.1.ffn_norm.weight");
  EXPECT_EQ(checkpoint.tensor("model.layers.1.post_attention_layernorm.weight").data, own.data);
  EXPECT_EQ(checkpoint.tensor("model.layers.0.self_attn.k_proj.weight").shape[0], 32);
  EXPECT_EQ(checkpoint.tensor("lm_head.weight").shape[0], 64);
  EXPECT_FALSE(checkpoint.find_tensor("model.layers.2.mlp.up_proj.weight"));
  EXPECT_FALSE(checkpoint.find_tensor("model.layers.-1.mlp.up_proj.weight"));
  EXPECT_FALSE(checkpoint.find_tensor("model.layers.99999999999999999999.mlp.up_proj.weight"));
  EXPECT_FALSE(checkpoint.find_tensor("model.layers."));
  EXPECT_TRUE(contains(error_of([&] { (void)checkpoint.tensor("model.layers.7.mlp.up_proj.weight"); }),
                       "tiny.gguf: tensor \"model.layers.7.mlp.up_proj.weight\" is missing"));
  EXPECT_EQ(checkpoint.all_tensors().size(), 3u + 2 * 9);
}

TEST(GgufCheckpoint, ExpertsAreViewsIntoTheStack) {
  const OpenGguf open({.experts = 4});
  EXPECT_EQ(open.checkpoint->config().at("model_type"), "mixtral");
  const TensorView stack = *open.checkpoint->gguf()->find_tensor("blk.0.ffn_down_exps.weight");
  const TensorView expert = open.checkpoint->tensor("model.layers.0.block_sparse_moe.experts.3.w2.weight");
  EXPECT_EQ(shape_text(expert.dimensions()), "[64, 96]");
  EXPECT_EQ(expert.data, stack.data + 3 * 64 * 96 * sizeof(float));
  EXPECT_FALSE(open.checkpoint->find_tensor("model.layers.0.block_sparse_moe.experts.4.w2.weight"));
}

TEST(GgufCheckpoint, UnknownArchitectureIsOneLine) {
  const std::string error = error_of([] { OpenGguf({.architecture = "mamba"}); });
  EXPECT_TRUE(contains(error, "found architecture mamba in tiny.gguf; this build knows llama, ")) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

json::object llama_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 8},
          {"hidden_size", 16},
          {"intermediate_size", 32},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 2},
          {"max_position_embeddings", 64}};
}

std::vector<TinyDirectory::Tensor> llama_tensors(const std::string& prefix = "model.", const char* type = "F32") {
  const std::string layer = prefix + "layers.0.";
  return {{prefix + "embed_tokens.weight", type, {8, 16}},
          {prefix + "norm.weight", "F32", {16}},
          {"lm_head.weight", type, {8, 16}},
          {layer + "input_layernorm.weight", "F32", {16}},
          {layer + "post_attention_layernorm.weight", "F32", {16}},
          {layer + "self_attn.q_proj.weight", type, {16, 16}},
          {layer + "self_attn.k_proj.weight", type, {16, 16}},
          {layer + "self_attn.v_proj.weight", type, {16, 16}},
          {layer + "self_attn.o_proj.weight", type, {16, 16}},
          {layer + "mlp.gate_proj.weight", type, {32, 16}},
          {layer + "mlp.up_proj.weight", type, {32, 16}},
          {layer + "mlp.down_proj.weight", type, {16, 32}}};
}

std::string plan_error(const json::object& config, const std::vector<TinyDirectory::Tensor>& tensors) {
  const TinyDirectory directory(config, tensors);
  return error_of([&] { (void)ModelRunner::plan(*Checkpoint::open(directory.path()), {}); });
}

TEST(DirectoryCheckpoint, CountsAndPlans) {
  const TinyDirectory directory(llama_config(), llama_tensors("model.", "BF16"));
  const auto checkpoint = Checkpoint::open(directory.path());
  const ModelInfo info = ModelRunner::info(*checkpoint);
  EXPECT_EQ(info.num_parameters, 2u * 8 * 16 + 3 * 16 + 4 * 16 * 16 + 3 * 32 * 16);
  EXPECT_EQ(info.head_dim, 8);
  EXPECT_EQ(info.num_kv_heads, 2);
  const MemoryPlan plan = ModelRunner::plan(*checkpoint, {.device = "cpu", .max_sequences = 3, .num_blocks = 5});
  EXPECT_EQ(plan.num_blocks, 5);
  EXPECT_EQ(plan.kv_bytes_per_token, 1u * 2 * 8 * (2 + 2));
  EXPECT_EQ(plan.mapped_bytes, 8u * 16 * 2);
}

TEST(DirectoryCheckpoint, ReadsTheLanguagePartOfAMultimodalModel) {
  json::object text = llama_config();
  text.erase("architectures");
  const json::object config{{"architectures", {"LlamaForCausalLM"}}, {"model_type", "whole"}, {"text_config", text}};
  std::vector<TinyDirectory::Tensor> tensors = llama_tensors("language_model.model.");
  tensors[2].name = "language_model.lm_head.weight";
  const TinyDirectory directory(config, tensors);
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint->config().at("model_type"), "whole");
  EXPECT_EQ(ModelRunner::info(*checkpoint).hidden_size, 16);
  const TinyDirectory newer(config, llama_tensors("model.language_model."));
  EXPECT_EQ(ModelRunner::info(*Checkpoint::open(newer.path())).hidden_size, 16);
}

// As models for embeddings are saved: a decoder alone.
TEST(DirectoryCheckpoint, NamesWithoutThePrefix) {
  const TinyDirectory directory(llama_config(), llama_tensors(""));
  EXPECT_EQ(ModelRunner::info(*Checkpoint::open(directory.path())).hidden_size, 16);
  json::object config = llama_config();
  config["architectures"] = json::array{"LlamaModel"};
  std::vector<TinyDirectory::Tensor> tensors = llama_tensors("");
  tensors.erase(tensors.begin() + 2);  // the head
  const TinyDirectory headless(config, tensors);
  EXPECT_FALSE(ModelRunner::info(*Checkpoint::open(headless.path())).has_head);
  EXPECT_TRUE(contains(plan_error(llama_config(), tensors), "tensor \"lm_head.weight\" is missing"));
}

std::vector<std::string> unused_of(const json::object& config, const std::vector<TinyDirectory::Tensor>& more) {
  std::vector<TinyDirectory::Tensor> tensors = llama_tensors();
  tensors.insert(tensors.end(), more.begin(), more.end());
  const TinyDirectory directory(config, tensors);
  return plan_load(*Checkpoint::open(directory.path()), {.device = "cpu"}).unused_tensors;
}

TEST(DirectoryCheckpoint, UnusedTensorsAreCounted) {
  EXPECT_EQ(unused_of(llama_config(), {}), std::vector<std::string>{});
  // Tables that older files hold, which follow from the configuration.
  EXPECT_EQ(unused_of(llama_config(), {{"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {4}}}),
            std::vector<std::string>{});
  const std::vector<std::string> expected = {"model.layers.0.self_attn.q_proj.bias",
                                             "model.layers.1.mlp.up_proj.weight", "vision.x"};
  EXPECT_EQ(unused_of(llama_config(), {{"vision.x", "F32", {4}},
                                       {"model.layers.1.mlp.up_proj.weight", "F32", {4}},
                                       {"model.layers.0.self_attn.q_proj.bias", "F32", {16}}}),
            expected);
  json::object tied = llama_config();
  tied["tie_word_embeddings"] = true;
  EXPECT_EQ(unused_of(tied, {}), std::vector<std::string>{});
}

int64_t context_of(const char* scaling, const json::object& more = {}) {
  json::object config = llama_config();
  config["max_position_embeddings"] = 256;
  config["rope_scaling"] = json::parse(scaling);
  for (const auto& [key, value] : more) config[key] = value;
  const TinyDirectory directory(config, llama_tensors());
  return ModelRunner::info(*Checkpoint::open(directory.path())).max_context;
}

// max_position_embeddings counts positions before scaling, unless those of the first training are named apart.
TEST(DirectoryCheckpoint, ContextOfScaledRope) {
  EXPECT_EQ(context_of(R"({"rope_type": "yarn", "factor": 4.0})"), 1024);
  EXPECT_EQ(context_of(R"({"type": "linear", "factor": 4.0})"), 1024);
  EXPECT_EQ(context_of(R"({"type": "dynamic", "factor": 4.0})"), 1024);
  EXPECT_EQ(context_of(R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})"), 256);
  EXPECT_EQ(context_of(R"({"rope_type": "yarn", "factor": 4.0})", {{"original_max_position_embeddings", 64}}), 256);
  // Named apart, but not counted: as Qwen 2.5 asks its users to write it.
  EXPECT_EQ(context_of(R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256})"), 1024);
  EXPECT_EQ(context_of(R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 64})"),
            256);
}

TEST(DirectoryCheckpoint, RefusesWithNamesAndNumbers) {
  json::object config = llama_config();
  config["architectures"] = json::array{"MambaForCausalLM"};
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "found architecture MambaForCausalLM in "));
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "Qwen3MoeForCausalLM"));

  config = llama_config();
  config["quantization_config"] = {{"quant_method", "exl2"}, {"bits", 4}};
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "quantised with \"exl2\""));
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "this build reads gptq, awq, compressed-tensors, fp8"));

  std::vector<TinyDirectory::Tensor> tensors = llama_tensors();
  tensors.back().shape = {16, 31};
  EXPECT_TRUE(contains(plan_error(llama_config(), tensors),
                       "tensor \"model.layers.0.mlp.down_proj.weight\" has the shape [16, 31], expected [16, 32]"));
  tensors.pop_back();
  EXPECT_TRUE(
      contains(plan_error(llama_config(), tensors), "tensor \"model.layers.0.mlp.down_proj.weight\" is missing"));
  tensors = llama_tensors();
  tensors.back().type = "I32";
  EXPECT_TRUE(contains(plan_error(llama_config(), tensors), "is I32, expected a weight format: F32, F16"));
}

TEST(DirectoryCheckpoint, RefusesImpossibleSizes) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "head_dim",
                          "max_position_embeddings", "intermediate_size", "num_key_value_heads"}) {
    for (const int64_t value : {int64_t{0}, int64_t{-4}, int64_t{1} << 40}) {
      json::object config = llama_config();
      config[key] = value;
      EXPECT_TRUE(contains(plan_error(config, llama_tensors()), std::string("\"") + key + "\" is ")) << key << value;
    }
  }
  json::object config = llama_config();
  config["num_attention_heads"] = 3;
  config["num_key_value_heads"] = 2;
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "not a multiple"));
  config = llama_config();
  config["head_dim"] = 1024;
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "heads of 1024 dimensions; this build knows up to 512"));
  config = llama_config();
  config.erase("hidden_size");
  EXPECT_TRUE(contains(plan_error(config, llama_tensors()), "\"hidden_size\" is missing"));
}

TEST(Checkpoint, NamesTheExpectedFiles) {
  EXPECT_TRUE(contains(error_of([] { (void)Checkpoint::open("/nonexistent/x"); }), "expected a model directory or a"));
  EXPECT_TRUE(contains(error_of([] { (void)Checkpoint::open(std::filesystem::temp_directory_path()); }),
                       "found no config.json"));
}

}  // namespace
}  // namespace quire
