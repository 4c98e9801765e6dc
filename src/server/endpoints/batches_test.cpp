// /v1/files and /v1/batches, and the runner of the batches.
#include <filesystem>
#include <mutex>
#include <sstream>
#include <thread>

#include "server/batches/database.h"
#include "server/batches/runner.h"
#include "server/batches/store.h"
#include "server/endpoints/test_server.h"

namespace quire::test {
namespace {

class BatchesTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    path_ =
        testing::TempDir() + "/batches_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".sqlite";
    for (const char* end : {"", "-wal", "-shm", "-lock"}) std::filesystem::remove(path_ + end);
    open();
  }
  void TearDown() override {
    close();
    for (const char* end : {"", "-wal", "-shm", "-lock"}) std::filesystem::remove(path_ + end);
  }
  void open() {
    store_ = std::make_unique<BatchStore>(path_);
    context_.batches = store_.get();
  }
  void start_runner() {
    runner_ = std::make_unique<BatchRunner>(context_, *store_, [this](const ExchangePtr& exchange) {
      {
        const std::lock_guard lock(mutex_);
        asked_.push_back(exchange->request().id);
      }
      run_route(*find_route("POST", exchange->request().path), context_, exchange);
    });
  }
  std::vector<std::string> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  // As the end of the process does: nothing that runs is finished.
  void close() {
    runner_ = nullptr;
    store_ = nullptr;
    context_.batches = nullptr;
    while (engine_->step()) {
    }
  }

  std::shared_ptr<FakeExchange> call(Handler handler, std::string path, std::string body, http::Headers headers = {},
                                     std::string tenant = "", std::string query = "") {
    const auto exchange = std::make_shared<FakeExchange>(std::move(body));
    exchange->mutable_request().query = std::move(query);
    exchange->mutable_request().path = std::move(path);
    exchange->mutable_request().headers = std::move(headers);
    exchange->mutable_request().tenant = std::move(tenant);
    run(handler, exchange);
    EXPECT_TRUE(exchange->is_done());
    return exchange;
  }
  json::object get(Handler handler, std::string path, int status = 200, std::string body = "") {
    const auto exchange = call(handler, std::move(path), std::move(body));
    EXPECT_EQ(exchange->response().status, status) << exchange->response().body;
    return parse_json(exchange->response().body, "answer").as_object();
  }
  static std::string form_of(std::string_view content) {
    return fmt::format(
        "--xYz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xYz\r\nContent-Disposition: "
        "form-data; name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n"
        "--xYz--\r\n",
        content);
  }
  std::string upload(std::string_view content) {
    const auto exchange = call(handle_upload_file, "/v1/files", form_of(content),
                               {{"content-type", "multipart/form-data; boundary=xYz"}});
    EXPECT_EQ(exchange->response().status, 200) << exchange->response().body;
    return text_of(parse_json(exchange->response().body, "file").at("id"));
  }
  std::string create(const std::string& file, int status = 200, std::string_view endpoint = "/v1/chat/completions") {
    const json::object given = get(handle_create_batch, "/v1/batches", status,
                                   json::serialize(json::object{{"input_file_id", file},
                                                                {"endpoint", endpoint},
                                                                {"completion_window", "24h"},
                                                                {"metadata", {{"a", "b"}}}}));
    return status == 200 ? text_of(given.at("id")) : "";
  }
  json::object batch(const std::string& id) { return get(handle_batch, "/v1/batches/" + id); }
  int64_t num_finished(const std::string& id) {
    const json::object counts = batch(id).at("request_counts").as_object();
    return counts.at("completed").as_int64() + counts.at("failed").as_int64();
  }
  template <typename Condition>
  void step_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "no end in sight";
      if (!engine_->step()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // While no step is made, so that no line ends.
  template <typename Condition>
  void wait_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "no end in sight";
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  json::object finish_batch(const std::string& id) {
    step_until([&] { return is_final(store_->status(id)); });
    return batch(id);
  }
  std::vector<json::object> lines_of(const json::value& file) {
    std::vector<json::object> lines;
    if (file.is_null()) return lines;
    const auto exchange = call(handle_file, "/v1/files/" + text_of(file) + "/content", "");
    std::istringstream all(exchange->response().body);
    for (std::string line; std::getline(all, line);) lines.push_back(parse_json(line, "line").as_object());
    return lines;
  }

  static std::string line(std::string_view id, json::object body) {
    return json::serialize(json::object{
               {"custom_id", id}, {"method", "POST"}, {"url", "/v1/chat/completions"}, {"body", std::move(body)}}) +
           '\n';
  }

  std::string path_;
  std::unique_ptr<BatchStore> store_;
  std::unique_ptr<BatchRunner> runner_;
  std::mutex mutex_;
  std::vector<std::string> asked_;  // ids of lines, whenever one was started
};

TEST_F(BatchesTest, LinesAreAnsweredAsRequestsAre) {
  start_runner();
  const std::string id =
      create(upload(line("one", chat("Hello", {{"max_tokens", 5}})) + "\n" +
                    line("two", chat("Hello", {{"max_tokens", -5}})) + line("three", chat("Hi", {{"max_tokens", 3}}))));
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("status"), "completed");
  EXPECT_EQ(done.at("request_counts"), (json::object{{"total", 3}, {"completed", 2}, {"failed", 1}}));
  EXPECT_EQ(done.at("metadata").at("a"), "b");
  const std::vector<json::object> output = lines_of(done.at("output_file_id"));
  ASSERT_EQ(output.size(), 2u);
  EXPECT_EQ(output[0].at("custom_id"), "one");
  EXPECT_EQ(output[1].at("custom_id"), "three");
  EXPECT_EQ(output[0].at("response").at("status_code"), 200);
  const json::object direct = answer(handle_chat_completions, chat("Hello", {{"max_tokens", 5}}));
  EXPECT_EQ(choice(output[0].at("response").at("body").as_object()).at("message"), choice(direct).at("message"));
  const std::vector<json::object> errors = lines_of(done.at("error_file_id"));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].at("response").at("status_code"), 400);
  EXPECT_EQ(errors[0].at("response").at("body").at("error").at("param"), "max_tokens");
}

