#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) {
      const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
      fail(code, "cannot open {}: {}", path.string(), std::strerror(errno));
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }

  struct stat of_regular_file(const std::filesystem::path& path) const {
    struct stat status = {};
    if (::fstat(fd_, &status) != 0) fail(ErrorCode::kIo, "cannot stat {}: {}", path.string(), std::strerror(errno));
    if (!S_ISREG(status.st_mode)) fail(ErrorCode::kInvalidArgument, "{} is not a regular file", path.string());
    return status;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const Descriptor fd(path);
  MappedFile file;
  file.path_ = path;
  const struct stat status = fd.of_regular_file(path);
  file.size_ = static_cast<size_t>(status.st_size);
  file.state_ = {.inode = status.st_ino,
                 .modified_ns = nanoseconds(status.st_mtim),
                 .changed_ns = nanoseconds(status.st_ctim),
                 .owner = status.st_uid,
                 .mode = status.st_mode};
  if (file.size_ == 0) return file;
  void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) fail(ErrorCode::kIo, "cannot map {}: {}", path.string(), std::strerror(errno));
  file.data_ = static_cast<const std::byte*>(data);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      state_(other.state_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(state_, other.state_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release_pages() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, size_t max_bytes) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes) {
    fail(ErrorCode::kLimit, "{} has {} bytes, more than the {} allowed for such a file", path.string(), bytes.size(),
         max_bytes);
  }
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace quire
