#include "compress/files/model_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "tensor/files/tensor_file_writer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeightEnds[] = {".safetensors", ".index.json", ".bin",     ".pt",   ".pth",
                                            ".gguf",        ".h5",         ".msgpack", ".onnx", ".npz"};

bool is_companion(const fs::path& file) {
  const std::string name = file.filename().string();
  std::error_code error;
  return fs::is_regular_file(file, error) && name != "config.json" &&
         std::ranges::none_of(kWeightEnds, [&](std::string_view end) { return name.ends_with(end); });
}

constexpr std::string_view kReplacedSuffix = ".replaced";

fs::path with_end(fs::path path, std::string_view end) { return path += end; }
fs::path without_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

[[noreturn]] void refuse(const fs::path& path, const std::error_code& error) {
  fail(ErrorCode::kIo, "cannot write {}: {}", printable(path.string(), 400), error.message());
}

}  // namespace

ModelDirectory::ModelDirectory(const fs::path& path, bool replaces)
    : path_(without_slash(path)), folder_(with_end(path_, kUnfinishedSuffix)), replaces_(replaces) {
  refuse_existing(path_, replaces);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) refuse(folder_, error);
  lock();
}

void ModelDirectory::lock() {
  const std::string name = printable(folder_.string(), 400);
  fd_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) refuse(folder_, {errno, std::generic_category()});
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const bool is_taken = errno == EWOULDBLOCK;
    const std::error_code error(errno, std::generic_category());
    ::close(fd_);
    if (!is_taken) refuse(folder_, error);
    fail(ErrorCode::kInvalidArgument, "another process is making '{}'; wait for it, or stop it", name);
  }
  // The one that had it may have given it its name since it was opened.
  struct stat locked {
  }, named{};
  const bool is_named = ::fstat(fd_, &locked) == 0 && ::stat(folder_.c_str(), &named) == 0;
  if (is_named && locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) return;
  ::close(fd_);
  fail(ErrorCode::kInvalidArgument, "another process has just made '{}'", printable(path_.string(), 400));
}

ModelDirectory::~ModelDirectory() {
  std::error_code ignored;
  fs::remove(folder_, ignored);
  ::close(fd_);
}

void ModelDirectory::remove_leftovers(const TensorFileLayout& layout) const {
  std::error_code error;
  std::vector<fs::path> leftovers;
  fs::directory_iterator entry(folder_, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const bool is_open = std::ranges::any_of(layout.files, [&](const TensorFileLayout::File& file) {
      return entry->path().filename() == with_end(file.name, kUnfinishedSuffix);
    });
    if (!is_open) leftovers.push_back(entry->path());
  }
  for (const fs::path& path : leftovers) {
    if (!error) fs::remove_all(path, error);
  }
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
  std::error_code error;
  fs::directory_iterator entry(source, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (!is_companion(entry->path())) continue;
    const fs::path to = folder_ / entry->path().filename();
    fs::copy_file(entry->path(), to, fs::copy_options::overwrite_existing, error);
    if (error) refuse(to, error);
  }
  if (error) fail(ErrorCode::kIo, "cannot read {}: {}", printable(source.string(), 400), error.message());
}

void ModelDirectory::finish() {
  refuse_existing(path_, replaces_);
  const fs::path old = with_end(path_, kReplacedSuffix);
  std::error_code error;
  const bool is_moved = replaces_ && fs::exists(path_, error);
  if (error) refuse(path_, error);
  if (is_moved) fs::rename(path_, old, error);
  if (error) refuse(path_, error);
  fs::rename(folder_, path_, error);
  if (error) {
    std::error_code ignored;
    if (is_moved) fs::rename(old, path_, ignored);
    refuse(path_, error);
  }
  if (is_moved) fs::remove_all(old, error);
}

void ModelDirectory::abandon() {
  std::error_code error;
  fs::remove_all(folder_, error);
}

void refuse_existing(const fs::path& path, bool replaces) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  if (error) refuse(path, error);
  if (!exists) return;
  const std::string name = printable(path.string(), 400);
  if (!replaces) {
    fail(ErrorCode::kInvalidArgument, "'{}' exists; name another output, or replace it with --force", name);
  }
  if (!fs::is_directory(path, error)) return;
  if (!fs::is_empty(path, error) && !fs::exists(path / "config.json", error)) {
    fail(ErrorCode::kInvalidArgument, "'{}' is no model; --force does not remove it", name);
  }
  const fs::path old = with_end(without_slash(path), kReplacedSuffix);
  if (fs::exists(old, error)) {
    fail(ErrorCode::kInvalidArgument, "'{}' exists, where --force moves what it replaces; move or remove it",
         printable(old.string(), 400));
  }
}

void refuse_source(const fs::path& path, const Checkpoint& source) {
  for (const MappedFile* file : source.files()) {
    std::error_code error;
    if (!fs::equivalent(path, fs::absolute(file->path(), error).parent_path(), error)) continue;
    fail(ErrorCode::kInvalidArgument, "'{}' holds the model that is read; name another output",
         printable(path.string(), 400));
  }
}

}  // namespace quire
