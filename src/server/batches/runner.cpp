#include "server/batches/runner.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <ctime>
#include <deque>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "server/apis/json_text.h"
#include "server/batches/input.h"
#include "server/batches/job_exchange.h"

namespace quire {
namespace {

using Clock = TaskQueue::Clock;
constexpr std::chrono::milliseconds kLook{20};  // how often it is asked whether live requests still wait

// A line of an output or error file. `body` and `error`: JSON.
std::string line_text(const std::string& request_id, const std::string& custom_id, const http::Response* response,
                      const std::string& error) {
  std::string out = "{\"id\":" + json_string(request_id) + ",\"custom_id\":" + json_string(custom_id);
  if (response == nullptr) return out + ",\"response\":null,\"error\":" + error + '}';
  out += fmt::format(",\"response\":{{\"status_code\":{},\"request_id\":", response->status);
  return out + json_string(request_id) + ",\"body\":" + response->body + "},\"error\":null}";
}

// Of a refusal that may succeed later.
std::chrono::milliseconds delay_of(const http::Response& refusal) {
  constexpr std::chrono::milliseconds kLeast{100}, kMost{5000};
  const std::string_view text = refusal.header("retry-after-ms");
  int64_t ms = 0;
  std::from_chars(text.data(), text.data() + text.size(), ms);
  return std::clamp(std::chrono::milliseconds(ms), kLeast, kMost);
}

}  // namespace

class BatchRunner::Impl {
 public:
  Impl(const ServerContext& context, BatchStore& store, Answer answer)
      : context_(context), store_(store), answer_(std::move(answer)) {
    store_.on_change([queue = queue_, is_changed = is_changed_] {
      *is_changed = true;
      queue->post([] {});  // to look now
    });
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    is_stopped_ = true;
    queue_->post([] {});
    thread_.join();
    store_.on_change({});
    queue_->close();
  }

 private:
  // The batch that runs.
  struct Job {
    BatchJob batch;
    std::string content;
    std::vector<std::string_view> lines = {};  // of the content
    std::deque<int64_t> waiting = {};
    std::map<int64_t, std::shared_ptr<JobExchange>> running = {};
    Clock::time_point not_before = {};  // of the next start
  };

  void run() {
    while (!is_stopped_) {
      try {
        advance();
        const bool has_more = job_ != nullptr && !job_->waiting.empty();
        queue_->run(Clock::now() + (has_more ? kLook : std::chrono::hours(1)));
      } catch (const std::exception& error) {
        log::warning("batches wait, since their store fails: {}", error.what());
        drop();
        std::this_thread::sleep_for(std::chrono::seconds(1));
      }
    }
    drop();
  }

  // What can be done now.
  void advance() {
    while (job_ == nullptr) {
      *is_changed_ = false;
      std::optional<BatchJob> batch = store_.next_unfinished();
      if (!batch) return;
      take(std::move(*batch));
    }
    if (is_changed_->exchange(false) && store_.status(job_->batch.id) == BatchStatus::kCancelling) {
      return end(BatchStatus::kCancelled);
    }
    if (std::time(nullptr) >= job_->batch.expires) return expire();
    while (may_start()) start();
    if (job_->waiting.empty() && job_->running.empty()) end(BatchStatus::kCompleted);
  }

  void take(BatchJob batch) {
    if (batch.status == BatchStatus::kCancelling) return store_.finish(batch, BatchStatus::kCancelled);
    auto job = std::make_unique<Job>();
    const std::optional<std::string> content = store_.content(batch.tenant, batch.input_file);
    job->content = content.value_or("");
    if (batch.status == BatchStatus::kValidating) {
      const std::optional<std::string> errors = find_batch_errors(job->content, batch.endpoint, context_.limits);
      if (errors) return store_.fail(batch.id, *errors);
      store_.begin(batch.id, static_cast<int64_t>(batch_lines(job->content).size()));
    }
    job->batch = std::move(batch);
    job->lines = batch_lines(job->content);
    const std::vector<int64_t> finished = store_.finished_lines(job->batch.id);
    const std::set<int64_t> done(finished.begin(), finished.end());
    for (int64_t i = 0; i < static_cast<int64_t>(job->lines.size()); ++i) {
      if (!done.contains(i)) job->waiting.push_back(i);
    }
    job_ = std::move(job);
  }

