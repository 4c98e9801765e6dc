#include "dialogue/sampling_words.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/json.h"
#include "base/mapped_file.h"

namespace quire {
namespace {

Tokenizer tokenizer(const std::string& name) {
  const std::string path = QUIRE_SOURCE_DIR "/tests/data/tokenizers/" + name + ".json";
  return load_tokenizer_json(parse_json(read_text_file(path, 64 << 20), path), nullptr);
}

std::vector<std::string> texts(const Tokenizer& tokenizer, const TokenSequences& sequences) {
  std::vector<std::string> all;
  for (const std::vector<int32_t>& sequence : sequences) {
    std::string& text = all.emplace_back();
    for (const int32_t id : sequence) text += tokenizer.token_bytes(id);
  }
  std::ranges::sort(all);
  return all;
}

TEST(BadWordTokens, WithAndWithoutASpaceBefore) {
  const Tokenizer qwen2 = tokenizer("qwen2");
  const auto of = [&](const std::vector<std::string>& words) { return texts(qwen2, *bad_word_tokens(qwen2, words)); };
  EXPECT_EQ(of({"the"}), std::vector<std::string>({" the", "the"}));
  EXPECT_EQ(of({" the"}), of({"the"}));
  EXPECT_EQ(of({"the", "the"}), of({"the"}));
  EXPECT_EQ(of({"over there", "x"}), std::vector<std::string>({" over there", " x", "over there", "x"}));
  const TokenSequences spaces = *bad_word_tokens(qwen2, std::vector<std::string>{" "});
  EXPECT_EQ(texts(qwen2, spaces), std::vector<std::string>({"", " "})) << "a word without a token is left out later";
}

// Every token is one of a breaker's ways exactly when its bytes say so.
TEST(DryBreakerTokens, TokensThatHoldTheBreakerOrBeginIt) {
  const Tokenizer gpt2 = tokenizer("gpt2");
  const TokenSequences defaults = *dry_breaker_tokens(gpt2, kDefaultDryBreakers);
  EXPECT_TRUE(std::ranges::is_sorted(defaults));
  for (int32_t id = 0; id < gpt2.vocab_size(); ++id) {
    const bool holds_one = gpt2.token_bytes(id).find_first_of("\n:\"*") != std::string::npos;
    EXPECT_EQ(std::ranges::binary_search(defaults, std::vector<int32_t>{id}), holds_one) << gpt2.token_text(id);
  }
  const std::vector<std::string> user = {"\nUser"};
  const TokenSequences ways = *dry_breaker_tokens(gpt2, user);
  EXPECT_FALSE(ways.empty());
  for (const std::vector<int32_t>& way : ways) {
    const std::string text = texts(gpt2, {way}).front();
    EXPECT_NE(text.find("\nUser"), std::string::npos);
    if (way.size() > 1) {
      EXPECT_TRUE(text.ends_with("\nUser"));
    }
  }
  // The newline and what the tokenizer makes of the rest, which is the usual way.
  const int32_t newline = gpt2.find_token("\u010a").value();
  EXPECT_TRUE(std::ranges::any_of(ways, [&](const auto& way) { return way.size() > 1 && way.front() == newline; }));
  EXPECT_TRUE(dry_breaker_tokens(gpt2, {})->empty());
}

}  // namespace
}  // namespace quire
