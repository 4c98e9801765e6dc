#include "server/batches/store.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <array>
#include <ctime>
#include <mutex>

#include "base/check.h"
#include "base/error.h"
#include "server/api_error.h"
#include "server/batches/database.h"
#include "server/context.h"

namespace quire {
namespace {

constexpr std::array kStatusNames = {"validating", "failed",  "in_progress", "finalizing",
                                     "completed",  "expired", "cancelling",  "cancelled"};
constexpr int64_t kFormat = 1;  // of the tables

constexpr const char* kTables = R"(
CREATE TABLE IF NOT EXISTS secrets (value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL,
  bytes INTEGER NOT NULL, created INTEGER NOT NULL, content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS files_of_tenant ON files (tenant);
CREATE TABLE IF NOT EXISTS batches (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, tenant TEXT NOT NULL, endpoint TEXT NOT NULL,
  input_file TEXT NOT NULL, metadata TEXT NOT NULL, status INTEGER NOT NULL, created INTEGER NOT NULL,
  expires INTEGER NOT NULL, total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0, output_file TEXT NOT NULL DEFAULT '', error_file TEXT NOT NULL DEFAULT '',
  errors TEXT NOT NULL DEFAULT '', in_progress_at INTEGER NOT NULL DEFAULT 0, finalizing_at INTEGER NOT NULL DEFAULT 0,
  ended_at INTEGER NOT NULL DEFAULT 0, cancelling_at INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS batches_of_tenant ON batches (tenant);
CREATE INDEX IF NOT EXISTS batches_to_end ON batches (tenant) WHERE ended_at = 0;
CREATE TABLE IF NOT EXISTS lines (
  batch TEXT NOT NULL, line INTEGER NOT NULL, is_error INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (batch, line)) WITHOUT ROWID;
)";

constexpr std::string_view kFileColumns = "id, tenant, name, purpose, bytes, created";
constexpr std::string_view kBatchColumns =
    "id, tenant, endpoint, input_file, metadata, status, created, expires, total, completed, failed, output_file, "
    "error_file, errors, in_progress_at, finalizing_at, ended_at, cancelling_at";

int64_t now() { return static_cast<int64_t>(std::time(nullptr)); }

std::string random_bytes(size_t size) {
  std::string bytes(size, '\0');
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) == 1);
  return bytes;
}

// Nobody can guess one.
std::string new_id(std::string_view prefix) {
  std::string id(prefix);
  for (const char byte : random_bytes(12)) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return id;
}

int64_t number(BatchStatus status) { return static_cast<int64_t>(status); }

StoredFile read_file(const Statement& row) {
  return {.id = row.text(0),
          .tenant = row.text(1),
          .name = row.text(2),
          .purpose = row.text(3),
          .bytes = row.number(4),
          .created = row.number(5)};
}

BatchJob read_batch(const Statement& row) {
  return {.id = row.text(0),
          .tenant = row.text(1),
          .endpoint = row.text(2),
          .input_file = row.text(3),
          .metadata = row.text(4),
          .status = static_cast<BatchStatus>(row.number(5)),
          .created = row.number(6),
          .expires = row.number(7),
          .total = row.number(8),
          .completed = row.number(9),
          .failed = row.number(10),
          .output_file = row.text(11),
          .error_file = row.text(12),
          .errors = row.text(13),
          .in_progress_at = row.number(14),
          .finalizing_at = row.number(15),
          .ended_at = row.number(16),
          .cancelling_at = row.number(17)};
}

void insert_file(Database& database, const StoredFile& file, std::string_view content) {
  Statement(database,
            "INSERT INTO files (id, tenant, name, purpose, bytes, created, content) VALUES (?, ?, ?, ?, ?, ?, ?)")
      .bind(file.id)
      .bind(file.tenant)
      .bind(file.name)
      .bind(file.purpose)
      .bind(file.bytes)
      .bind(file.created)
      .bind_bytes(content)
      .run();
}

// Of the finished lines that are errors, or of the others. Empty when there are none.
std::string make_file(Database& database, const BatchJob& batch, bool of_errors) {
  std::string content;
  Statement lines(database, "SELECT text FROM lines WHERE batch = ? AND is_error = ? ORDER BY line");
  lines.bind(batch.id).bind(int64_t{of_errors});
  while (lines.next()) content += lines.text(0) + '\n';
  if (content.empty()) return "";
  const StoredFile file{.id = new_id("file-"),
                        .tenant = batch.tenant,
                        .name = batch.id + (of_errors ? "_error.jsonl" : "_output.jsonl"),
                        .purpose = "batch_output",
                        .bytes = static_cast<int64_t>(content.size()),
                        .created = now()};
  insert_file(database, file, content);
  return file.id;
}

std::optional<BatchJob> find_batch_of(Database& database, std::string_view tenant, std::string_view id) {
  Statement rows(database, fmt::format("SELECT {} FROM batches WHERE tenant = ? AND id = ?", kBatchColumns));
  rows.bind(tenant).bind(id);
  if (!rows.next()) return std::nullopt;
  return read_batch(rows);
}

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
    while (rows.next()) old.push_back(read_batch(rows));
  }
  for (const BatchJob& batch : old) {
    Statement(database, "DELETE FROM files WHERE id IN (?, ?)").bind(batch.output_file).bind(batch.error_file).run();
    Statement(database, "DELETE FROM batches WHERE id = ?").bind(batch.id).run();
  }
}

