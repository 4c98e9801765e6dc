// Files and batches as clients see them; progress.cpp has what the runner does with them.
#include "server/batches/store.h"

#include <sys/stat.h>

#include <array>

#include "base/check.h"
#include "server/api_error.h"
#include "server/batches/rows.h"
#include "server/batches/store_impl.h"
#include "server/context.h"

namespace quire {
namespace {

constexpr std::array kStatusNames = {"validating", "failed",  "in_progress", "finalizing",
                                     "completed",  "expired", "cancelling",  "cancelled"};

// Of a statement that counts what a tenant has.
int64_t count(Database& database, std::string_view sql, std::string_view tenant) {
  Statement rows(database, sql);
  rows.bind(tenant);
  CHECK(rows.next());
  return rows.number(0);
}

void forget_old_batches(Database& database, std::string_view tenant) {
  constexpr int64_t kMostEnded = 1000;
  std::vector<BatchJob> old;
  {
    Statement rows(database,
                   fmt::format("SELECT {} FROM batches WHERE tenant = ? AND ended_at > 0 ORDER BY number DESC "
                               "LIMIT -1 OFFSET ?",
                               kBatchColumns));
    rows.bind(tenant).bind(kMostEnded);
    while (rows.next()) old.push_back(batch_of(rows));
  }
  for (const BatchJob& batch : old) {
    Statement(database, "DELETE FROM files WHERE id IN (?, ?)").bind(batch.output_file).bind(batch.error_file).run();
    Statement(database, "DELETE FROM batches WHERE id = ?").bind(batch.id).run();
  }
}

}  // namespace

const char* name(BatchStatus status) { return kStatusNames.at(static_cast<size_t>(status)); }

bool is_final(BatchStatus status) {
  return status == BatchStatus::kFailed || status == BatchStatus::kCompleted || status == BatchStatus::kExpired ||
         status == BatchStatus::kCancelled;
}

BatchStore::BatchStore(const std::string& path) : impl_(std::make_unique<Impl>(path)) {
  Database& database = impl_->database;
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);  // prompts and answers of others
  // Written ahead, so that the end of the process loses nothing of what was committed.
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = NORMAL");
  make_tables(database, path);
}

BatchStore::~BatchStore() = default;

std::string BatchStore::secret() const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, "SELECT value FROM secrets");
  CHECK(rows.next());
  return rows.text(0);
}

std::optional<StoredFile> BatchStore::add_file(StoredFile file, std::string_view content, int64_t most) {
  file.id = random_id("file-");
  file.bytes = static_cast<int64_t>(content.size());
  file.created = unix_time();
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  if (count(impl_->database, "SELECT COUNT(*) FROM files WHERE tenant = ?", file.tenant) >= most) return std::nullopt;
  insert_file(impl_->database, file, content);
  transaction.commit();
  return file;
}

std::optional<StoredFile> BatchStore::find_file(std::string_view tenant, std::string_view id) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, fmt::format("SELECT {} FROM files WHERE tenant = ? AND id = ?", kFileColumns));
  rows.bind(tenant).bind(id);
  if (!rows.next()) return std::nullopt;
  return file_of(rows);
}

// By a connection of its own: nothing waits while a long file is read.
std::optional<std::string> BatchStore::content(std::string_view tenant, std::string_view id) const {
  Database own(impl_->path);
  Statement rows(own, "SELECT number FROM files WHERE tenant = ? AND id = ?");
  rows.bind(tenant).bind(id);
  if (!rows.next()) return std::nullopt;
  return read_bytes(own, "files", "content", rows.number(0));  // the row is held while `rows` stands on it
}

std::vector<StoredFile> BatchStore::files(std::string_view tenant, std::string_view after, int64_t most) const {
  const std::lock_guard lock(impl_->reader_mutex);
  return read_page(impl_->reader, "files", kFileColumns, file_of, tenant, after, most);
}

FileRemoval BatchStore::remove_file(std::string_view tenant, std::string_view id) {
  const std::lock_guard lock(impl_->mutex);
  Transaction transaction(impl_->database);
  {
    Statement users(impl_->database, "SELECT 1 FROM batches WHERE ended_at = 0 AND tenant = ? AND input_file = ?");
    if (users.bind(tenant).bind(id).next()) return FileRemoval::kInUse;
  }
  Statement(impl_->database, "DELETE FROM files WHERE tenant = ? AND id = ?").bind(tenant).bind(id).run();
  const bool is_removed = sqlite3_changes(impl_->database.handle()) > 0;
  transaction.commit();
  return is_removed ? FileRemoval::kDone : FileRemoval::kUnknown;
}

std::optional<BatchJob> BatchStore::add_batch(BatchJob batch, int64_t most) {
  batch.id = random_id("batch_");
  batch.created = unix_time();
  constexpr int64_t kDay = 24 * 3600;
  batch.expires = batch.created + kDay;
  {
    const std::lock_guard lock(impl_->mutex);
    Database& database = impl_->database;
    Transaction transaction(database);
    if (count(database, "SELECT COUNT(*) FROM batches WHERE ended_at = 0 AND tenant = ?", batch.tenant) >= most) {
      return std::nullopt;
    }
    Statement(database,
              "INSERT INTO batches (id, tenant, endpoint, input_file, metadata, status, created, expires) VALUES "
              "(?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(batch.id)
        .bind(batch.tenant)
        .bind(batch.endpoint)
        .bind(batch.input_file)
        .bind(batch.metadata)
        .bind(number(batch.status))
        .bind(batch.created)
        .bind(batch.expires)
        .run();
    forget_old_batches(database, batch.tenant);
    transaction.commit();
  }
  impl_->tell();
  return batch;
}

std::optional<BatchJob> BatchStore::find_batch(std::string_view tenant, std::string_view id) const {
  const std::lock_guard lock(impl_->reader_mutex);
  return find_batch_of(impl_->reader, tenant, id);
}

std::vector<BatchJob> BatchStore::batches(std::string_view tenant, std::string_view after, int64_t most) const {
  const std::lock_guard lock(impl_->reader_mutex);
  return read_page(impl_->reader, "batches", kBatchColumns, batch_of, tenant, after, most);
}

std::optional<BatchJob> BatchStore::cancel(std::string_view tenant, std::string_view id) {
  std::optional<BatchJob> batch;
  {
    const std::lock_guard lock(impl_->mutex);
    batch = find_batch_of(impl_->database, tenant, id);
    if (!batch || is_final(batch->status)) return batch;
    Statement(impl_->database, "UPDATE batches SET status = ?, cancelling_at = ? WHERE id = ?")
        .bind(number(BatchStatus::kCancelling))
        .bind(unix_time())
        .bind(id)
        .run();
    batch = find_batch_of(impl_->database, tenant, id);
  }
  impl_->tell();
  return batch;
}

void BatchStore::on_change(std::function<void()> callback) {
  const std::lock_guard lock(impl_->mutex);
  impl_->on_change = std::move(callback);
}

BatchStore& require_batches(const ServerContext& context) {
  if (context.batches != nullptr) return *context.batches;
  throw ApiError(501, "not_supported_error", "not_supported",
                 "this server keeps no files and runs no batches; the operator can allow it with --batch-store PATH");
}

}  // namespace quire