TEST_F(BatchesTest, EachEndpointAnswersItsLines) {
  start_runner();
  const auto one = [&](std::string_view url, json::object body) {
    const json::object request{{"custom_id", "a"}, {"method", "POST"}, {"url", url}, {"body", std::move(body)}};
    const json::object done = finish_batch(create(upload(json::serialize(request)), 200, url));
    const std::vector<json::object> output = lines_of(done.at("output_file_id"));
    return output.empty() ? json::object() : output[0].at("response").at("body").as_object();
  };
  EXPECT_EQ(one("/v1/completions", {{"prompt", "a"}, {"max_tokens", 2}}).at("object"), "text_completion");
  EXPECT_EQ(one("/v1/embeddings", {{"input", "a"}}).at("object"), "list");
  const json::object response = one("/v1/responses", {{"input", "a"}, {"max_output_tokens", 16}});
  EXPECT_EQ(response.at("object"), "response");
  EXPECT_EQ(response.at("store"), false) << "nobody asked for it";
  EXPECT_EQ(one("/v1/responses", {{"input", "a"}, {"max_output_tokens", 16}, {"store", true}}).at("store"), true);
}

TEST_F(BatchesTest, ARestartRepeatsNoFinishedLine) {
  std::string input;
  for (int i = 0; i < 12; ++i) input += line(fmt::format("line {}", i), chat("Hello", {{"max_tokens", 4 + 10 * i}}));
  const std::string id = create(upload(input));
  start_runner();
  step_until([&] { return num_finished(id) >= 3; });
  runner_ = nullptr;
  const std::vector<int64_t> finished = store_->finished_lines(id);
  EXPECT_EQ(batch(id).at("status"), "in_progress");
  close();
  asked_.clear();
  open();
  start_runner();
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("request_counts"), (json::object{{"total", 12}, {"completed", 12}, {"failed", 0}}));
  EXPECT_EQ(asked().size(), 12 - finished.size());
  for (const int64_t index : finished) {
    for (const std::string& each : asked()) EXPECT_FALSE(each.ends_with(fmt::format("_{}", index))) << each;
  }
  const std::vector<json::object> output = lines_of(done.at("output_file_id"));
  ASSERT_EQ(output.size(), 12u);
  for (size_t i = 0; i < output.size(); ++i) {
    EXPECT_EQ(text_of(output[i].at("custom_id")), fmt::format("line {}", i));
  }
}

