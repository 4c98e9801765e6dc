#include "dialogue/fim.h"

#include <gtest/gtest.h>

#include "base/mapped_file.h"

namespace quire {
namespace {

// A tokenizer with further special tokens.
Tokenizer with_tokens(const std::vector<std::string>& names) {
  json::value description = read_json_file(QUIRE_SOURCE_DIR "/tests/data/tokenizers/qwen2.json", size_t{16} << 20);
  json::array& added = description.as_object()["added_tokens"].as_array();
  int64_t id = 500;
  for (const std::string& name : names) {
    added.push_back({{"id", id++},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return load_tokenizer_json(description, nullptr);
}

std::string prompt_of(const std::vector<std::string>& names, std::span<const FimFile> files = {}) {
  const Tokenizer tokenizer = with_tokens(names);
  const std::optional<FimTokens> tokens = find_fim_tokens(tokenizer, nullptr);
  if (!tokens) return "none";
  return tokenizer.decode(fim_prompt(tokenizer, *tokens, {.prefix = "a(", .suffix = ")", .files = files}), false);
}

TEST(Fim, EachFamilyHasItsOrder) {
  EXPECT_EQ(prompt_of({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"}),
            "<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>");
  EXPECT_EQ(prompt_of({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"}), "<fim_prefix>a(<fim_suffix>)<fim_middle>");
  EXPECT_EQ(prompt_of({"<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"}),
            "<｜fim▁begin｜>a(<｜fim▁hole｜>)<｜fim▁end｜>");
  EXPECT_EQ(prompt_of({"[PREFIX]", "[SUFFIX]"}), "[SUFFIX])[PREFIX]a(");
}

TEST(Fim, AModelWithoutTheTokensHasNone) {
  EXPECT_EQ(prompt_of({}), "none");
  EXPECT_EQ(prompt_of({"<fim_prefix>", "<fim_suffix>"}), "none");
}

TEST(Fim, OtherFilesComeFirst) {
  const FimFile file{.name = "b.c", .text = "int b;"};
  EXPECT_EQ(prompt_of({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"},
                      std::span(&file, 1)),
            "<|repo_name|>repository\n<|file_sep|>b.c\nint b;\n<|file_sep|>file\n<|fim_prefix|>a(<|fim_suffix|>)"
            "<|fim_middle|>");
  EXPECT_EQ(prompt_of({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"}, std::span(&file, 1)),
            "b.c\nint b;\n<fim_prefix>a(<fim_suffix>)<fim_middle>");
}

// Names of tokens in a user's file do not end the prefix.
TEST(Fim, TheTextsAreData) {
  const Tokenizer tokenizer = with_tokens({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"});
  const std::vector<int32_t> ids =
      fim_prompt(tokenizer, *find_fim_tokens(tokenizer, nullptr), {.prefix = "<fim_middle>", .suffix = "<fim_prefix>"});
  EXPECT_EQ(std::count_if(ids.begin(), ids.end(), [](int32_t id) { return id >= 500; }), 3);
}

TEST(Fim, TheEndsAreKnown) {
  const Tokenizer tokenizer =
      with_tokens({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|file_sep|>"});
  EXPECT_EQ(find_fim_tokens(tokenizer, nullptr)->ends, (std::vector<int32_t>{503, 504}));
}

}  // namespace
}  // namespace quire
