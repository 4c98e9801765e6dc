// Grammars that are compiled beside other requests: a compilation stands at a gate, and what must not wait goes past
// it.
#include "server/answers/compile_queue.h"

#include <atomic>
#include <future>
#include <thread>

#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

// A queue of compilations that stand at a gate, over the threads that a server with `num_threads` of them has.
class CompileQueueTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    const Limits& limits = context_.limits;
    const CompileGrammar compile = grammar_compiler(text().tokenizer(), engine_->runner().info().vocab_size,
                                                    text().eog_ids(), grammar_limits(limits));
    model_->grammars = std::make_unique<GrammarCache>(
        [this, compile](const GrammarSpec& spec) {
          {
            const std::lock_guard lock(mutex_);
            begun_.push_back(spec.text);
          }
          if (spec.text.starts_with("slow")) opened_.wait();
          return compile(spec);
        },
        limits.grammar_cache_bytes);
  }
  void TearDown() override { open(); }

  void make_queue(int num_threads, int max_queued = 64) {
    queue_.reset();
    queue_ = std::make_unique<CompileQueue>(CompileQueue::Options{
        .num_threads = num_threads,
        .niceness = 5,
        .max_queued = max_queued,
        .max_wait = std::chrono::seconds(7),
        .on_queued = [this](int change) { num_told_ += change; },
        .answer =
            [this](const ExchangePtr& exchange, const std::function<void()>& work) {
              run_for_route(*find_route("POST", "/v1/chat/completions"), context_, exchange, work);
            }});
    context_.compilations = queue_.get();
  }
  void open() {
    if (std::exchange(is_open_, true)) return;
    gate_.set_value();
  }
  std::shared_ptr<FakeExchange> ask(const std::string& regex, const std::string& client = "a") {
    const json::object body = chat("Hello!", {{"guided_regex", regex}, {"max_tokens", 2}});
    const auto exchange = std::make_shared<FakeExchange>(json::serialize(body));
    exchange->mutable_request().client = client;
    run(handle_chat_completions, exchange);
    exchange->run_posted();
    return exchange;
  }
  std::shared_ptr<FakeExchange> ask_slow(int number, const std::string& client = "a") {
    return ask("slow[ab]{" + std::to_string(number + 1) + "}", client);
  }
  // The grammars whose compilation has begun.
  std::vector<std::string> begun() {
    const std::lock_guard lock(mutex_);
    return begun_;
  }
  void wait_for_begun(size_t count) {
    while (begun().size() != count) std::this_thread::yield();
  }
  // Its compilation ends, and its answer.
  void finish_compiled(FakeExchange& exchange) {
    while (!exchange.is_done()) {
      if (!engine_->step()) std::this_thread::yield();
      exchange.run_posted();
    }
    finish(exchange);
  }

  std::mutex mutex_;
  std::vector<std::string> begun_;
  std::atomic<int> num_told_{0};
  bool is_open_ = false;
  std::promise<void> gate_;
  std::shared_future<void> opened_ = gate_.get_future().share();
  std::unique_ptr<CompileQueue> queue_;
};

TEST_F(CompileQueueTest, NothingElseWaitsForIt) {
  make_queue(2);
  finish_compiled(*ask("fast"));
  std::vector<std::shared_ptr<FakeExchange>> slow;
  for (int i = 0; i < 4; ++i) slow.push_back(ask_slow(i));
  wait_for_begun(3);
  EXPECT_EQ(queue_->num_queued(), 2) << "no more than its threads at once";
  EXPECT_EQ(num_told_, 2);

  EXPECT_TRUE(answer(handle_chat_completions, chat("Hello!", {{"max_tokens", 2}})).contains("choices"));
  EXPECT_TRUE(answer(handle_chat_completions, chat("Hello!", {{"max_tokens", 2}, {"guided_regex", "fast"}}))
                  .contains("choices"))
      << "a grammar that was compiled before";
  EXPECT_EQ(begun().size(), 3u);
  for (const auto& each : slow) EXPECT_FALSE(each->is_done());
  open();
  for (const auto& each : slow) {
    finish_compiled(*each);
    EXPECT_EQ(each->response().status, 200) << each->response().body;
  }
  EXPECT_EQ(num_told_, 0);
}

TEST_F(CompileQueueTest, ClientsTakeTurns) {
  make_queue(1);
  std::vector<std::shared_ptr<FakeExchange>> asked{ask_slow(0)};
  wait_for_begun(1);
  for (const char* regex : {"a", "aa", "aaa"}) asked.push_back(ask(regex, "a"));
  asked.push_back(ask("b", "b"));
  EXPECT_EQ(queue_->num_queued(), 4);
  open();
  for (const auto& each : asked) finish_compiled(*each);
  EXPECT_EQ(begun(), (std::vector<std::string>{"slow[ab]{1}", "a", "b", "aa", "aaa"}));
}

TEST_F(CompileQueueTest, WaitingHasAnEnd) {
  make_queue(1, 2);
  const auto running = ask_slow(0);
  wait_for_begun(1);
  const auto late = ask_slow(1, "a");
  const auto refused = ask_slow(2, "a");
  ASSERT_TRUE(refused->is_done()) << "one client gets half of the queue";
  EXPECT_EQ(refused->response().status, 429);
  EXPECT_NE(refused->response().body.find("compilers_busy"), std::string::npos);
  const auto gone = ask_slow(3, "b");
  EXPECT_EQ(queue_->num_queued(), 2);
  gone->disconnect();
  EXPECT_EQ(queue_->num_queued(), 1) << "a client that leaves takes its work along";

  late->run_timers();
  running->run_timers();
  ASSERT_TRUE(late->is_done());
  EXPECT_EQ(late->response().status, 503);
  EXPECT_NE(late->response().body.find("compile_timeout"), std::string::npos);
  EXPECT_EQ(late->response().header("Retry-After"), "1");
  EXPECT_EQ(queue_->num_queued(), 0);
  EXPECT_FALSE(running->is_done()) << "what runs is not interrupted";
  open();
  finish_compiled(*running);
  EXPECT_EQ(running->response().status, 200);
  EXPECT_EQ(begun().size(), 1u) << "nothing that was dropped or refused";
}

TEST_F(CompileQueueTest, AWrongGrammarIsToldAsEver) {
  make_queue(1);
  const auto wrong = ask("(");
  finish_compiled(*wrong);
  EXPECT_EQ(wrong->response().status, 400);
  EXPECT_NE(wrong->response().body.find("\"param\":\"guided_regex\""), std::string::npos);
}

}  // namespace
}  // namespace quire::test
