// Files and batches of offline jobs in an SQLite database, so that a restart loses nothing: docs/decisions/0025.
//
// Each belongs to a tenant (the identity of an API key) and does not exist for others. Every call is one transaction.
// Thread-safe; what reads waits for nothing that writes. Calls throw Error: kIo when the database cannot be read or
// written, another code when this call alone cannot be done.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct StoredFile {
  std::string id;
  std::string tenant;
  std::string name;
  std::string purpose;  // "batch", "batch_output"
  int64_t bytes = 0;
  int64_t created = 0;  // Unix time
};

enum class BatchStatus : uint8_t {
  kValidating,
  kFailed,  // its input is wrong
  kInProgress,
  kFinalizing,
  kCompleted,
  kExpired,
  kCancelling,
  kCancelled,
};

const char* name(BatchStatus status);
// Whether nothing happens to it any more.
bool is_final(BatchStatus status);

struct BatchJob {
  std::string id;
  std::string tenant;
  std::string endpoint;  // "/v1/chat/completions"
  std::string input_file;
  std::string metadata = "null";  // JSON
  BatchStatus status = BatchStatus::kValidating;
  int64_t created = 0;  // Unix time, as the next
  int64_t expires = 0;
  int64_t total = 0;
  int64_t completed = 0;
  int64_t failed = 0;
  std::string output_file = {};  // ids; empty: none
  std::string error_file = {};
  std::string errors = {};  // of a failed one: JSON list
  // When it reached a status; 0: not yet.
  int64_t in_progress_at = 0, finalizing_at = 0, ended_at = 0, cancelling_at = 0;
};

// One finished line of a batch.
struct BatchLine {
  int64_t index = 0;  // in the input file
  bool is_error = false;
  std::string text;  // JSON, without a line's end
};

enum class FileRemoval : uint8_t { kDone, kUnknown, kInUse };  // the last: of a batch that has not ended

class BatchStore {
 public:
  // Opens or makes the database. Throws Error naming the file, also when another process uses it.
  explicit BatchStore(const std::string& path);
  ~BatchStore();
  BatchStore(const BatchStore&) = delete;
  BatchStore& operator=(const BatchStore&) = delete;

  // 32 random bytes that stay the same: tenants are known again after a restart.
  std::string secret() const;

  // Which gets an id and a time. Nothing when the tenant has `most` already.
  std::optional<StoredFile> add_file(StoredFile file, std::string_view content, int64_t most);
  std::optional<StoredFile> find_file(std::string_view tenant, std::string_view id) const;
  std::optional<std::string> content(std::string_view tenant, std::string_view id) const;
  // The newest first, at most so many, from the one after that id; empty: from the first. None after an unknown id.
  std::vector<StoredFile> files(std::string_view tenant, std::string_view after, int64_t most) const;
  FileRemoval remove_file(std::string_view tenant, std::string_view id);

  // Which gets an id and a time. Nothing when `most` of the tenant have not ended. Those that ended are kept, but for
  // the tenant's oldest beyond 1,000, which go with their output and error files.
  std::optional<BatchJob> add_batch(BatchJob batch, int64_t most);
  std::optional<BatchJob> find_batch(std::string_view tenant, std::string_view id) const;
  std::vector<BatchJob> batches(std::string_view tenant, std::string_view after, int64_t most) const;  // as files()
  // Asks for its end; a final batch stays as it is. Null when there is none.
  std::optional<BatchJob> cancel(std::string_view tenant, std::string_view id);

  // For the runner.
  // One that needs no line to be run: it is cancelling, was not validated, or its time is over. Not `but`.
  std::optional<BatchJob> next_to_settle(std::string_view but) const;
  // The oldest in progress of one tenant: of the one that follows `tenant`, so that all have their turn.
  std::optional<BatchJob> next_to_run(std::string_view tenant) const;
  BatchStatus status(std::string_view id) const;
  void begin(const std::string& id, int64_t total);             // validating -> in_progress
  void fail(const std::string& id, const std::string& errors);  // any -> failed; no line is kept
  std::vector<int64_t> finished_lines(std::string_view id) const;
  int64_t finished_bytes(std::string_view id) const;  // of these lines, with their ends
  void finish_line(const std::string& id, const BatchLine& line);
  // Output and error files are made of the finished lines. `status`: completed, expired or cancelled.
  void finish(const BatchJob& batch, BatchStatus status);

  // Called after add_batch() and cancel(), by the caller's thread; it may still run when it has been replaced.
  void on_change(std::function<void()> callback);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

struct ServerContext;
// Throws ApiError 501 where the operator allows no batches.
BatchStore& require_batches(const ServerContext& context);

}  // namespace quire
