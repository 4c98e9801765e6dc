// What the store's sources share.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "server/batches/database.h"
#include "server/batches/store.h"

namespace quire {

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

}  // namespace quire
