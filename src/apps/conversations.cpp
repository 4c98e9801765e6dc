#include "apps/conversations.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <system_error>

#include "apps/standard_input.h"
#include "base/cache_folder.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/replace_file.h"

namespace quire {
namespace {

constexpr std::string_view kExtension = ".json";
constexpr size_t kMaxNameLength = 100;
constexpr std::array<std::string_view, 3> kRoles = {"system", "user", "assistant"};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

void check_message(const json::value& value, const std::filesystem::path& path) {
  const json::object* message = value.if_object();
  if (message == nullptr) {
    fail(ErrorCode::kCorrupt, "{}: a message is no object; expected a conversation that /save has written",
         path.string());
  }
  const std::string role = get_string(*message, "role");
  get_string(*message, "content");
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    fail(ErrorCode::kCorrupt, "{}: a message has the role '{}'; expected system, user or assistant", path.string(),
         printable(role, 40));
  }
}

}  // namespace

Conversations Conversations::of_user() {
  const std::filesystem::path folder = data_folder();
  if (folder.empty()) fail(ErrorCode::kNotFound, "there is no folder for conversations: set HOME or XDG_DATA_HOME");
  return Conversations(folder / "conversations");
}

std::filesystem::path Conversations::file_of(const std::string& name) const {
  if (name.empty() || name.size() > kMaxNameLength || name.front() == '.' ||
      !std::all_of(name.begin(), name.end(), is_name_character)) {
    fail(ErrorCode::kInvalidArgument,
         "'{}' is no name of a conversation; expected up to {} letters, digits, '-', '_' and '.'", printable(name, 40),
         kMaxNameLength);
  }
  return folder_ / (name + std::string(kExtension));
}

void Conversations::save(const std::string& name, const json::array& messages) const {
  const std::filesystem::path path = file_of(name);
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) fail(ErrorCode::kIo, "cannot make the folder {}: {}", folder_.string(), error.message());
  const std::string text = json::serialize(json::object{{"messages", messages}}) + '\n';
  if (!replace_file(path, {std::as_bytes(std::span(text))})) {
    fail(ErrorCode::kIo, "another process is writing {}; try again", path.string());
  }
}

json::array Conversations::load(const std::string& name) const {
  const std::filesystem::path path = file_of(name);
  const json::value value = read_json_file(path, kMaxPromptBytes);
  const json::object* conversation = value.if_object();
  const json::array* messages = conversation == nullptr ? nullptr : find_array(*conversation, "messages");
  if (messages == nullptr) {
    fail(ErrorCode::kCorrupt, "{} has no messages; expected a conversation that /save has written", path.string());
  }
  for (const json::value& message : *messages) check_message(message, path);
  return *messages;
}

std::vector<std::string> Conversations::names() const {
  std::vector<std::string> names;
  std::error_code error;  // no folder: nothing was saved
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == kExtension) names.push_back(entry->path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace quire
