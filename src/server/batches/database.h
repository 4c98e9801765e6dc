// SQLite as the store uses it: statements with bound values, and transactions that end on every way out.
//
// Calls throw Error: kIo when the database is busy or the system refuses, which may pass; another code when it is this
// call that cannot be done, such as a value that is too large.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

class Database {
 public:
  explicit Database(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void run(const char* sql);
  [[noreturn]] void fail_now(const char* what) const;
  sqlite3* handle() const { return handle_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

// Values are bound in order, columns are read by their index.
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::string_view text);
  Statement& bind(int64_t number);
  Statement& bind_bytes(std::string_view bytes);  // which must live until the statement has run
  bool next();                                    // a row is there
  void run() { next(); }
  std::string text(int column) const;  // of bytes too
  int64_t number(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int num_bound_ = 0;
};

// The whole of a column's value, which is copied once, however long it is.
std::string read_bytes(Database& database, const char* table, const char* column, int64_t row);

class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();  // takes everything back, unless it was committed
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool is_open_ = true;
};

// Held by one owner at a time, on this machine; the system lets go of it when its process ends.
class FileLock {
 public:
  // Makes the file. Throws Error kIo, at once when another owner holds it.
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace quire
