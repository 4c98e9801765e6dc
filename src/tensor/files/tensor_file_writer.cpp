#include "tensor/files/tensor_file_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/no_size_signal.h"

namespace quire {
namespace {

// Linux writes no more than 2 GiB in one call.
constexpr size_t kMostAtOnce = size_t{1} << 30;

std::filesystem::path unfinished(std::filesystem::path path) { return path += kUnfinishedSuffix; }

// A writer that was stopped in finish() has given some files their names already.
void take_back_name(const std::filesystem::path& path) {
  if (::access(unfinished(path).c_str(), F_OK) != 0) ::rename(path.c_str(), unfinished(path).c_str());
}

// Whether the open file still has the name: another writer may have finished it since.
bool has_name(int fd, const std::filesystem::path& path) {
  struct stat opened = {};
  struct stat named = {};
  return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // the files themselves are synced; not every file system syncs folders
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

TensorFileWriter::TensorFileWriter(const std::filesystem::path& folder, TensorFileLayout layout, Start start, Room room)
    : folder_(folder.empty() ? std::filesystem::path(".") : folder), layout_(std::move(layout)) {
  try {
    for (const TensorFileLayout::File& file : layout_.files) open_file(file, start, room);
  } catch (...) {
    if (start == Start::kNew) abandon();
    close_all();
    throw;
  }
}

TensorFileWriter::~TensorFileWriter() { close_all(); }

void TensorFileWriter::close_all() {
  for (OpenFile& file : files_) {
    if (file.fd >= 0) ::close(std::exchange(file.fd, -1));
  }
}

void TensorFileWriter::refuse(size_t file) const {
  const bool lacks_room = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  const std::string reason = std::strerror(errno);
  fail(ErrorCode::kIo, "cannot write {}: {}{}", printable(files_[file].path.string(), 400), reason,
       lacks_room ? fmt::format("; the file needs {} bytes", layout_.files[file].size_bytes) : std::string());
}

void TensorFileWriter::open_file(const TensorFileLayout::File& file, Start start, Room room) {
  const size_t index = files_.size();
  const std::filesystem::path path = folder_ / file.name;
  if (start == Start::kContinue) take_back_name(path);
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (start == Start::kNew ? O_CREAT : 0);
  files_.push_back({path, ::open(unfinished(path).c_str(), flags, 0666)});
  const int fd = files_.back().fd;
  if (fd < 0 && errno == ENOENT && start == Start::kContinue) {
    fail(ErrorCode::kCorrupt, "'{}' is missing, so that it cannot be gone on with; begin again",
         printable(unfinished(path).string(), 400));
  }
  if (fd < 0) refuse(index);
  const bool is_locked = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (!is_locked && errno != EWOULDBLOCK) refuse(index);
  if (!is_locked || !has_name(fd, unfinished(path))) {
    fail(ErrorCode::kIo, "'{}' is being written by another process", printable(unfinished(path).string(), 400));
  }
  files_.back().is_locked = true;
  if (start == Start::kContinue) return check_head(index);
  if (::ftruncate(fd, 0) != 0) refuse(index);
  const NoSizeSignal no_signal;
  const auto size = static_cast<off_t>(file.size_bytes);
  if (room == Room::kReserved && ::fallocate(fd, 0, 0, size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    refuse(index);
  }
  if (::ftruncate(fd, size) != 0) refuse(index);
  write_at(index, 0, std::as_bytes(std::span(file.head)));
}

void TensorFileWriter::check_head(size_t file) const {
  const TensorFileLayout::File& wanted = layout_.files[file];
  struct stat status = {};
  std::string head(wanted.head.size(), '\0');
  const ssize_t count = ::pread(files_[file].fd, head.data(), head.size(), 0);
  if (::fstat(files_[file].fd, &status) == 0 && static_cast<uint64_t>(status.st_size) == wanted.size_bytes &&
      count == static_cast<ssize_t>(head.size()) && head == wanted.head) {
    return;
  }
  fail(ErrorCode::kCorrupt, "'{}' was begun with other tensors or settings; remove it to begin again",
       printable(unfinished(files_[file].path).string(), 400));
}

void TensorFileWriter::write_at(size_t file, uint64_t offset, std::span<const std::byte> bytes) {
  const NoSizeSignal no_signal;
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(files_[file].fd, bytes.data(), std::min(bytes.size(), kMostAtOnce), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) refuse(file);
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

void TensorFileWriter::write(std::string_view tensor, std::span<const std::byte> bytes, uint64_t first) {
  const auto found = layout_.places.find(tensor);
  CHECK(found != layout_.places.end());
  const TensorFileLayout::Place& place = found->second;
  CHECK(first <= place.size_bytes && bytes.size() <= place.size_bytes - first);
  write_at(place.file, place.offset + first, bytes);
}

void TensorFileWriter::sync() {
  for (size_t i = 0; i < files_.size(); ++i) {
    if (::fsync(files_[i].fd) != 0) refuse(i);
  }
}

void TensorFileWriter::finish(Durability durability) {
  if (durability == Durability::kSynced) sync();
  for (size_t i = 0; i < files_.size(); ++i) {
    const OpenFile& file = files_[i];
    if (::rename(unfinished(file.path).c_str(), file.path.c_str()) != 0) refuse(i);
  }
  close_all();
  if (durability == Durability::kSynced) sync_folder(folder_);
}

void TensorFileWriter::abandon() {
  for (const OpenFile& file : files_) {
    if (file.is_locked) ::unlink(unfinished(file.path).c_str());
  }
  close_all();
}

}  // namespace quire
