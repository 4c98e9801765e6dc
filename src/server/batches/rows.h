// The store's tables, and their rows as the structs of store.h. For this folder's store only; a caller holds the lock
// of its database.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/batches/database.h"
#include "server/batches/store.h"

namespace quire {

inline constexpr std::string_view kFileColumns = "id, tenant, name, purpose, bytes, created";
inline constexpr std::string_view kBatchColumns =
    "id, tenant, endpoint, input_file, metadata, status, created, expires, total, completed, failed, output_file, "
    "error_file, errors, in_progress_at, finalizing_at, ended_at, cancelling_at";

int64_t unix_time();
std::string random_id(std::string_view prefix);  // nobody can guess one
std::string random_bytes(size_t size);
inline int64_t number(BatchStatus status) { return static_cast<int64_t>(status); }

// Makes the tables that are missing and the secret. Throws Error for those of a newer version.
void make_tables(Database& database, const std::string& path);

// Of rows with the columns above.
StoredFile file_of(const Statement& row);
BatchJob batch_of(const Statement& row);

void insert_file(Database& database, const StoredFile& file, std::string_view content);
std::optional<BatchJob> find_batch_of(Database& database, std::string_view tenant, std::string_view id);

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

}  // namespace quire