TEST_F(BatchesTest, WrongInputFailsAndNamesItsLines) {
  start_runner();
  const std::string id = create(
      upload(line("one", chat("a")) + "{\n" + line("one", chat("a")) + line("two", chat("a", {{"stream", true}}))));
  step_until([&] { return is_final(store_->status(id)); });
  const json::object failed = batch(id);
  EXPECT_EQ(failed.at("status"), "failed");
  const json::array& errors = failed.at("errors").at("data").as_array();
  ASSERT_EQ(errors.size(), 3u);
  EXPECT_EQ(errors[0].at("line"), 2);
  EXPECT_EQ(errors[1].at("code"), "duplicate_custom_id");
  EXPECT_EQ(errors[2].at("param"), "body.stream");
  EXPECT_TRUE(failed.at("output_file_id").is_null());
}

TEST_F(BatchesTest, ACancelledBatchKeepsWhatIsFinished) {
  std::string input = line("short", chat("Hello", {{"max_tokens", 1}}));
  for (int i = 0; i < 20; ++i)
    input += line(fmt::format("{}", i), chat("Hello", {{"max_tokens", 200}, {"ignore_eos", true}}));
  const std::string id = create(upload(input));
  start_runner();
  step_until([&] { return num_finished(id) >= 1; });
  EXPECT_EQ(get(handle_cancel_batch, "/v1/batches/" + id + "/cancel").at("status"), "cancelling");
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("status"), "cancelled");
  EXPECT_GE(lines_of(done.at("output_file_id")).size(), 1u);
  while (engine_->step()) {
  }
  EXPECT_EQ(engine_->scheduler().blocks().num_active(), 0) << "the lines that ran were cancelled too";
}

TEST_F(BatchesTest, FilesBelongToTheirKey) {
  const std::string file = upload("x\n");
  EXPECT_EQ(get(handle_file, "/v1/files/" + file).at("bytes"), 2);
  for (const Handler handler : {handle_file, handle_delete_file}) {
    EXPECT_EQ(call(handler, "/v1/files/" + file, "", {}, "other")->response().status, 404);
  }
  EXPECT_EQ(parse_json(call(handle_files, "/v1/files", "", {}, "other")->response().body, "list")
                .at("data")
                .as_array()
                .size(),
            0u);
  EXPECT_EQ(get(handle_files, "/v1/files").at("data").as_array().size(), 1u);
  const std::string id = create(file);
  EXPECT_EQ(call(handle_batch, "/v1/batches/" + id, "", {}, "other")->response().status, 404);
  EXPECT_EQ(get(handle_delete_file, "/v1/files/" + file, 400).at("error").at("code"), "file_in_use");
  get(handle_cancel_batch, "/v1/batches/" + id + "/cancel");
  start_runner();
  finish_batch(id);
  EXPECT_EQ(get(handle_delete_file, "/v1/files/" + file).at("deleted"), true);
  EXPECT_EQ(get(handle_file, "/v1/files/" + file + "/content", 404).at("error").at("code"), "file_not_found");
}

TEST_F(BatchesTest, LimitsHoldAtTheirEnds) {
  context_.limits.batch_files = 2;
  context_.limits.batches = 1;
  context_.limits.batch_lines = 2;
  const std::string file =
      upload(line("a", chat("a", {{"max_tokens", 1}})) + line("b", chat("b", {{"max_tokens", 1}})));
  const std::string long_file = upload(line("a", chat("a")) + line("b", chat("b")) + line("c", chat("c")));
  const auto third = call(handle_upload_file, "/v1/files",
                          "--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n--b\r\n"
                          "Content-Disposition: form-data; name=file\r\n\r\nx\r\n--b--",
                          {{"content-type", "multipart/form-data; boundary=b"}});
  EXPECT_EQ(third->response().status, 400);
  EXPECT_NE(third->response().body.find("limit_exceeded"), std::string::npos);
  const std::string id = create(file);
  create(long_file, 400);
  start_runner();
  EXPECT_EQ(finish_batch(id).at("status"), "completed");
  const json::object failed = finish_batch(create(long_file));
  EXPECT_EQ(failed.at("errors").at("data").as_array().at(0).at("code"), "too_many_lines");
}

