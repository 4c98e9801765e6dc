#include "dialogue/choice_text.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"

namespace quire {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer kTokenizer = load_tokenizer_json(
      read_json_file(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers/llama2.json", 1 << 24), nullptr);
  return kTokenizer;
}

std::vector<int32_t> ids_of(std::string_view text) {
  return tokenizer().encode(text, {.add_special_tokens = false, .parse_special = false});
}

constexpr int32_t kEnd = 2;  // "</s>"

SampledToken token(int32_t id) {
  SampledToken result;
  result.id = id;
  return result;
}

// All the text of these tokens, the last of them the end.
std::string read(ChoiceText& choice, const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += choice.push(token(id), false).text;
  text += choice.push(token(kEnd), true).text;
  return text + choice.finish().text;
}

TEST(ChoiceText, LeavesOutTheEndToken) {
  for (const bool skip : {false, true}) {
    ChoiceText choice(tokenizer(), {.skip_special_tokens = skip});
    EXPECT_EQ(read(choice, ids_of("two words")), "two words");
    EXPECT_FALSE(choice.is_stopped());
  }
}

TEST(ChoiceText, EndsBeforeAStopString) {
  ChoiceText choice(tokenizer(), {.stops = {"wor"}});
  EXPECT_EQ(read(choice, ids_of("two words and more")), "two ");
  EXPECT_TRUE(choice.is_stopped());
  EXPECT_EQ(choice.stop_string(), "wor");
}

TEST(ChoiceText, LooksForStopStringsOnlyAfterMinTokens) {
  const std::vector<int32_t> ids = ids_of("stop, go on, stop");
  const auto all = static_cast<int64_t>(ids.size());
  ChoiceText late(tokenizer(), {.stops = {"stop"}, .min_tokens = all / 2});
  EXPECT_EQ(read(late, ids), "stop, go on, ");
  ChoiceText never(tokenizer(), {.stops = {"stop"}, .min_tokens = all + 2});
  EXPECT_EQ(read(never, ids), "stop, go on, stop");
}

TEST(ChoiceText, ContinuesATextWithItsSpace) {
  const std::vector<int32_t> before = ids_of("once");
  const std::vector<int32_t> ids = ids_of("upon");
  ChoiceText answer(tokenizer(), {});
  EXPECT_EQ(read(answer, ids), "upon");
  ChoiceText continued(tokenizer(), {}, before);
  EXPECT_EQ(read(continued, ids), " upon");
}

TEST(ChoiceText, GivesTokensWithTheirText) {
  const std::string text = "a \xE2\x82\xAC b";  // the sign is three tokens of a byte each
  const std::vector<int32_t> ids = ids_of(text);
  ChoiceText choice(tokenizer(), {.keep_tokens = true, .first_offset = 10});
  std::string seen;
  std::vector<PieceToken> tokens;
  const auto take = [&](TextPiece piece) {
    seen += piece.text;
    for (PieceToken& token : piece.tokens) tokens.push_back(std::move(token));
  };
  for (const int32_t id : ids) {
    TextPiece piece = choice.push(token(id), false);
    EXPECT_TRUE(!piece.text.empty() || piece.tokens.empty());
    take(std::move(piece));
  }
  take(choice.finish());
  EXPECT_EQ(seen, text);
  ASSERT_EQ(tokens.size(), ids.size());
  EXPECT_GT(ids.size(), 5u);
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(tokens[i].token.id, ids[i]);
    EXPECT_GE(tokens[i].text_offset, i == 0 ? 10 : tokens[i - 1].text_offset);
  }
  EXPECT_EQ(tokens.back().text_offset, 10 + 4);  // the last letter, behind four characters
}

TEST(EchoPiece, HasThePromptsTextAndLogprobs) {
  const std::vector<int32_t> ids = ids_of("two words");
  std::vector<SampledToken> logprobs(ids.size());
  const TextPiece piece = echo_piece(tokenizer(), ids, logprobs, true);
  EXPECT_EQ(piece.text, "two words");
  ASSERT_EQ(piece.tokens.size(), ids.size());
  EXPECT_FALSE(piece.tokens[0].has_logprob);
  EXPECT_EQ(piece.tokens[0].text_offset, 0);
  for (size_t i = 1; i < ids.size(); ++i) {
    EXPECT_TRUE(piece.tokens[i].has_logprob);
    EXPECT_EQ(piece.tokens[i].token.id, ids[i]);
  }
}

}  // namespace
}  // namespace quire
