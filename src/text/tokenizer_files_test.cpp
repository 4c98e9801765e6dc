// Tokenizers in the other kind of file and back: the ids of every case stay what the original library gives.
#include "text/tokenizer_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxFileBytes = 64 << 20;

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers" / name;
}

std::vector<int32_t> ids_of(const json::value& list) {
  std::vector<int32_t> ids;
  for (const json::value& id : list.as_array()) ids.push_back(id.to_number<int32_t>());
  return ids;
}

// Added tokens that take white space with them or stand for whole words are named as lost.
bool has_token_beyond_gguf(const json::value& file, const std::string& text) {
  for (const json::value& token : file.at("added_tokens").as_array()) {
    const bool is_beyond = token.at("lstrip").as_bool() || token.at("rstrip").as_bool() ||
                           token.at("single_word").as_bool() || token.at("normalized").as_bool();
    if (is_beyond && text.find(token.at("content").as_string()) != std::string::npos) return true;
  }
  return false;
}

class PublishedTokenizerFiles : public testing::TestWithParam<const char*> {};

TEST_P(PublishedTokenizerFiles, GiveTheSameIdsInGgufAndBack) {
  const json::value file = read_json_file(data(std::string(GetParam()) + ".json"), kMaxFileBytes);
  std::vector<std::string> lost;
  const GgufVocabulary vocabulary = gguf_vocabulary_of(file, nullptr, 0, lost);
  const Tokenizer gguf = load_gguf_vocabulary(vocabulary);
  const json::value written = tokenizer_json_of(vocabulary);
  const json::value config = tokenizer_config_of(vocabulary);
  const Tokenizer back = load_tokenizer_json(written, &config);
  const json::value cases = read_json_file(data(std::string(GetParam()) + ".cases.json"), kMaxFileBytes);
  int num_cases = 0;
  for (const json::value& one : cases.as_array()) {
    const std::string text(one.at("text").as_string());
    if (has_token_beyond_gguf(file, text)) continue;
    SCOPED_TRACE(text);
    ++num_cases;
    EXPECT_EQ(gguf.encode(text, {.add_special_tokens = false}), ids_of(one.at("ids")));
    EXPECT_EQ(back.encode(text, {.add_special_tokens = false}), ids_of(one.at("ids")));
    EXPECT_EQ(back.decode(ids_of(one.at("ids"))), one.at("decoded").as_string());
  }
  EXPECT_GE(num_cases, 10);
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTokenizerFiles,
                         testing::Values("bloom", "gpt4o", "llama2", "llama3", "qwen2", "starcoder"),
                         [](const auto& test) { return std::string(test.param); });

TEST(WrittenTokenizers, OfOtherKindsAreRefusedByName) {
  const auto refusal = [](const char* name) {
    try {
      std::vector<std::string> lost;
      gguf_vocabulary_of(read_json_file(data(name), kMaxFileBytes), nullptr, 0, lost);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(refusal("gpt2.json").find("a blank before the text"), std::string::npos);
  EXPECT_NE(refusal("unigram.json").find("the tokenizer is a Unigram"), std::string::npos);
  EXPECT_NE(refusal("wordpiece.json").find("the tokenizer is a WordPiece"), std::string::npos);
}

}  // namespace
}  // namespace quire
