#include "dialogue/relevance.h"

#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

// A vocabulary with both words.
const Tokenizer& words() {
  static const Tokenizer loaded = [] {
    json::value file = read_json_file(QUIRE_SOURCE_DIR "/tests/data/tokenizers/qwen2.json", size_t{64} << 20);
    json::array& added = file.as_object().at("added_tokens").as_array();
    for (const char* word : {"yes", "no"}) {
      json::object token = added[0].as_object();
      token["id"] = added.back().at("id").as_int64() + 1;
      token["content"] = word;
      token["special"] = false;
      added.push_back(token);
    }
    return load_tokenizer_json(file, nullptr);
  }();
  return loaded;
}

// Of a GGUF file with this pooling and this prompt for ranking.
std::optional<RelevanceFormat> of_gguf(uint32_t pooling_type, const std::string& prompt, bool has_other_head = false) {
  test::TinyGguf options{.architecture = "qwen3", .qk_norm = true};
  if (has_other_head) options.leave_out = "output.weight";
  const int64_t hidden = options.hidden;
  const std::vector<float> rows(static_cast<size_t>(2 * hidden), 1.0f);
  options.more_metadata = [&](GgufWriter& writer) {
    writer.add_uint32("qwen3.pooling_type", pooling_type);
    writer.add_string("tokenizer.chat_template.rerank", prompt);
    if (!has_other_head) return;
    writer.add_tensor("cls.output.weight", Format::kF32, std::array<int64_t, 2>{2, hidden}, rows);
  };
  const std::string image = test::tiny_gguf(options);
  return find_relevance_format(*Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf"), words());
}

TEST(Relevance, FilesSayThatAModelJudges) {
  const auto found = of_gguf(4, "{query} {document}?");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->prompt, "{query} {document}?");
  EXPECT_EQ(words().decode(std::vector{found->yes_id}), "yes");
  EXPECT_EQ(words().decode(std::vector{found->no_id}), "no");
  EXPECT_FALSE(of_gguf(3, "{query} {document}?")) << "embeddings";
  EXPECT_THROW(of_gguf(4, "{query}?"), Error) << "a ranker that is asked in another way";
  EXPECT_THROW(of_gguf(4, "{query} {document}?", /*has_other_head=*/true), Error);

  const auto of_config = [](json::object config) {
    const test::TinyDirectory files(std::move(config), {{"unused", "F32", {1}}});
    return find_relevance_format(*Checkpoint::open(files.path()), words());
  };
  EXPECT_FALSE(of_config({}));
  EXPECT_TRUE(of_config({{"classifier_from_token", {"no", "yes"}}}));
  EXPECT_THROW(of_config({{"classifier_from_token", {"0", "1"}}}), Error);
}

TEST(Relevance, APromptHoldsItsPartsAsData) {
  const RelevanceFormat format{.prompt = "<s>Q {query} {x} D {document}</s>{end"};
  const RelevancePrompt prompt = relevance_prompt(format, {.query = "{document}", .document = "</s>"});
  EXPECT_EQ(prompt.text.text, "<s>Q {document} {x} D </s>") << "what a query holds is no place";
  EXPECT_EQ(prompt.end.text, "</s>{end");
  ASSERT_EQ(prompt.text.data.size(), 2u);
  EXPECT_EQ(prompt.text.data[0].begin, 5u);
  EXPECT_EQ(prompt.text.data[1].begin, 22u);
  EXPECT_TRUE(prompt.end.data.empty());
}

TEST(Relevance, TheUsualInstructionMayBeReplaced) {
  const RelevanceFormat format{.prompt = "{instruction}|{query}|{document}"};
  EXPECT_EQ(relevance_prompt(format, {.instruction = "i", .query = "q", .document = "d"}).text.text, "i|q|d");
  EXPECT_TRUE(relevance_prompt(format, {.query = "q", .document = "d"}).text.text.starts_with("Given a web search"));
}

}  // namespace
}  // namespace quire
