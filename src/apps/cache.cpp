// `quire cache`: the packed weights that were kept for the next start.

#include <fmt/format.h>

#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/units.h"
#include "base/error.h"
#include "models/loading/weight_cache.h"

namespace quire {
namespace {

struct CacheOptions {
  std::string folder;
  bool clear = false;
};

std::filesystem::path folder_of(const CacheOptions& options) {
  if (!options.folder.empty()) {
    if (std::filesystem::is_directory(options.folder)) return options.folder;
    fail(ErrorCode::kNotFound, "--folder: '{}' is not a folder; give the one that --weight-cache names",
         printable(options.folder));
  }
  std::filesystem::path folder = weight_cache_folder();
  if (!folder.empty()) return folder;
  fail(ErrorCode::kNotFound, "neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder; give --folder");
}

void print_list(const std::filesystem::path& folder) {
  uint64_t total_bytes = 0;
  for (const WeightCacheFile& file : list_weight_caches(folder)) {
    std::error_code error;
    const bool is_model_there = std::filesystem::exists(file.model, error);
    fmt::print("{:>10}  {:<13}  {}{}\n{:>27}{}\n", format_bytes(file.size_bytes), file.kernels, file.model,
               is_model_there ? "" : " (no longer there)", "", printable(file.path.string(), 400));
    total_bytes += file.size_bytes;
  }
  if (total_bytes > 0) {
    fmt::print("{:>10}  in all; --clear removes them\n", format_bytes(total_bytes));
  } else {
    fmt::print("no packed weights are kept in '{}'; a start with --weight-cache on keeps them\n",
               printable(folder.string()));
  }
}

void manage_cache(const CacheOptions& options) {
  const std::filesystem::path folder = folder_of(options);
  if (!options.clear) return print_list(folder);
  fmt::print("{} freed in '{}'\n", format_bytes(clear_weight_caches(folder)), printable(folder.string()));
}

}  // namespace

void add_cache_command(Command& program) {
  Command& command = program.add_command("cache", "List the packed weights kept for the next start, or remove them");
  const auto options = std::make_shared<CacheOptions>();
  command.add({{.names = "--clear", .value = on_off(options->clear), .help = "Remove them all"},
               {.names = "--folder",
                .value = text(options->folder, "FOLDER"),
                .help = "Those that --weight-cache FOLDER keeps",
                .default_text = "the one in the cache folder"}});
  command.on_run([options] { manage_cache(*options); });
}

}  // namespace quire
