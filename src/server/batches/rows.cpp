#include "server/batches/rows.h"

#include <openssl/rand.h>

#include <ctime>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

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

}  // namespace

int64_t unix_time() { return static_cast<int64_t>(std::time(nullptr)); }

std::string random_bytes(size_t size) {
  std::string bytes(size, '\0');
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) == 1);
  return bytes;
}

std::string random_id(std::string_view prefix) {
  std::string id(prefix);
  for (const char byte : random_bytes(12)) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return id;
}

void make_tables(Database& database, const std::string& path) {
  Transaction transaction(database);
  Statement version(database, "PRAGMA user_version");
  version.next();
  if (version.number(0) > kFormat) {
    fail(ErrorCode::kUnsupported, "{} is a batch store of a newer version of this program; give another path", path);
  }
  database.run(kTables);
  database.run("PRAGMA user_version = 1");
  Statement secret(database, "SELECT value FROM secrets");
  if (!secret.next()) {
    Statement(database, "INSERT INTO secrets (value) VALUES (?)").bind_bytes(random_bytes(32)).run();
  }
  transaction.commit();
}

StoredFile file_of(const Statement& row) {
  return {.id = row.text(0),
          .tenant = row.text(1),
          .name = row.text(2),
          .purpose = row.text(3),
          .bytes = row.number(4),
          .created = row.number(5)};
}

BatchJob batch_of(const Statement& row) {
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

std::optional<BatchJob> find_batch_of(Database& database, std::string_view tenant, std::string_view id) {
  Statement rows(database, fmt::format("SELECT {} FROM batches WHERE tenant = ? AND id = ?", kBatchColumns));
  rows.bind(tenant).bind(id);
  if (!rows.next()) return std::nullopt;
  return batch_of(rows);
}

}  // namespace quire