// A page of a table's rows: the tenant's, the newest first.
template <typename Row>
std::vector<Row> read_page(Database& database, std::string_view table, std::string_view columns,
                           Row (*read)(const Statement&), std::string_view tenant, std::string_view after,
                           int64_t most) {
  Statement rows(database,
                 fmt::format("SELECT {0} FROM {1} WHERE tenant = ?1 AND (?2 = '' OR number < (SELECT number FROM {1} "
                             "WHERE tenant = ?1 AND id = ?2)) ORDER BY number DESC LIMIT ?3",
                             columns, table));
  rows.bind(tenant).bind(after).bind(most);
  std::vector<Row> page;
  while (rows.next()) page.push_back(read(rows));
  return page;
}

}  // namespace

const char* name(BatchStatus status) { return kStatusNames.at(static_cast<size_t>(status)); }

bool is_final(BatchStatus status) {
  return status == BatchStatus::kFailed || status == BatchStatus::kCompleted || status == BatchStatus::kExpired ||
         status == BatchStatus::kCancelled;
}

struct BatchStore::Impl {
  explicit Impl(const std::string& its_path) : path(its_path), database(path), lock(path + "-lock"), reader(path) {}

  void tell() {
    std::function<void()> callback;
    {
      const std::lock_guard guard(mutex);
      callback = on_change;
    }
    if (callback) callback();
  }

  const std::string path;
  std::mutex mutex;  // of the next and of on_change
  Database database;
  const FileLock lock;
  // Sees what is committed, while the other writes.
  std::mutex reader_mutex;
  Database reader;
  std::function<void()> on_change;
};

BatchStore::BatchStore(const std::string& path) : impl_(std::make_unique<Impl>(path)) {
  Database& database = impl_->database;
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);  // prompts and answers of others
  // Written ahead, so that the end of the process loses nothing of what was committed.
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = NORMAL");
  Transaction transaction(database);
  Statement version(database, "PRAGMA user_version");
  version.next();
  if (version.number(0) > kFormat) {
    quire::fail(ErrorCode::kUnsupported, "{} is a batch store of a newer version of this program; give another path",
                path);
  }
  database.run(kTables);
  database.run("PRAGMA user_version = 1");
  Statement secret(database, "SELECT value FROM secrets");
  if (!secret.next()) {
    Statement(database, "INSERT INTO secrets (value) VALUES (?)").bind_bytes(random_bytes(32)).run();
  }
  transaction.commit();
}

BatchStore::~BatchStore() = default;

std::string BatchStore::secret() const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, "SELECT value FROM secrets");
  CHECK(rows.next());
  return rows.text(0);
}

std::optional<StoredFile> BatchStore::add_file(StoredFile file, std::string_view content, int64_t most) {
  file.id = new_id("file-");
  file.bytes = static_cast<int64_t>(content.size());
  file.created = now();
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
  return read_file(rows);
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
  return read_page(impl_->reader, "files", kFileColumns, quire::read_file, tenant, after, most);
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
  batch.id = new_id("batch_");
  batch.created = now();
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
  return read_page(impl_->reader, "batches", kBatchColumns, read_batch, tenant, after, most);
}

std::optional<BatchJob> BatchStore::cancel(std::string_view tenant, std::string_view id) {
  std::optional<BatchJob> batch;
  {
    const std::lock_guard lock(impl_->mutex);
    batch = find_batch_of(impl_->database, tenant, id);
    if (!batch || is_final(batch->status)) return batch;
    Statement(impl_->database, "UPDATE batches SET status = ?, cancelling_at = ? WHERE id = ?")
        .bind(number(BatchStatus::kCancelling))
        .bind(now())
        .bind(id)
        .run();
    batch = find_batch_of(impl_->database, tenant, id);
  }
  impl_->tell();
  return batch;
}

std::optional<BatchJob> BatchStore::next_to_settle(std::string_view but) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, fmt::format("SELECT {} FROM batches WHERE ended_at = 0 AND id <> ? AND "
                                            "(status IN (?, ?) OR expires <= ?) ORDER BY number LIMIT 1",
                                            kBatchColumns));
  rows.bind(but).bind(number(BatchStatus::kCancelling)).bind(number(BatchStatus::kValidating)).bind(now());
  if (!rows.next()) return std::nullopt;
  return read_batch(rows);
}

std::optional<BatchJob> BatchStore::next_to_run(std::string_view tenant) const {
  const std::lock_guard lock(impl_->reader_mutex);
  Statement rows(impl_->reader, fmt::format("SELECT {} FROM batches WHERE ended_at = 0 AND status = ? "
                                            "ORDER BY tenant <= ?, tenant, number LIMIT 1",
                                            kBatchColumns));
  rows.bind(number(BatchStatus::kInProgress)).bind(tenant);
  if (!rows.next()) return std::nullopt;
  return read_batch(rows);
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
      .bind(now())
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
      .bind(now())
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
  const int64_t time = now();
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
