// /v1/rerank and /v1/score.
#include "server/apis/rerank/answer.h"

#include <cmath>

#include "runner_driver.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

class RerankTest : public ServerTest {};

TEST_F(RerankTest, TheQueryItselfIsTheBestDocument) {
  const json::object given = answer(
      handle_rerank, {{"query", "a red fox"}, {"documents", json::array{"the sea", "a red fox", {{"text", "a fox"}}}}});
  const json::array& results = given.at("results").as_array();
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0].at("index"), 1);
  EXPECT_NEAR(results[0].at("relevance_score").to_number<double>(), 1.0, 1e-5);
  EXPECT_EQ(results[0].at("document").at("text"), "a red fox");
  EXPECT_GE(results[1].at("relevance_score").to_number<double>(), results[2].at("relevance_score").to_number<double>());
  EXPECT_GT(given.at("usage").at("total_tokens").as_int64(), 0);
  EXPECT_EQ(given.at("model"), "demo");
}

TEST_F(RerankTest, TheFormIsTheClients) {
  const json::object body{
      {"query", "a"}, {"documents", json::array{"b", "c"}}, {"top_n", 1}, {"return_documents", false}};
  const json::array results = answer(handle_rerank, body).at("results").as_array();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_FALSE(results[0].as_object().contains("document"));
  const auto plain = start(handle_rerank, json::object{{"query", "a"}, {"texts", json::array{"b", "a"}}});
  finish(*plain);
  const json::array list = parse_json(plain->response().body, "answer").as_array();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].at("index"), 1);
  EXPECT_NEAR(list[0].at("score").to_number<double>(), 1.0, 1e-5);
}

TEST_F(RerankTest, ScoresAreThoseOfTheReranking) {
  const json::object ranked = answer(handle_rerank, {{"query", "one"}, {"documents", json::array{"two"}}});
  const json::object scored = answer(handle_score, {{"text_1", "one"}, {"text_2", json::array{"two", "one"}}});
  const json::array& data = scored.at("data").as_array();
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0].at("score"), ranked.at("results").as_array()[0].at("relevance_score"));
  EXPECT_NEAR(data[1].at("score").to_number<double>(), 1.0, 1e-5);
  const json::object pairs =
      answer(handle_score, {{"text_1", json::array{"one", "two"}}, {"text_2", json::array{"one", "one"}}});
  EXPECT_NEAR(pairs.at("data").as_array()[0].at("score").to_number<double>(), 1.0, 1e-5);
  EXPECT_EQ(pairs.at("data").as_array()[1].at("score"), data[0].at("score")) << "the cosine has no direction";
}

TEST_F(RerankTest, WhatIsMissingIsNamed) {
  EXPECT_EQ(error(handle_rerank, {{"documents", json::array{"a"}}}).at("param"), "query");
  EXPECT_EQ(error(handle_rerank, {{"query", "a"}}).at("param"), "documents");
  EXPECT_EQ(error(handle_rerank, {{"query", "a"}, {"documents", json::array{"a", 5}}}).at("param"), "documents[1]");
  EXPECT_EQ(
      error(handle_score, {{"text_1", json::array{"a", "b"}}, {"text_2", json::array{"a", "b", "c"}}}).at("param"),
      "text_1");
}

// A model that is asked for yes or no.
class JudgeTest : public RerankTest {
 protected:
  void SetUp() override {
    RerankTest::SetUp();
    judge_ = TextProcessor::load(checkpoint());
    const auto token = [&](std::string_view word) { return judge_->tokenizer().encode(word).back(); };
    judge_->use_relevance_format(
        {.prompt = "{instruction}|{query}|{document}. Answer:", .yes_id = token("yes"), .no_id = token("no")});
    model_->text = judge_.get();
  }
  // From the logits of a step of its own.
  double expected(const std::string& prompt) const {
    RunnerOptions options;
    options.num_threads = 1;
    options.max_context = 256;
    options.num_blocks = 8;
    const auto runner = ModelRunner::load(checkpoint(), options);
    BlockPool pool(*runner, 0);
    const TestSequence sequence(judge_->encode_rendered(MarkedText{.text = prompt, .data = {}}), pool);
    const std::vector<float> logits = run_alone(*runner, sequence, {256});
    const float* const last = logits.data() + logits.size() - static_cast<size_t>(runner->info().vocab_size);
    const double yes = std::exp(last[judge_->relevance_format()->yes_id]);
    return yes / (yes + std::exp(last[judge_->relevance_format()->no_id]));
  }

  std::unique_ptr<TextProcessor> judge_;
};

TEST_F(JudgeTest, ScoresAreTheSoftmaxOfTwoLogits) {
  const json::object body{{"query", "a fox"}, {"documents", json::array{"the sea", "a fox"}}, {"instruction", "I"}};
  const json::array results = answer(handle_rerank, body).at("results").as_array();
  ASSERT_EQ(results.size(), 2u);
  const double first = expected("I|a fox|the sea. Answer:"), second = expected("I|a fox|a fox. Answer:");
  EXPECT_NE(first, second);
  for (const json::value& result : results) {
    const double score = result.at("relevance_score").to_number<double>();
    EXPECT_NEAR(score, result.at("index") == 0 ? first : second, 1e-6);
  }
  const json::object pairs{
      {"text_1", json::array{"a fox", "b"}}, {"text_2", json::array{"the sea", "c"}}, {"instruction", "I"}};
  const json::array scored = answer(handle_score, pairs).at("data").as_array();
  EXPECT_NEAR(scored[0].at("score").to_number<double>(), first, 1e-6);
  EXPECT_NEAR(scored[1].at("score").to_number<double>(), expected("I|b|c. Answer:"), 1e-6);
  // A pooling asks for embeddings.
  const json::object cosines{{"query", "a fox"}, {"documents", json::array{"a fox"}}, {"pooling", "mean"}};
  EXPECT_NEAR(answer(handle_rerank, cosines).at("results").at(0).at("relevance_score").to_number<double>(), 1.0, 1e-5);
}

TEST_F(JudgeTest, LongDocumentsAreCutAtTheirEnd) {
  std::string document;
  for (int i = 0; i < 300; ++i) document += " fox";
  json::object body{{"query", "a"}, {"documents", json::array{document, "b"}}, {"instruction", "I"}};
  EXPECT_EQ(error(handle_rerank, body).at("param"), "documents[0]");
  body["truncate_prompt_tokens"] = 100;
  const json::object given = answer(handle_rerank, body);
  const auto num_tokens = [&](const char* prompt) {
    return static_cast<int64_t>(judge_->encode_rendered(MarkedText{.text = prompt, .data = {}}).size());
  };
  EXPECT_EQ(given.at("usage").at("total_tokens").as_int64(), 100 + num_tokens("I|a|b. Answer:"));
}

TEST(Rerank, EqualScoresKeepTheirOrder) {
  const Scores scores{.model = "m", .values = {0, 0, 1}, .num_tokens = 4};
  ApiRequest request;
  request.has_plain_scores = true;
  EXPECT_EQ(write_rerank(scores, request, "i"),
            R"([{"index":2,"score":1},{"index":0,"score":0},{"index":1,"score":0}])");
}

}  // namespace
}  // namespace quire::test
