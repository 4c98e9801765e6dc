#include "base/replace_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/no_size_signal.h"

namespace quire {
namespace {

// Linux writes no more than 2 GiB in one call. Large calls let the file system keep large pages of the file.
constexpr size_t kMostAtOnce = size_t{1} << 30;

// The file that is being written: removed unless it gets its name, once it is locked.
class PartialFile {
 public:
  PartialFile(const std::filesystem::path& path, mode_t permissions)
      : path_(path), fd_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, permissions)) {
    if (fd_ < 0) refuse("written");
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile() {
    if (is_locked_) ::unlink(path_.c_str());
    ::close(fd_);
  }

  // Whether no other process has the lock.
  bool lock() {
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
      is_locked_ = has_its_name();
    } else if (errno != EWOULDBLOCK) {
      refuse("locked");
    }
    return is_locked_;
  }
  uint64_t size_bytes() const {
    struct stat status = {};
    return ::fstat(fd_, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
  }
  // Empties the file and reserves the room, where the file system can, so that a full disk is found out first.
  void reserve(size_t size_bytes) {
    if (::ftruncate(fd_, 0) != 0) refuse("written");
    if (::fallocate(fd_, 0, 0, static_cast<off_t>(size_bytes)) == 0) return;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) refuse("written");
  }
  // The same where a mapping will be written, which ends the program when there is no room.
  void reserve_surely(size_t size_bytes) {
    if (::ftruncate(fd_, 0) != 0) refuse("written");
    const int error = ::posix_fallocate(fd_, 0, static_cast<off_t>(size_bytes));
    if (error == 0) return;
    errno = error;
    refuse("written");
  }
  std::span<std::byte> map(size_t size_bytes) {
    void* const mapping = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (mapping == MAP_FAILED) refuse("mapped");
    return {static_cast<std::byte*>(mapping), size_bytes};
  }
  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(fd_, bytes.data(), std::min(bytes.size(), kMostAtOnce));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) refuse("written");
      bytes = bytes.subspan(static_cast<size_t>(count));
    }
  }
  void rename_to(const std::filesystem::path& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0) refuse("renamed");
    is_locked_ = false;
  }

 private:
  // The process that held the lock before may have given the file its final name.
  bool has_its_name() const {
    struct stat ours = {};
    struct stat named = {};
    return ::fstat(fd_, &ours) == 0 && ::lstat(path_.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
  }
  [[noreturn]] void refuse(const char* what) const {
    fail(ErrorCode::kIo, "'{}' cannot be {}: {}", printable(path_.string(), 400), what, std::strerror(errno));
  }

  std::filesystem::path path_;
  int fd_;
  bool is_locked_ = false;
};

std::filesystem::path partial_of(std::filesystem::path path) { return path += kPartialSuffix; }

}  // namespace

bool replace_file(const std::filesystem::path& path, std::initializer_list<std::span<const std::byte>> pieces,
                  mode_t permissions) {
  PartialFile partial(partial_of(path), permissions);
  if (!partial.lock()) return false;
  const NoSizeSignal no_signal;
  size_t size_bytes = 0;
  for (const auto& piece : pieces) size_bytes += piece.size();
  partial.reserve(size_bytes);
  for (const auto& piece : pieces) partial.append(piece);
  partial.rename_to(path);
  return true;
}

bool replace_file(const std::filesystem::path& path, size_t size_bytes,
                  const std::function<void(std::span<std::byte>)>& fill, mode_t permissions) {
  PartialFile partial(partial_of(path), permissions);
  if (!partial.lock()) return false;
  const NoSizeSignal no_signal;
  partial.reserve_surely(size_bytes);
  const std::span<std::byte> bytes = partial.map(size_bytes);
  try {
    fill(bytes);
  } catch (...) {
    ::munmap(bytes.data(), bytes.size());
    throw;
  }
  ::munmap(bytes.data(), bytes.size());
  partial.rename_to(path);
  return true;
}

uint64_t remove_partial(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(partial_of(path), error)) return 0;
  try {
    PartialFile partial(partial_of(path), kForOwner);
    return partial.lock() ? partial.size_bytes() : 0;  // with the lock, its end removes it
  } catch (const Error&) {                             // another user's
    return 0;
  }
}

}  // namespace quire
