#include "server/endpoints/test_server.h"

namespace quire {
namespace {

class StatusTest : public test::ServerTest {
 protected:
  json::object status(const std::string& query = "") {
    const auto exchange = std::make_shared<test::FakeExchange>("");
    exchange->mutable_request().query = query;
    run(handle_status, exchange);
    EXPECT_TRUE(exchange->is_done());
    return parse_json(exchange->response().body, "status").as_object();
  }
};

TEST_F(StatusTest, HasTheBlocksOfEveryGroup) {
  make_engine({});
  const auto exchange = start(handle_completions, {{"prompt", "Once upon a time"}, {"max_tokens", 3}});
  static_cast<void>(status());  // asks for the map, which the steps draw
  finish(*exchange);
  const json::object engine = status().at("engine").as_object();
  const json::array& groups = engine.at("groups").as_array();
  ASSERT_EQ(groups.size(), 1);
  const json::object& group = groups[0].as_object();
  EXPECT_EQ(group.at("window").as_int64(), 0);
  EXPECT_EQ(group.at("blocks").as_string().size(), static_cast<size_t>(group.at("blocks_total").as_int64()));
  EXPECT_EQ(engine.at("num_aborted").as_int64(), 0);
  EXPECT_EQ(engine.at("num_failed_steps").as_int64(), 0);
  EXPECT_EQ(engine.at("draft_tokens").as_int64(), 0);
  EXPECT_FALSE(engine.at("accepted_by_position").as_array().empty());
}

TEST_F(StatusTest, IsOfTheModelThatTheQueryNames) {
  ServedModel other;
  other.card.id = "org/other";
  context_.models.add(std::move(other));
  const auto model = [this](const char* query) { return status(query).at("model").as_object().at("id").as_string(); };
  EXPECT_EQ(model(""), "demo");
  EXPECT_EQ(model("model=demo&x=1"), "demo");
  EXPECT_EQ(model("x=model=demo&model=org%2Fother"), "org/other");
  EXPECT_TRUE(status("model=org/other").at("engine").is_null());
  EXPECT_EQ(status("model=nobody").at("error").as_object().at("code").as_string(), "model_not_found");
  EXPECT_EQ(model("model=broken%2"), "demo") << "as if it were absent";
}

TEST_F(StatusTest, TellsPercentilesFromNarrowBuckets) {
  make_engine({});
  const double seconds[] = {0.0002, 0.031, 1.0, 77.0, 9500.0};
  for (const double each : seconds) {
    model_->metrics->add_finished({.ttft_s = each, .queue_s = each, .e2e_s = each});
    model_->metrics->add_inter_token(each);
  }
  const json::object latency = status().at("latency").as_object();
  for (const char* name : {"ttft_s", "itl_s", "e2e_s", "queue_s"}) {
    const json::object& histogram = latency.at(name).as_object();
    const json::array& bounds = histogram.at("bounds").as_array();
    const json::array& counts = histogram.at("counts").as_array();
    ASSERT_EQ(counts.size(), bounds.size() + 1);
    for (const double each : seconds) {
      size_t bucket = 0;
      while (bounds.at(bucket).as_double() < each) ++bucket;
      EXPECT_EQ(counts.at(bucket).as_int64(), 1) << name << " " << each;
      EXPECT_LE(bounds.at(bucket).as_double(), each * 1.13) << name;
      EXPECT_GE(bounds.at(bucket - 1).as_double(), each / 1.13) << name;
    }
    EXPECT_EQ(json::serialize(bounds[1]), "1.12E-4") << "a short text: it is sent once a second";
  }
}

}  // namespace
}  // namespace quire
