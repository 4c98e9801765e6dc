#include "dialogue/thinking_budget.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

class ThinkingBudgetTest : public testing::Test {
 protected:
  static const Tokenizer& tokenizer() {
    static const Tokenizer tokenizer = load_tokenizer_json(
        read_json_file(QUIRE_SOURCE_DIR "/tests/data/tokenizers/llama2.json", size_t{16} << 20), nullptr);
    return tokenizer;
  }
  static std::vector<int32_t> ids(std::string_view text) {
    return tokenizer().encode(text, {.add_special_tokens = false});
  }

  // What is written when the model wants `text`, but takes what alone may follow.
  static std::string written(std::string_view text, ThinkingBudget budget) {
    const auto source =
        limit_thinking(tokenizer(), *find_reasoning_format("think"), std::vector<int32_t>{2}, budget, nullptr);
    const auto constraint = source->begin();
    std::vector<int32_t> out;
    for (int32_t id : ids(text)) {
      for (;;) {
        std::vector<uint64_t> mask(mask_words(tokenizer().vocab_size()));
        constraint->fill_mask(mask);
        if (is_in_mask(mask, id)) break;
        std::vector<int32_t> guessed;
        constraint->guess(1, guessed);
        EXPECT_EQ(guessed.size(), 1u);
        if (guessed.empty()) return "";
        EXPECT_TRUE(is_in_mask(mask, guessed[0]));
        constraint->accept(guessed[0]);
        out.push_back(guessed[0]);
      }
      constraint->accept(id);
      out.push_back(id);
    }
    EXPECT_FALSE(constraint->is_complete());
    constraint->accept(2);
    EXPECT_TRUE(constraint->is_complete());
    return tokenizer().decode(out);
  }
};

TEST_F(ThinkingBudgetTest, ForcesTheEndMarkWhenItIsSpent) {
  const std::string thought = "<think>one two three four five six seven eight";
  EXPECT_EQ(written(thought, {.max_tokens = 100}), thought);
  const std::string cut = written(thought, {.max_tokens = 3});
  EXPECT_TRUE(cut.starts_with("<think>one")) << cut;
  EXPECT_NE(cut.find("</think>"), std::string::npos) << cut;
  EXPECT_LT(cut.find("</think>"), thought.size());
  EXPECT_EQ(std::ranges::count(cut, '/'), 1) << cut << ": once is enough";
}

TEST_F(ThinkingBudgetTest, LeavesOtherAnswersAlone) {
  EXPECT_EQ(written("Hello, how are you today?", {.max_tokens = 2}), "Hello, how are you today?");
  const std::string short_thought = "<think>ok</think>Hello, how are you today, my friend?";
  EXPECT_EQ(written(short_thought, {.max_tokens = 12}), short_thought);
}

TEST_F(ThinkingBudgetTest, DraftsAreCutWhereTheEndMarkIsForced) {
  const ThinkingBudget spent = {.max_tokens = 0, .is_open = true};
  const auto constraint =
      limit_thinking(tokenizer(), *find_reasoning_format("think"), std::vector<int32_t>{2}, spent, nullptr)->begin();
  std::vector<int32_t> forced;
  constraint->guess(100, forced);
  ASSERT_GE(forced.size(), 2u);
  std::vector<int32_t> drafts = forced;
  drafts.insert(drafts.end(), {5, 6});
  EXPECT_EQ(constraint->count_fitting(drafts), drafts.size());
  drafts[1] = forced[0] == forced[1] ? forced[1] + 1 : forced[0];
  EXPECT_EQ(constraint->count_fitting(drafts), 1u);
  EXPECT_EQ(constraint->count_fitting(std::vector{forced[0]}), 1u);
  for (const int32_t id : forced) constraint->accept(id);
  EXPECT_EQ(constraint->count_fitting(drafts), drafts.size());
}

TEST_F(ThinkingBudgetTest, CountsReasoningThatThePromptOpened) {
  const std::string cut = written("one two three four", {.max_tokens = 2, .is_open = true});
  EXPECT_NE(cut.find("</think>"), std::string::npos) << cut;
  EXPECT_TRUE(written("one", {.max_tokens = 0, .is_open = true}).starts_with("</think>"));
}

}  // namespace
}  // namespace quire
