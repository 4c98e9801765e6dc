#include "apps/exact_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <numeric>

#include "apps/text_scores.h"
#include "base/error.h"
#include "base/json.h"

namespace quire {
namespace {

// Greedy decoding gives just these tokens when each is the likeliest behind those before it.
bool is_answered(ModelRunner& runner, const ExactQuestion& question, const std::vector<int32_t>& end_ids) {
  const auto length = static_cast<int64_t>(question.ids.size());
  BlockTable blocks(static_cast<size_t>(blocks_for(length)));
  std::iota(blocks.begin(), blocks.end(), 0);
  Batch batch;
  batch.token_ids = question.ids;
  batch.sequences.push_back(
      {.num_tokens = length, .block_tables = {&blocks, 1}, .is_long = runner.info().is_long(length)});
  const int64_t first = length - question.num_answer_tokens - 1;
  for (int64_t row = first; row < length; ++row) batch.logit_rows.push_back(static_cast<int32_t>(row));
  const std::span<const float> logits = runner.run(batch);
  for (int64_t row = first; row < length; ++row) {
    const std::span<const float> values = row_of(logits, static_cast<size_t>(row - first), runner.info());
    const auto likeliest = static_cast<int32_t>(std::ranges::max_element(values) - values.begin());
    const bool is_right = row + 1 < length ? likeliest == question.ids[static_cast<size_t>(row + 1)]
                                           : std::ranges::count(end_ids, likeliest) > 0;
    if (!is_right) return false;
  }
  return true;
}

}  // namespace

std::vector<ExactQuestion> load_questions(const std::string& file, const TextProcessor& processor, int64_t max_tokens) {
  std::ifstream in(file);
  if (!in) fail(ErrorCode::kIo, "cannot read {}", printable(file));
  std::vector<ExactQuestion> questions;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const json::value value = parse_json(line, fmt::format("line {} of {}", number, printable(file)));
    if (!value.is_object()) fail(ErrorCode::kCorrupt, "line {} of {} is no JSON object", number, printable(file));
    const json::array* const messages = find_array(value.get_object(), "messages");
    const std::string answer(find_string(value.get_object(), "answer", ""));
    if (messages == nullptr || answer.empty()) continue;
    ExactQuestion question = {.ids = processor.encode_rendered(processor.render_chat(*messages, true))};
    const std::vector<int32_t> tokens = processor.tokenizer().encode(answer, {.add_special_tokens = false});
    question.num_answer_tokens = std::ssize(tokens);
    question.ids.insert(question.ids.end(), tokens.begin(), tokens.end());
    if (std::ssize(question.ids) <= max_tokens) questions.push_back(std::move(question));
  }
  if (questions.empty()) {
    fail(ErrorCode::kInvalidArgument, "{} has no line with \"messages\" and \"answer\" that fits a window",
         printable(file));
  }
  return questions;
}

double share_of_exact_answers(ModelRunner& runner, const std::vector<ExactQuestion>& questions,
                              const std::vector<int32_t>& end_ids) {
  const auto right = std::ranges::count_if(
      questions, [&](const ExactQuestion& question) { return is_answered(runner, question, end_ids); });
  return static_cast<double>(right) / static_cast<double>(questions.size());
}

}  // namespace quire
