#include "server/endpoints/test_server.h"

namespace quire {
namespace {

class HealthTest : public test::ServerTest {
 protected:
  int status_of(Handler handler) {
    const auto exchange = start_raw(handler, "");
    EXPECT_TRUE(exchange->is_done());
    return exchange->response().status;
  }
};

TEST_F(HealthTest, NoticesAnEngineWithoutProgress) {
  double now = 0;
  make_engine({.now_ms = [&] { return now; }, .stall_ms = 1000});
  now = 1e6;
  EXPECT_EQ(status_of(handle_health), 200);
  const auto exchange = start(handle_completions, {{"prompt", "Once upon a time"}, {"max_tokens", 3}});
  now += 1001;
  EXPECT_EQ(status_of(handle_health), 503) << "a request waits, and no step is made";
  EXPECT_EQ(status_of(handle_readyz), 503);
  EXPECT_EQ(status_of(handle_livez), 200) << "the process answers";
  finish(*exchange);
  EXPECT_EQ(status_of(handle_health), 200);
  now += 1e6;
  EXPECT_EQ(status_of(handle_health), 200) << "there is nothing to do";
}

}  // namespace
}  // namespace quire