// No line starts beyond them, and none while a request waits.
TEST_F(BatchesTest, FewLinesRunAtOnceAndLiveRequestsComeFirst) {
  context_.limits.batch_lines_at_once = 2;
  std::string input;
  for (int i = 0; i < 6; ++i) input += line(fmt::format("{}", i), chat("Hello", {{"max_tokens", 3}}));
  const auto live = start(handle_chat_completions, chat("Hello", {{"max_tokens", 20}}));
  const std::string id = create(upload(input));
  start_runner();
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(engine_->status().num_waiting, 1) << "the live request alone";
  int64_t most = 0;
  step_until([&] {
    live->run_posted();
    most = std::max(most, engine_->status().num_running - (live->is_done() ? 0 : 1));
    return is_final(store_->status(id));
  });
  EXPECT_TRUE(live->is_done());
  EXPECT_LE(most, 2);
}

TEST_F(BatchesTest, AnswersBeyondTheLimitAreErrors) {
  context_.limits.batch_lines_at_once = 1;
  context_.limits.batch_output_bytes = 1500;
  std::string input;
  for (int i = 0; i < 8; ++i) input += line(fmt::format("{}", i), chat("Hello", {{"max_tokens", 2}}));
  const std::string id = create(upload(input));
  start_runner();
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("status"), "completed");
  const std::vector<json::object> output = lines_of(done.at("output_file_id"));
  const std::vector<json::object> errors = lines_of(done.at("error_file_id"));
  EXPECT_GE(output.size(), 1u);
  ASSERT_GE(errors.size(), 1u);
  EXPECT_EQ(output.size() + errors.size(), 8u);
  EXPECT_LE(asked().size(), output.size() + 1) << "no line is run whose answer cannot be kept";
  EXPECT_LE(get(handle_file, "/v1/files/" + text_of(done.at("output_file_id"))).at("bytes").as_int64(), 1500);
  for (const json::object& each : errors) EXPECT_EQ(each.at("error").at("code"), "output_too_large");
  EXPECT_EQ(errors.back().at("custom_id"), "7");
}

TEST_F(BatchesTest, ABatchThatCannotBeStoredHoldsNoOtherUp) {
  const std::string file = upload(line("a", chat("Hello", {{"max_tokens", 1}})));
  const std::string bad = create(file);
  const std::string good = create(file);
  Database(path_).run(fmt::format("CREATE TRIGGER refuse BEFORE INSERT ON files WHEN NEW.name = '{}_output.jsonl' "
                                  "BEGIN SELECT RAISE(ABORT, 'refused'); END",
                                  bad)
                          .c_str());
  start_runner();
  EXPECT_EQ(finish_batch(good).at("status"), "completed");
  const json::object failed = finish_batch(bad);
  EXPECT_EQ(failed.at("status"), "failed");
  EXPECT_EQ(failed.at("errors").at("data").at(0).at("code"), "batch_failed");
}

TEST_F(BatchesTest, LinesThatLowerLimitsRefuseAreErrors) {
  const std::string id = create(upload(line("a", chat("Hello", {{"max_tokens", 1}}))));
  start_runner();
  wait_until([&] { return store_->status(id) == BatchStatus::kInProgress; });
  close();
  context_.limits.json_depth = 2;
  open();
  start_runner();
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("status"), "completed");
  EXPECT_EQ(lines_of(done.at("error_file_id")).at(0).at("error").at("code"), "invalid_line");
}

TEST_F(BatchesTest, ABatchIsValidatedAndCancelledBeforeItsTurn) {
  const std::string file = upload(line("a", chat("Hello", {{"max_tokens", 5}})));
  const std::string first = create(file);
  start_runner();
  wait_until([&] { return store_->status(first) == BatchStatus::kInProgress; });
  const std::string wrong = create(upload("{"));
  wait_until([&] { return is_final(store_->status(wrong)); });
  EXPECT_EQ(batch(wrong).at("status"), "failed");
  const std::string second = create(file);
  wait_until([&] { return store_->status(second) == BatchStatus::kInProgress; });
  get(handle_cancel_batch, "/v1/batches/" + second + "/cancel");
  wait_until([&] { return is_final(store_->status(second)); });
  EXPECT_EQ(batch(second).at("status"), "cancelled");
  EXPECT_EQ(batch(first).at("status"), "in_progress");
  EXPECT_EQ(finish_batch(first).at("status"), "completed");
}

