// Conversations that a user of `quire run` has saved: a folder with a file for each, which has its messages. The KV
// cache finds their prompts again as it finds any other.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace quire {

class Conversations {
 public:
  // In the user's data folder (base/cache_folder.h). Throws Error when there is no home.
  static Conversations of_user();
  // In this folder, which is made when something is saved.
  explicit Conversations(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // A name has letters, digits, '-', '_' and '.', and does not begin with '.'. Messages are objects with "role" and
  // "content". All throw Error for other names and for what the file system refuses; load also for a file that is not
  // such a conversation.
  void save(const std::string& name, const json::array& messages) const;  // replaces one of that name
  json::array load(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted

 private:
  std::filesystem::path file_of(const std::string& name) const;

  std::filesystem::path folder_;
};

}  // namespace quire
