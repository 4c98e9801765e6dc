#include "server/batches/database.h"

#include "base/error.h"

namespace quire {

Database::Database(const std::string& path) : path_(path) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
  if (sqlite3_open_v2(path.c_str(), &handle_, flags, nullptr) != SQLITE_OK) {
    const std::string reason = handle_ != nullptr ? sqlite3_errmsg(handle_) : "out of memory";
    sqlite3_close(handle_);
    fail(ErrorCode::kIo, "{} cannot be opened as a batch store: {}", path, reason);
  }
  constexpr int kBusyMs = 5000;
  sqlite3_busy_timeout(handle_, kBusyMs);
}

Database::~Database() { sqlite3_close(handle_); }

void Database::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail_now("used");
}

void Database::fail_now(const char* what) const {
  fail(ErrorCode::kIo, "the batch store {} cannot be {}: {}", path_, what, sqlite3_errmsg(handle_));
}

Statement::Statement(Database& database, std::string_view sql) : database_(database) {
  if (sqlite3_prepare_v2(database.handle(), sql.data(), static_cast<int>(sql.size()), &statement_, nullptr) !=
      SQLITE_OK) {
    database.fail_now("read");
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(std::string_view text) {
  if (sqlite3_bind_text64(statement_, ++num_bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8) !=
      SQLITE_OK) {
    database_.fail_now("written");
  }
  return *this;
}

Statement& Statement::bind(int64_t number) {
  if (sqlite3_bind_int64(statement_, ++num_bound_, number) != SQLITE_OK) database_.fail_now("written");
  return *this;
}

Statement& Statement::bind_bytes(std::string_view bytes) {
  if (sqlite3_bind_blob64(statement_, ++num_bound_, bytes.data(), bytes.size(), SQLITE_TRANSIENT) != SQLITE_OK) {
    database_.fail_now("written");
  }
  return *this;
}

bool Statement::next() {
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result != SQLITE_DONE) database_.fail_now("written");
  return false;
}

std::string Statement::text(int column) const {
  const void* const bytes = sqlite3_column_blob(statement_, column);
  return bytes == nullptr ? ""
                          : std::string(static_cast<const char*>(bytes),
                                        static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

int64_t Statement::number(int column) const { return sqlite3_column_int64(statement_, column); }

Transaction::Transaction(Database& database) : database_(database) { database.run("BEGIN IMMEDIATE"); }

Transaction::~Transaction() {
  // Nobody can be told here, and an open transaction is taken back in any case.
  if (is_open_) sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_.run("COMMIT");
  is_open_ = false;
}

}  // namespace quire