  bool may_start() const {
    if (job_->waiting.empty() || Clock::now() < job_->not_before) return false;
    if (job_->running.size() >= static_cast<size_t>(context_.limits.batch_lines_at_once)) return false;
    const auto& models = context_.models.all();
    return std::all_of(models.begin(), models.end(),
                       [](const ServedModel& model) { return model.engine->status().num_waiting == 0; });
  }

  std::string request_id(int64_t line) const { return fmt::format("batch_req_{}_{}", job_->batch.id.substr(6), line); }

  BatchRequest read(int64_t line) const {
    return read_batch_line(job_->lines[static_cast<size_t>(line)], job_->batch.endpoint, context_.limits);
  }

  void start() {
    const int64_t line = job_->waiting.front();
    job_->waiting.pop_front();
    BatchRequest given = read(line);
    given.body["priority"] = std::numeric_limits<int32_t>::max();
    http::Request request;
    request.method = "POST";
    request.path = job_->batch.endpoint;
    request.body = json::serialize(given.body);
    request.id = request_id(line);
    request.remote = "batch";
    request.tenant = job_->batch.tenant;
    request.received = Clock::now();
    const auto exchange = std::make_shared<JobExchange>(
        queue_, std::move(request),
        [this, line, id = job_->batch.id, custom_id = given.custom_id](const http::Response& response) {
          if (job_ != nullptr && job_->batch.id == id) finished(line, custom_id, response);
        });
    job_->running.emplace(line, exchange);
    answer_(exchange);
  }

  void finished(int64_t line, const std::string& custom_id, const http::Response& response) {
    job_->running.erase(line);
    // No room, or the server leaves: later.
    if (response.status == 429 || response.status == 503) {
      job_->waiting.push_front(line);
      job_->not_before = Clock::now() + delay_of(response);
      return;
    }
    store_.finish_line(job_->batch.id, {.index = line,
                                        .is_error = response.status >= 400,
                                        .text = line_text(request_id(line), custom_id, &response, "")});
  }

  void expire() {
    abandon();
    for (const int64_t line : job_->waiting) {
      constexpr const char* kExpired =
          R"({"code":"batch_expired","message":"this request was not run before the batch expired"})";
      store_.finish_line(job_->batch.id,
                         {.index = line,
                          .is_error = true,
                          .text = line_text(request_id(line), read(line).custom_id, nullptr, kExpired)});
    }
    end(BatchStatus::kExpired);
  }

  void end(BatchStatus status) {
    abandon();
    store_.finish(job_->batch, status);
    job_ = nullptr;
    queue_->post([] {});  // the next one
  }

  // The lines that run become lines that wait.
  void abandon() {
    for (const auto& [line, exchange] : job_->running) {
      exchange->abandon();
      job_->waiting.push_back(line);
    }
    job_->running.clear();
  }

  void drop() {
    if (job_ != nullptr) abandon();
    job_ = nullptr;
  }

  const ServerContext& context_;
  BatchStore& store_;
  const Answer answer_;
  const std::shared_ptr<TaskQueue> queue_ = std::make_shared<TaskQueue>();
  std::unique_ptr<Job> job_;  // null: none
  const std::shared_ptr<std::atomic<bool>> is_changed_ = std::make_shared<std::atomic<bool>>(true);
  std::atomic<bool> is_stopped_{false};
  std::thread thread_;
};

BatchRunner::BatchRunner(const ServerContext& context, BatchStore& store, Answer answer)
    : impl_(std::make_unique<Impl>(context, store, std::move(answer))) {}
BatchRunner::~BatchRunner() = default;

}  // namespace quire
