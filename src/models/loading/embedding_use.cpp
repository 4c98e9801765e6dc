#include "models/loading/embedding_use.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxModuleBytes = size_t{1} << 20;

struct PoolingMode {
  std::string_view key;   // a switch in the module's config.json
  std::string_view name;  // in its "pooling_mode", which newer files have instead
  Pooling pooling;
};
constexpr std::array kPoolingModes = {
    PoolingMode{"pooling_mode_mean_tokens", "mean", Pooling::kMean},
    PoolingMode{"pooling_mode_cls_token", "cls", Pooling::kCls},
    PoolingMode{"pooling_mode_lasttoken", "lasttoken", Pooling::kLast},
};

[[noreturn]] void refuse_mode(const fs::path& path, std::string_view mode) {
  fail(ErrorCode::kUnsupported, "{}: found the pooling {}; this build knows mean, cls and lasttoken, one at a time",
       path.string(), printable(mode));
}

Pooling pooling_by_name(const fs::path& path, std::string_view name) {
  for (const PoolingMode& mode : kPoolingModes) {
    if (mode.name == name) return mode.pooling;
  }
  refuse_mode(path, name);
}

// Of a module's config.json.
Pooling read_pooling(const fs::path& path) {
  const json::value value = read_json_file(path, kMaxModuleBytes);
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "{}: expected a JSON object", path.string());
  const json::object& config = value.get_object();
  if (const json::value* mode = find_member(config, "pooling_mode")) {
    if (mode->is_string()) return pooling_by_name(path, mode->get_string());
    if (mode->is_array() && mode->get_array().size() == 1 && mode->get_array()[0].is_string()) {
      return pooling_by_name(path, mode->get_array()[0].get_string());
    }
    refuse_mode(path, json::serialize(*mode));
  }
  std::optional<Pooling> found;
  for (const auto& [key, is_on] : config) {
    if (!key.starts_with("pooling_mode_") || is_on != json::value(true)) continue;
    const std::string_view name = key;
    const auto* mode = std::ranges::find(kPoolingModes, name, &PoolingMode::key);
    if (mode == kPoolingModes.end() || found) refuse_mode(path, name);
    found = mode->pooling;
  }
  return found.value_or(Pooling::kMean);
}

// A module's folder, "1_Pooling", is one beside modules.json.
std::string folder_of(const fs::path& path, const json::object& module) {
  std::string folder = find_string(module, "path", "");
  if (folder.find('/') != std::string::npos || folder.starts_with('.')) {
    fail(ErrorCode::kCorrupt, "{}: found the path \"{}\"; expected a folder beside it", path.string(),
         printable(folder));
  }
  return folder;
}

EmbeddingUse read_modules(const fs::path& directory) {
  const fs::path path = directory / "modules.json";
  const json::value value = read_json_file(path, kMaxModuleBytes);
  if (!value.is_array()) fail(ErrorCode::kCorrupt, "{}: expected a JSON list", path.string());
  EmbeddingUse use{.normalize = false};
  for (const json::value& module : value.get_array()) {
    if (!module.is_object()) fail(ErrorCode::kCorrupt, "{}: expected a list of JSON objects", path.string());
    const std::string type = get_string(module.get_object(), "type");
    const std::string_view name = std::string_view(type).substr(type.rfind('.') + 1);
    if (name == "Pooling") {
      use.pooling = read_pooling(directory / folder_of(path, module.get_object()) / "config.json");
    } else if (name == "Normalize") {
      use.normalize = true;
    } else if (name != "Transformer") {
      fail(ErrorCode::kUnsupported,
           "{}: the embedding passes through the module {}; this build knows Transformer, Pooling and Normalize",
           path.string(), printable(type));
    }
  }
  return use;
}

EmbeddingUse read_gguf(const GgufFile& file) {
  const std::string key = fmt::format("{}.pooling_type", file.get_string("general.architecture"));
  switch (const int64_t type = file.find_int(key, 0); type) {
    case 0:  // a vector for each token; also of models that are not for embeddings
    case 4:  // rank: its answer is no embedding (dialogue/relevance.h)
    case 1: return {.pooling = Pooling::kMean};
    case 2: return {.pooling = Pooling::kCls};
    case 3: return {.pooling = Pooling::kLast};
    default:
      fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; this build knows none, mean, cls, last and rank (0 to 4)",
           file.name(), key, type);
  }
}

}  // namespace

EmbeddingUse read_embedding_use(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return read_gguf(*checkpoint.gguf());
  const fs::path directory = checkpoint.directory();
  std::error_code error;
  if (fs::exists(directory / "modules.json", error)) return read_modules(directory);
  const fs::path pooling = directory / "1_Pooling" / "config.json";
  if (fs::exists(pooling, error)) return {.pooling = read_pooling(pooling)};
  return {};
}

}  // namespace quire
