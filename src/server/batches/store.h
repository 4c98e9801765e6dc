// Files and batches of offline jobs in an SQLite database, so that a restart loses nothing: docs/decisions/0026.
//
// Each belongs to a tenant (the identity of an API key) and does not exist for others. Every call is one transaction.
// Thread-safe. Calls throw Error kIo when the database cannot be read or written.
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

class BatchStore {
 public:
  // Opens or makes the database. Throws Error naming the file.
  explicit BatchStore(const std::string& path);
  ~BatchStore();
  BatchStore(const BatchStore&) = delete;
  BatchStore& operator=(const BatchStore&) = delete;

  // 32 random bytes that stay the same: tenants are known again after a restart.
  std::string secret() const;

  StoredFile add_file(StoredFile file, std::string_view content);  // which gets an id and a time
  std::optional<StoredFile> find_file(std::string_view tenant, std::string_view id) const;
  std::optional<std::string> content(std::string_view tenant, std::string_view id) const;
  std::vector<StoredFile> files(std::string_view tenant) const;  // the newest first
  bool remove_file(std::string_view tenant, std::string_view id);

  BatchJob add_batch(BatchJob batch);  // which gets an id and a time
  std::optional<BatchJob> find_batch(std::string_view tenant, std::string_view id) const;
  std::vector<BatchJob> batches(std::string_view tenant) const;  // the newest first
  // Asks for its end; a final batch stays as it is. Null when there is none.
  std::optional<BatchJob> cancel(std::string_view tenant, std::string_view id);

  // For the runner.
  std::optional<BatchJob> next_unfinished() const;  // the oldest
  BatchStatus status(std::string_view id) const;
  void begin(const std::string& id, int64_t total);             // validating -> in_progress
  void fail(const std::string& id, const std::string& errors);  // validating -> failed
  std::vector<int64_t> finished_lines(std::string_view id) const;
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
