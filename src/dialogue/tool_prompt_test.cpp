#include "dialogue/tool_prompt.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/mapped_file.h"
#include "dialogue/reasoning.h"

namespace quire {
namespace {

const std::vector<Tool> kTools = {
    {.name = "add", .description = "adds", .parameters = {{"type", "object"}, {"required", json::array{"a"}}}},
    {.name = "stop"}};

json::array messages_of(const char* text) { return parse_json(text, "messages").as_array(); }

TEST(ToolPrompt, ToolsHaveOpenAisForm) {
  EXPECT_EQ(json::serialize(tools_as_json(kTools)),
            R"([{"type":"function","function":{"name":"add","description":"adds",)"
            R"("parameters":{"type":"object","required":["a"]}}},)"
            R"({"type":"function","function":{"name":"stop","parameters":{"type":"object","properties":{}}}}])");
}

TEST(ToolPrompt, ATemplateWithoutToolsGetsThemInWords) {
  const auto plain = ChatTemplate::parse("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
  const ToolFormat& generic = generic_tool_format();
  EXPECT_FALSE(tells_tools(plain, generic));
  const json::array given = messages_of(R"([{"role": "user", "content": "hi"},
      {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
      {"role": "tool", "content": "2"}, {"role": "tool", "content": [{"type": "text", "text": "3"}]}])");
  const json::array told = describe_tools(given, kTools, plain, generic);
  ASSERT_EQ(told.size(), 4u);
  EXPECT_EQ(told[0].at("role"), "system");
  const std::string system{told[0].at("content").as_string()};
  EXPECT_NE(system.find(R"({"name":"add","description":"adds","parameters":)"), std::string::npos) << system;
  EXPECT_NE(system.find("<tool_call>\n{\"name\": \""), std::string::npos) << system;
  EXPECT_EQ(told[2].at("content"), "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\":1}}\n</tool_call>");
  EXPECT_FALSE(told[2].as_object().contains("tool_calls"));
  EXPECT_EQ(told[3].at("role"), "user");
  EXPECT_EQ(told[3].at("content"), "<tool_response>\n2\n</tool_response>\n\n<tool_response>\n3\n</tool_response>");
  // Without tools only what the template would drop becomes text.
  EXPECT_EQ(describe_tools(given, {}, plain, generic)[0].at("role"), "user");
  const auto own = ChatTemplate::parse("{% for m in messages %}{{ m.tool_calls }}{% endfor %}");
  EXPECT_EQ(describe_tools(given, {}, own, generic), given);
}

TEST(ToolPrompt, WithoutSystemMessagesTheFirstMessageTellsIt) {
  const auto gemma = ChatTemplate::parse(
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}");
  const json::array told =
      describe_tools(messages_of(R"([{"role": "user", "content": "hi"}])"), kTools, gemma, generic_tool_format());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].at("content").as_string().ends_with("\n\nhi"));
  const auto system = ChatTemplate::parse("{{ messages[0].content }}");
  EXPECT_TRUE(
      describe_tools(messages_of(R"([{"role": "system", "content": "Be."}, {"role": "user", "content": "hi"}])"),
                     kTools, system, generic_tool_format())[0]
          .at("content")
          .as_string()
          .starts_with("Be.\n\n# Tools"));
}

// What is found in the templates of real models.
TEST(ToolPrompt, RealTemplatesAreKnownByTheirMarks) {
  const char* const data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA is not set";
  struct Row {
    const char* name;
    const char* tools;
    const char* reasoning;
  };
  const Row rows[] = {
      {"Apertus-8B-Instruct", "generic", ""},
      {"Apriel-1.6-15b-Thinker-fixed", "tool_calls", ""},
      {"Bielik-11B-v3.0-Instruct", "hermes", "think"},
      {"ByteDance-Seed-OSS", "qwen3_coder", "seed_oss"},
      {"Cohere2MoE", "cohere", "cohere"},
      {"CohereForAI-c4ai-command-r-plus-tool_use", "generic", ""},
      {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "cohere", "cohere"},
      {"GLM-4.6", "glm45", "think"},
      {"GLM-4.7-Flash", "glm45", "think"},
      {"GigaChat3-10B-A1.8B", "generic", ""},
      {"GigaChat3.1-10B-A1.8B", "generic", ""},
      {"HuggingFaceTB-SmolLM3-3B", "generic", "think"},
      {"Kimi-K2-Instruct", "kimi_k2", ""},
      {"Kimi-K2-Thinking", "kimi_k2", "think"},
      {"Kimi-K3", "generic", ""},
      {"LFM2-8B-A1B", "lfm2", ""},
      {"LFM2.5-8B-A1B", "lfm2", "think"},
      {"LFM2.5-Instruct", "generic", "think"},
      {"MiMo-VL", "hermes", ""},
      {"MiniMax-M1", "tool_calls", ""},
      {"MiniMax-M2", "minimax_m2", "think"},
      {"MiniMax-M3", "generic", ""},
      {"Mistral-Small-3.2-24B-Instruct-2506", "mistral_args", ""},
      {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen3_coder", "think"},
      {"NVIDIA-Nemotron-Nano-v2", "nemotron", "think"},
      {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes", ""},
      {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes", ""},
      {"Qwen-QwQ-32B", "hermes", "think"},
      {"Qwen-Qwen2.5-7B-Instruct", "hermes", ""},
      {"Qwen-Qwen3-0.6B", "hermes", "think"},
      {"Qwen3-Coder", "qwen3_coder", ""},
      {"Qwen3.5-4B", "qwen3_coder", "think"},
      {"Reka-Edge", "hermes", "think"},
      {"StepFun3.5-Flash", "qwen3_coder", "think"},
      {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek_v3", "think"},
      {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek_v3", "think"},
      {"deepseek-ai-DeepSeek-V3.1", "deepseek_v3_1", "think"},
      {"deepseek-ai-DeepSeek-V3.2", "deepseek_v3_2", "think"},
      {"deepseek-ai-DeepSeek-V4-Flash-0731", "deepseek_v3_2", "think"},
      {"deepseek-ai-DeepSeek-V4", "deepseek_v3_2", "think"},
      {"fireworks-ai-llama-3-firefunction-v2", "functools", ""},
      {"google-gemma-2-2b-it", "generic", ""},
      {"google-gemma-4-31B-it-interleaved", "gemma4", "gemma4"},
      {"google-gemma-4-31B-it", "gemma4", "gemma4"},
      {"ibm-granite-granite-3.3-2B-Instruct", "granite", "think"},
      {"ibm-granite-granite-4.0", "hermes", ""},
      {"ibm-granite-granite-4.1", "hermes", ""},
      {"llama-cpp-deepseek-r1", "deepseek_v3", "think"},
      {"llama-cpp-rwkv-world", "generic", "think"},
      {"meetkai-functionary-medium-v3.1", "functionary_v3_1", ""},
      {"meetkai-functionary-medium-v3.2", "generic", ""},
      {"meta-llama-Llama-3.1-8B-Instruct", "llama3_json", ""},
      {"meta-llama-Llama-3.2-3B-Instruct", "llama3_json", ""},
      {"meta-llama-Llama-3.3-70B-Instruct", "llama3_json", ""},
      {"microsoft-Phi-3.5-mini-instruct", "generic", ""},
      {"mistralai-Ministral-3-14B-Reasoning-2512", "mistral_args", "mistral"},
      {"mistralai-Mistral-Nemo-Instruct-2407", "mistral", ""},
      {"moonshotai-Kimi-K2", "kimi_k2", ""},
      {"muse-glimmer", "generic", ""},
      {"openai-gpt-oss-120b", "harmony", "harmony"},
      {"openbmb-MiniCPM5-1B", "generic", "think"},
      {"poolside-Laguna-S-2.1", "glm45", "think"},
      {"poolside-Laguna-XS-2.1", "glm45", "think"},
      {"poolside-Laguna-XS.2", "glm45", "think"},
      {"tencent-Hy3", "generic", ""},
      {"unsloth-Apriel-1.5", "tool_calls", ""},
      {"unsloth-mistral-Devstral-Small-2507", "mistral_args", ""},
      {"upstage-Solar-Open-100B", "generic", ""},
  };
  size_t num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(data) / "templates")) {
    if (entry.path().extension() == ".jinja") ++num_files;
  }
  EXPECT_EQ(num_files, std::size(rows));
  for (const Row& row : rows) {
    const std::string source =
        read_text_file(std::filesystem::path(data) / "templates" / (std::string(row.name) + ".jinja"), 1 << 20);
    EXPECT_EQ(detect_tool_format(source).name, row.tools) << row.name;
    const ReasoningFormat* reasoning = detect_reasoning_format(source);
    EXPECT_EQ(reasoning == nullptr ? "" : reasoning->name, row.reasoning) << row.name;
  }
}

}  // namespace
}  // namespace quire
