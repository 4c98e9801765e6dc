#include "compress/model_directory.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "tensor/files/tensor_file_writer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeightEnds[] = {".safetensors", ".index.json", ".bin",     ".pt",   ".pth",
                                            ".gguf",        ".h5",         ".msgpack", ".onnx", ".npz"};

bool is_companion(const fs::path& file) {
  const std::string name = file.filename().string();
  return fs::is_regular_file(file) && name != "config.json" &&
         std::ranges::none_of(kWeightEnds, [&](std::string_view end) { return name.ends_with(end); });
}

fs::path with_end(fs::path path, std::string_view end) { return path += end; }

[[noreturn]] void refuse(const fs::path& path, const std::error_code& error) {
  fail(ErrorCode::kIo, "cannot write {}: {}", printable(path.string(), 400), error.message());
}

}  // namespace

ModelDirectory::ModelDirectory(fs::path path, bool replaces)
    : path_(path.has_filename() ? std::move(path) : path.parent_path()),
      folder_(with_end(path_, kUnfinishedSuffix)),
      replaces_(replaces) {
  refuse_existing(path_, replaces);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) refuse(folder_, error);
}

void ModelDirectory::write_json(std::string_view file_name, const json::value& value) const {
  write_text(file_name, json::serialize(value) + "\n");
}

void ModelDirectory::write_text(std::string_view file_name, std::string_view text) const {
  std::ofstream out(folder_ / file_name, std::ios::binary | std::ios::trunc);
  out << text << std::flush;
  if (!out) refuse(folder_ / file_name, std::make_error_code(std::errc::io_error));
}

void ModelDirectory::copy_companions(const fs::path& source) const {
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    if (!is_companion(entry.path())) continue;
    std::error_code error;
    const fs::path to = folder_ / entry.path().filename();
    fs::copy_file(entry.path(), to, fs::copy_options::overwrite_existing, error);
    if (error) refuse(to, error);
  }
}

void ModelDirectory::finish() {
  const fs::path old = with_end(path_, ".replaced");
  std::error_code error;
  if (replaces_ && fs::exists(path_)) {
    fs::remove_all(old, error);
    fs::rename(path_, old, error);
    if (error) refuse(path_, error);
  }
  refuse_existing(path_, replaces_);
  fs::rename(folder_, path_, error);
  if (error) refuse(path_, error);
  fs::remove_all(old, error);
}

void ModelDirectory::abandon() {
  std::error_code error;
  fs::remove_all(folder_, error);
}

void refuse_existing(const fs::path& path, bool replaces) {
  std::error_code error;
  if (replaces || !fs::exists(path, error)) return;
  fail(ErrorCode::kInvalidArgument, "'{}' exists; name another output, or replace it with --force",
       printable(path.string(), 400));
}

}  // namespace quire
