#include "drafting/draft_vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

std::vector<std::string> numbered(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back("t" + std::to_string(i));
  return texts;
}

std::string refusal(const std::vector<std::string>& target, const std::vector<std::string>& draft) {
  try {
    (void)DraftVocabulary({.name = "target", .size = static_cast<int64_t>(target.size()), .texts = target},
                          {.name = "draft", .size = static_cast<int64_t>(draft.size()), .texts = draft});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(DraftVocabulary, EqualTextsAreEqualIdsWhateverThePadding) {
  const std::vector<std::string> texts = numbered(20);
  const DraftVocabulary vocabulary({.size = 24, .texts = texts}, {.size = 32, .texts = texts});
  EXPECT_EQ(vocabulary.target_size(), 24);
  for (int32_t id = 0; id < 24; ++id) EXPECT_EQ(vocabulary.to_draft(id), id);
  const std::vector<float> logits(32, 1.0f);
  EXPECT_EQ(vocabulary.to_target(logits, {}).data(), logits.data());
  EXPECT_EQ(vocabulary.to_target(logits, {}).size(), 24u);
}

TEST(DraftVocabulary, TokensAreFoundByTheirText) {
  const std::vector<std::string> target = numbered(20);
  std::vector<std::string> draft(target.rbegin(), target.rend());
  draft[19] = "other";  // the target's token 0 has no equal
  const DraftVocabulary vocabulary({.size = 21, .texts = target}, {.size = 20, .texts = draft});
  EXPECT_EQ(vocabulary.to_draft(5), 14);
  EXPECT_EQ(vocabulary.to_draft(0), 0);
  EXPECT_EQ(vocabulary.to_draft(20), 0);
  std::vector<float> logits(20);
  for (size_t i = 0; i < 20; ++i) logits[i] = static_cast<float>(i);
  std::vector<float> room(21);
  const std::span<const float> row = vocabulary.to_target(logits, room);
  ASSERT_EQ(row.size(), 21u);
  EXPECT_EQ(row[5], 14.0f);
  EXPECT_EQ(row[19], 0.0f);
  EXPECT_TRUE(std::isinf(row[0]) && row[0] < 0);
  EXPECT_TRUE(std::isinf(row[20]) && row[20] < 0);
}

TEST(DraftVocabulary, RefusesAnotherVocabularyByItsFirstDifference) {
  const std::vector<std::string> target = numbered(20);
  std::vector<std::string> draft = target;
  for (size_t i = 7; i < 10; ++i) draft[i] = "x\n" + std::to_string(i);
  EXPECT_EQ(
      refusal(target, draft),
      "draft cannot draft for target: 17 of the target's 20 tokens are in its vocabulary of 20, expected 9 in 10; "
      "the first difference is token 7, \"t7\" in the target and \"x\\x0a7\" in the draft model. Use a draft model "
      "of the target's family, with the same tokenizer");
  EXPECT_NE(refusal(target, numbered(17)).find("token 17, \"t17\" in the target and not there in the draft model"),
            std::string::npos);
}

TEST(DraftVocabulary, HolesAreNoTokens) {
  std::vector<std::string> target = numbered(20), draft = numbered(20);
  for (size_t i = 0; i < 15; ++i) target[i].clear();
  draft[3].clear();
  draft[19].clear();
  EXPECT_NE(refusal(target, draft).find("4 of the target's 20 tokens"), std::string::npos);
  draft[19] = target[19];
  EXPECT_EQ(refusal(target, draft), "no error");
}

TEST(DraftVocabulary, ListedIdsAreThoseOfTheTarget) {
  const DraftVocabulary vocabulary(8, std::vector<int32_t>{5, 1, 7}, "part");
  EXPECT_EQ(vocabulary.to_target(0), 5);
  EXPECT_EQ(vocabulary.to_draft(7), 2);
  std::vector<float> room(8);
  EXPECT_EQ(vocabulary.to_target(std::vector<float>{1, 2, 3}, room)[1], 2.0f);
  for (const std::vector<int32_t>& wrong : {std::vector<int32_t>{0, 8}, {0, -1}, {3, 3}}) {
    EXPECT_THROW(DraftVocabulary(8, wrong, "part"), Error);
  }
}

TEST(DraftVocabulary, WithoutTextsTheSizesDecide) {
  const DraftVocabulary equal({.size = 8}, {.size = 8});
  EXPECT_EQ(equal.to_draft(7), 7);
  EXPECT_THROW(DraftVocabulary({.size = 8}, {.size = 9}), Error);
}

}  // namespace
}  // namespace quire