TEST_F(BatchesTest, AQueuedBatchExpires) {
  const std::string id = create(upload(line("a", chat("Hello")) + line("b", chat("Hello"))));
  Database(path_).run("UPDATE batches SET expires = 1");
  start_runner();
  const json::object done = finish_batch(id);
  EXPECT_EQ(done.at("status"), "expired");
  const std::vector<json::object> errors = lines_of(done.at("error_file_id"));
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors[1].at("custom_id"), "b");
  EXPECT_EQ(errors[1].at("error").at("code"), "batch_expired");
  EXPECT_TRUE(asked().empty());
}

TEST_F(BatchesTest, TenantsTakeTurns) {
  const auto add = [&](const char* tenant) {
    const StoredFile file = *store_->add_file({.id = "", .tenant = tenant, .name = "a", .purpose = "batch"},
                                              line("a", chat("a", {{"max_tokens", 1}})), 9);
    return store_->add_batch({.id = "", .tenant = tenant, .endpoint = "/v1/chat/completions", .input_file = file.id}, 9)
        ->id;
  };
  const std::string a1 = add("a"), a2 = add("a"), b1 = add("b");
  start_runner();
  step_until([&] { return is_final(store_->status(a2)); });
  const std::vector<std::string> asked = this->asked();
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0], "batch_req_" + a1.substr(6) + "_0");
  EXPECT_EQ(asked[1], "batch_req_" + b1.substr(6) + "_0");
  EXPECT_EQ(asked[2], "batch_req_" + a2.substr(6) + "_0");
}

TEST_F(BatchesTest, ListsComeInPages) {
  const std::string file = upload("x");
  upload("y");
  upload("z");
  const auto page = [&](Handler handler, const std::string& path, const std::string& query) {
    return parse_json(call(handler, path, "", {}, "", query)->response().body, "page").as_object();
  };
  const json::object first = page(handle_files, "/v1/files", "limit=2");
  EXPECT_EQ(first.at("data").as_array().size(), 2u);
  EXPECT_EQ(first.at("has_more"), true);
  const json::object rest = page(handle_files, "/v1/files", "limit=2&after=" + text_of(first.at("last_id")));
  EXPECT_EQ(rest.at("first_id").as_string(), file);
  EXPECT_EQ(rest.at("has_more"), false);
  EXPECT_TRUE(page(handle_files, "/v1/files", "after=none").at("data").as_array().empty());
  const std::string older = create(file);
  create(file);
  const json::object batches = page(handle_batches, "/v1/batches", "limit=1");
  EXPECT_EQ(batches.at("has_more"), true);
  EXPECT_EQ(
      page(handle_batches, "/v1/batches", "limit=1&after=" + text_of(batches.at("last_id"))).at("first_id").as_string(),
      older);
  EXPECT_TRUE(page(handle_batches, "/v1/batches", "limit=101").contains("error"));
}

TEST_F(BatchesTest, OldBatchesAreForgotten) {
  std::vector<std::string> ids;
  for (int i = 0; i < 1002; ++i) {
    ids.push_back(store_->add_batch({.id = "", .tenant = "", .endpoint = "", .input_file = ""}, /*most=*/1)->id);
    store_->fail(ids.back(), "");
  }
  EXPECT_FALSE(store_->find_batch("", ids[0]));
  EXPECT_TRUE(store_->find_batch("", ids[1]));
}

TEST_F(BatchesTest, OneServerAtATimeUsesAStore) {
  EXPECT_THROW(BatchStore second(path_), Error);
  close();
  EXPECT_NO_THROW(BatchStore third(path_));
}

TEST_F(BatchesTest, PackedUploadsAreUnpacked) {
  const auto packed = call(handle_upload_file, "/v1/files", gzipped(form_of("x\n")),
                           {{"content-type", "multipart/form-data; boundary=xYz"}, {"content-encoding", "gzip"}});
  EXPECT_EQ(parse_json(packed->response().body, "file").at("bytes"), 2);
}

TEST_F(BatchesTest, RefusalsSayWhatIsWrong) {
  EXPECT_EQ(call(handle_upload_file, "/v1/files", "{}")->response().status, 400);
  create("file-none", 404);
  EXPECT_EQ(get(handle_create_batch, "/v1/batches", 400, R"({"input_file_id": "f", "endpoint": "/v1/models"})")
                .at("error")
                .at("param"),
            "endpoint");
  close();
  EXPECT_EQ(get(handle_batches, "/v1/batches", 501).at("error").at("code"), "not_supported");
}

}  // namespace
}  // namespace quire::test
