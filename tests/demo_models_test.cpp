// A model of assets/demo that was compressed by training loads as any checkpoint, and answers questions of
// heldout.jsonl as often as when it was trained.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "dialogue/text_processor.h"
#include "engine/engine.h"
#include "models/loading/checkpoint.h"

namespace quire {
namespace {

const std::string kFolder = QUIRE_SOURCE_DIR "/assets/demo/";

struct Question {
  json::array messages;
  std::string answer;
};

// Every `step`-th question that has one right answer.
std::vector<Question> questions(int step) {
  std::ifstream file(kFolder + "heldout.jsonl");
  std::vector<Question> all;
  std::string line;
  for (int number = 0; std::getline(file, line);) {
    const json::value value = json::parse(line);
    const json::object& fields = value.as_object();
    if (get_string(fields, "kind") != "exact" || number++ % step != 0) continue;
    all.push_back({.messages = fields.at("messages").as_array(), .answer = get_string(fields, "answer")});
  }
  return all;
}

std::string answer_of(Engine& engine, const TextProcessor& text, const Question& question) {
  GenerateRequest asked;
  asked.prompt = text.encode_rendered(text.render_chat(question.messages, true));
  asked.max_tokens = 64;
  asked.sampling.temperature = 0.0f;
  asked.eog_ids = text.eog_ids();
  const auto stream = engine.submit(asked).stream;
  while (engine.step()) {
  }
  std::vector<int32_t> ids;
  while (const auto event = stream->try_next()) {
    if (event->has_token) ids.push_back(event->token.id);
  }
  return text.tokenizer().decode(ids);
}

double share_answered(const std::string& model, const std::vector<Question>& asked) {
  const auto checkpoint = Checkpoint::open(kFolder + model);
  const auto text = TextProcessor::load(*checkpoint);
  Engine engine(ModelRunner::load(*checkpoint,
                                  {.num_threads = 2, .max_batch_tokens = 128, .max_sequences = 1, .max_context = 1024}),
                EngineOptions{});
  int right = 0;
  for (const Question& question : asked) right += answer_of(engine, *text, question) == question.answer ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(asked.size());
}

TEST(DemoModels, TrainedCodesAnswerQuestions) {
  const std::vector<Question> asked = questions(2);
  ASSERT_GT(asked.size(), 100u);
  EXPECT_GT(share_answered("student-int4", asked), 0.2) << "a third is usual; of random weights one in thirty";
}

}  // namespace
}  // namespace quire
