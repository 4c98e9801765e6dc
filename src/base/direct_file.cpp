#include "base/direct_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

struct stat state_of(int fd) {
  struct stat state = {};
  return ::fstat(fd, &state) == 0 ? state : (struct stat){};
}

int64_t modified_ns(const struct stat& state) {
  return int64_t{state.st_mtim.tv_sec} * 1'000'000'000 + state.st_mtim.tv_nsec;
}

// The first bytes are read as a test: some file systems open a file this way and then do not read it.
int open_direct(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (fd < 0) return fd;
  alignas(DirectFile::kAlignment) static thread_local std::byte page[DirectFile::kAlignment];
  if (::pread(fd, page, sizeof(page), 0) >= 0) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

DirectFile::DirectFile(const std::filesystem::path& path) : path_(path), fd_(open_direct(path)) {
  if (fd_ < 0) fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) {
    fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open '{}': {}", printable(path.string(), 400),
         std::strerror(errno));
  }
  const struct stat state = state_of(fd_);
  size_bytes_ = static_cast<uint64_t>(state.st_size);
  inode_ = state.st_ino;
  modified_ns_ = modified_ns(state);
}

DirectFile::DirectFile(DirectFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_bytes_(other.size_bytes_),
      inode_(other.inode_),
      modified_ns_(other.modified_ns_) {}

DirectFile::~DirectFile() {
  if (fd_ >= 0) ::close(fd_);
}

void DirectFile::check_unchanged() const {
  const struct stat state = state_of(fd_);
  if (static_cast<uint64_t>(state.st_size) == size_bytes_ && modified_ns(state) == modified_ns_) return;
  fail(ErrorCode::kCorrupt, "'{}' was changed while it was in use ({} bytes, before {}): start again",
       printable(path_.string(), 400), state.st_size, size_bytes_);
}

void DirectFile::read(uint64_t offset, std::span<std::byte> to) const {
  CHECK(offset % kAlignment == 0 && to.size() % kAlignment == 0);
  const uint64_t left = size_bytes_ - std::min(offset, size_bytes_);
  const size_t wanted = std::min<uint64_t>(to.size(), left);
  size_t done = 0;
  while (done < wanted) {
    const ssize_t count = ::pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      fail(ErrorCode::kIo, "cannot read '{}' at {}: {}", printable(path_.string(), 400), offset + done,
           std::strerror(errno));
    }
    const size_t reached = done + static_cast<size_t>(count);
    const size_t aligned = reached < wanted ? reached / kAlignment * kAlignment : reached;
    if (aligned == done) break;  // it has become shorter
    done = aligned;
  }
  check_unchanged();
  if (done < wanted) {
    fail(ErrorCode::kIo, "'{}' ends at {}, expected {} bytes", printable(path_.string(), 400), offset + done,
         size_bytes_);
  }
}

}  // namespace quire
