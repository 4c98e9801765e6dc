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
#include "server/api_error.h"
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
    int64_t bytes = 0;                  // of the finished lines
    bool is_full = false;               // no answer is kept any more
  };

  void run() {
    while (!is_stopped_) {
      try {
        take_turn();
      } catch (const std::exception& error) {
        log::warning("batches wait, since their store fails: {}", error.what());
        drop();
        *is_changed_ = true;
        std::this_thread::sleep_for(std::chrono::seconds(1));
      }
    }
    drop();
  }

  // What can be done now, then what lines answer.
  void take_turn() {
    if (is_changed_->exchange(false) || Clock::now() >= next_settling_) settle();
    if (job_ == nullptr) take();
    if (job_ != nullptr) isolate(job_->batch.id, [&] { advance(); });
    const bool has_more = job_ != nullptr && !job_->waiting.empty();
    const auto wait = [&] { queue_->run(has_more ? Clock::now() + kLook : next_settling_); };
    if (job_ == nullptr) return wait();
    isolate(job_->batch.id, wait);
  }

  // What cannot be done for this batch alone fails the batch, and the others go on. What cannot be done for any passes.
  template <typename Work>
  void isolate(const std::string& of_batch, const Work& work) {
    // The work may end the job that holds it.
    const std::string id = of_batch;  // NOLINT(performance-unnecessary-copy-initialization)
    try {
      work();
    } catch (const std::exception& error) {
      const auto* const known = dynamic_cast<const Error*>(&error);
      if (known != nullptr && known->code() == ErrorCode::kIo) throw;
      log::warning("{} failed: {}", id, error.what());
      if (job_ != nullptr && job_->batch.id == id) drop();
      store_.fail(id, R"([{"code":"batch_failed","message":"the server could not run this batch; its log says why",)"
                      R"("param":null,"line":null}])");
      queue_->post([] {});  // the next one
    }
  }

  // Batches that wait for their turn need no turn to be validated, cancelled or expired.
  void settle() {
    constexpr std::chrono::minutes kSettleAgain{1};  // the time of some is over
    next_settling_ = Clock::now() + kSettleAgain;
    if (job_ != nullptr) {
      isolate(job_->batch.id, [&] {
        if (store_.status(job_->batch.id) == BatchStatus::kCancelling) end(BatchStatus::kCancelled);
      });
    }
    while (!is_stopped_) {
      const std::optional<BatchJob> batch = store_.next_to_settle(job_ != nullptr ? job_->batch.id : "");
      if (!batch) return;
      isolate(batch->id, [&] {
        if (batch->status == BatchStatus::kCancelling) return store_.finish(*batch, BatchStatus::kCancelled);
        if (batch->status == BatchStatus::kValidating) return validate(*batch);
        expire(*load(*batch));
      });
    }
  }

  void validate(const BatchJob& batch) {
    const std::string content = input_of(batch);
    const std::optional<std::string> errors = find_batch_errors(content, batch.endpoint, context_.limits);
    if (errors) return store_.fail(batch.id, *errors);
    store_.begin(batch.id, static_cast<int64_t>(batch_lines(content).size()));
  }

  void take() {
    const std::optional<BatchJob> batch = store_.next_to_run(last_tenant_);
    if (!batch) return;
    last_tenant_ = batch->tenant;
    isolate(batch->id, [&] { job_ = load(*batch); });
  }

  std::string input_of(const BatchJob& batch) const {
    std::optional<std::string> content = store_.content(batch.tenant, batch.input_file);
    if (!content) fail(ErrorCode::kNotFound, "the input file {} was deleted", batch.input_file);
    return std::move(*content);
  }

  std::unique_ptr<Job> load(const BatchJob& batch) const {
    auto job = std::make_unique<Job>();
    job->batch = batch;
    job->content = input_of(batch);
    job->lines = batch_lines(job->content);
    job->bytes = store_.finished_bytes(batch.id);
    const std::vector<int64_t> finished = store_.finished_lines(batch.id);
    const std::set<int64_t> done(finished.begin(), finished.end());
    for (int64_t i = 0; i < static_cast<int64_t>(job->lines.size()); ++i) {
      if (!done.contains(i)) job->waiting.push_back(i);
    }
    return job;
  }

  void advance() {
    if (std::time(nullptr) >= job_->batch.expires) {
      abandon();
      expire(*job_);
      return let_go();
    }
    while (may_start()) start();
    if (job_->waiting.empty() && job_->running.empty()) end(BatchStatus::kCompleted);
  }

  bool may_start() const {
    if (job_->waiting.empty() || Clock::now() < job_->not_before) return false;
    if (job_->running.size() >= static_cast<size_t>(context_.limits.batch_lines_at_once)) return false;
    const auto& models = context_.models.all();
    return std::all_of(models.begin(), models.end(),
                       [](const ServedModel& model) { return model.engine->status().num_waiting == 0; });
  }

  static std::string request_id(const Job& job, int64_t line) {
    return fmt::format("batch_req_{}_{}", job.batch.id.substr(6), line);
  }

  // Throws ApiError, although the batch was validated: limits may be lower since the server was started again.
  BatchRequest read(const Job& job, int64_t line) const {
    return read_batch_line(job.lines[static_cast<size_t>(line)], job.batch.endpoint, context_.limits);
  }

  // Ends a line that has no answer.
  void refuse(const Job& job, int64_t line, const std::string& custom_id, std::string_view code,
              std::string_view message) {
    const std::string error = "{\"code\":" + json_string(code) + ",\"message\":" + json_string(message) + '}';
    store_.finish_line(
        job.batch.id,
        {.index = line, .is_error = true, .text = line_text(request_id(job, line), custom_id, nullptr, error)});
  }

  void refuse_for_size(int64_t line, const std::string& custom_id) {
    refuse(*job_, line, custom_id, "output_too_large",
           fmt::format("the answers of this batch have more than {} bytes; make several batches of it",
                       context_.limits.batch_output_bytes));
  }

  void start() {
    const int64_t line = job_->waiting.front();
    job_->waiting.pop_front();
    BatchRequest given;
    try {
      given = read(*job_, line);
    } catch (const ApiError& error) {
      return refuse(*job_, line, "", "invalid_line", error.what());
    }
    if (job_->is_full) return refuse_for_size(line, given.custom_id);
    given.body["priority"] = std::numeric_limits<int32_t>::max();
    // Its answer is in the output file; nobody continues it, unless the line says so.
    if (job_->batch.endpoint == "/v1/responses") given.body.emplace("store", false);
    http::Request request;
    request.method = "POST";
    request.path = job_->batch.endpoint;
    request.body = json::serialize(given.body);
    request.id = request_id(*job_, line);
    request.remote = request.client = "batch";
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
    std::string text = line_text(request_id(*job_, line), custom_id, &response, "");
    const int64_t bytes = job_->bytes + static_cast<int64_t>(text.size()) + 1;
    if (job_->is_full || bytes > static_cast<int64_t>(context_.limits.batch_output_bytes)) {
      job_->is_full = true;
      return refuse_for_size(line, custom_id);
    }
    store_.finish_line(job_->batch.id, {.index = line, .is_error = response.status >= 400, .text = std::move(text)});
    job_->bytes = bytes;
  }

  void expire(const Job& job) {
    for (const int64_t line : job.waiting) {
      std::string custom_id;
      try {
        custom_id = read(job, line).custom_id;
      } catch (const ApiError&) {  // it has none that can be read
      }
      refuse(job, line, custom_id, "batch_expired", "this request was not run before the batch expired");
    }
    store_.finish(job.batch, BatchStatus::kExpired);
  }

  void end(BatchStatus status) {
    abandon();
    store_.finish(job_->batch, status);
    let_go();
  }

  void let_go() {
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
  std::string last_tenant_;   // whose batch was taken
  Clock::time_point next_settling_ = {};
  const std::shared_ptr<std::atomic<bool>> is_changed_ = std::make_shared<std::atomic<bool>>(true);
  std::atomic<bool> is_stopped_{false};
  std::thread thread_;
};

BatchRunner::BatchRunner(const ServerContext& context, BatchStore& store, Answer answer)
    : impl_(std::make_unique<Impl>(context, store, std::move(answer))) {}
BatchRunner::~BatchRunner() = default;

}  // namespace quire
