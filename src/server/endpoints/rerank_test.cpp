// /v1/rerank and /v1/score.
#include "server/apis/rerank/answer.h"

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

TEST(Rerank, EqualScoresKeepTheirOrder) {
  const Embeddings embeddings{.model = "m", .vectors = {{1, 0}, {0, 1}, {0, 1}, {1, 0}}, .num_tokens = {1, 1, 1, 1}};
  ApiRequest request;
  request.has_plain_scores = true;
  EXPECT_EQ(write_rerank(embeddings, request, "i"),
            R"([{"index":2,"score":1},{"index":0,"score":0},{"index":1,"score":0}])");
}

}  // namespace
}  // namespace quire::test
