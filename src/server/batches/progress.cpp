// How the runner takes batches to their end.
#include "base/check.h"
#include "server/batches/rows.h"
#include "server/batches/store.h"
#include "server/batches/store_impl.h"

namespace quire {
namespace {

// Of the finished lines that are errors, or of the others. Empty when there are none.
std::string make_file(Database& database, const BatchJob& batch, bool of_errors) {
  std::string content;
  Statement lines(database, "SELECT text FROM lines WHERE batch = ? AND is_error = ? ORDER BY line");
  lines.bind(batch.id).bind(int64_t{of_errors});
  while (lines.next()) content += lines.text(0) + '\n';
  if (content.empty()) return "";
  const StoredFile file{.id = random_id("file-"),
                        .tenant = batch.tenant,
                        .name = batch.id + (of_errors ? "_error.jsonl" : "_output.jsonl"),
                        .purpose = "batch_output",
                        .bytes = static_cast<int64_t>(content.size()),
                        .created = unix_time()};
  insert_file(database, file, content);
  return file.id;
}

}  // namespace

std::optional<BatchJob> BatchStore::next_to_settle(std::string_view but) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, fmt::format("SELECT {} FROM batches WHERE ended_at = 0 AND id <> ? AND "
                                            "(status IN (?, ?) OR expires <= ?) ORDER BY number LIMIT 1",
                                            kBatchColumns));
  rows.bind(but).bind(number(BatchStatus::kCancelling)).bind(number(BatchStatus::kValidating)).bind(unix_time());
  if (!rows.next()) return std::nullopt;
  return batch_of(rows);
}

std::optional<BatchJob> BatchStore::next_to_run(std::string_view tenant) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, fmt::format("SELECT {} FROM batches WHERE ended_at = 0 AND status = ? "
                                            "ORDER BY tenant <= ?, tenant, number LIMIT 1",
                                            kBatchColumns));
  rows.bind(number(BatchStatus::kInProgress)).bind(tenant);
  if (!rows.next()) return std::nullopt;
  return batch_of(rows);
}

BatchStatus BatchStore::status(std::string_view id) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, "SELECT status FROM batches WHERE id = ?");
  rows.bind(id);
  return rows.next() ? static_cast<BatchStatus>(rows.number(0)) : BatchStatus::kCancelled;
}

void BatchStore::begin(const std::string& id, int64_t total) {
  const std::lock_guard lock(impl_->mutex);
  Statement(impl_->database, "UPDATE batches SET status = ?, total = ?, in_progress_at = ? WHERE id = ? AND status = ?")
      .bind(number(BatchStatus::kInProgress))
      .bind(total)
      .bind(unix_time())
      .bind(id)
      .bind(number(BatchStatus::kValidating))
      .run();
}

void BatchStore::fail(const std::string& id, const std::string& errors) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  Statement(impl_->database, "UPDATE batches SET status = ?, errors = ?, ended_at = ? WHERE id = ?")
      .bind(number(BatchStatus::kFailed))
      .bind(errors)
      .bind(unix_time())
      .bind(id)
      .run();
  Statement(impl_->database, "DELETE FROM lines WHERE batch = ?").bind(id).run();
  transaction.commit();
}

std::vector<int64_t> BatchStore::finished_lines(std::string_view id) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, "SELECT line FROM lines WHERE batch = ? ORDER BY line");
  rows.bind(id);
  std::vector<int64_t> lines;
  while (rows.next()) lines.push_back(rows.number(0));
  return lines;
}

int64_t BatchStore::finished_bytes(std::string_view id) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, "SELECT COALESCE(SUM(LENGTH(CAST(text AS BLOB)) + 1), 0) FROM lines WHERE batch = ?");
  rows.bind(id);
  CHECK(rows.next());
  return rows.number(0);
}

void BatchStore::finish_line(const std::string& id, const BatchLine& line) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  Statement(impl_->database, "INSERT INTO lines (batch, line, is_error, text) VALUES (?, ?, ?, ?)")
      .bind(id)
      .bind(line.index)
      .bind(int64_t{line.is_error})
      .bind(line.text)
      .run();
  Statement(impl_->database, "UPDATE batches SET completed = completed + ?, failed = failed + ? WHERE id = ?")
      .bind(int64_t{!line.is_error})
      .bind(int64_t{line.is_error})
      .bind(id)
      .run();
  transaction.commit();
}

void BatchStore::finish(const BatchJob& batch, BatchStatus status) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  const int64_t time = unix_time();
  Statement(impl_->database,
            "UPDATE batches SET status = ?, output_file = ?, error_file = ?, finalizing_at = ?, ended_at = ? "
            "WHERE id = ?")
      .bind(number(status))
      .bind(make_file(impl_->database, batch, /*of_errors=*/false))
      .bind(make_file(impl_->database, batch, /*of_errors=*/true))
      .bind(time)
      .bind(time)
      .bind(batch.id)
      .run();
  Statement(impl_->database, "DELETE FROM lines WHERE batch = ?").bind(batch.id).run();
  transaction.commit();
}

}  // namespace quire
