#include "server/batches/database.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace quire {
namespace {

ErrorCode code_of(int result) {
  constexpr int kPrimaryBits = 0xff;
  switch (result & kPrimaryBits) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY: return ErrorCode::kIo;
    case SQLITE_NOMEM: return ErrorCode::kOutOfMemory;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ErrorCode::kCorrupt;
    case SQLITE_TOOBIG: return ErrorCode::kLimit;
    default: return ErrorCode::kInvalidArgument;
  }
}

}  // namespace

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
  fail(code_of(sqlite3_errcode(handle_)), "the batch store {} cannot be {}: {}", path_, what, sqlite3_errmsg(handle_));
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
  if (sqlite3_bind_blob64(statement_, ++num_bound_, bytes.data(), bytes.size(), SQLITE_STATIC) != SQLITE_OK) {
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

std::string read_bytes(Database& database, const char* table, const char* column, int64_t row) {
  sqlite3_blob* blob = nullptr;
  if (sqlite3_blob_open(database.handle(), "main", table, column, row, /*flags=*/0, &blob) != SQLITE_OK) {
    database.fail_now("read");
  }
  std::string bytes(static_cast<size_t>(sqlite3_blob_bytes(blob)), '\0');
  const int result = sqlite3_blob_read(blob, bytes.data(), static_cast<int>(bytes.size()), 0);
  sqlite3_blob_close(blob);
  if (result != SQLITE_OK) database.fail_now("read");
  return bytes;
}

Transaction::Transaction(Database& database) : database_(database) { database.run("BEGIN IMMEDIATE"); }

Transaction::~Transaction() {
  // Nobody can be told here, and an open transaction is taken back in any case.
  if (is_open_) sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_.run("COMMIT");
  is_open_ = false;
}

FileLock::FileLock(const std::string& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR)) {
  if (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  if (descriptor_ >= 0) ::close(descriptor_);
  if (error == EWOULDBLOCK) {
    fail(ErrorCode::kIo, "another process holds {}: one server at a time uses a batch store; stop it or give another",
         path);
  }
  fail(ErrorCode::kIo, "{} cannot be locked: {}", path, std::generic_category().message(error));
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace quire
