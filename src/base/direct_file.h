// A file that is read past the system's cache of pages, straight into memory (O_DIRECT), for files that are larger than
// memory. Where the file system cannot do that, it is read as usual. Any thread may read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace quire {

class DirectFile {
 public:
  // Of offsets, addresses and sizes.
  static constexpr size_t kAlignment = 4096;

  // Throws Error kNotFound / kIo naming the path.
  explicit DirectFile(const std::filesystem::path& path);
  DirectFile(DirectFile&& other) noexcept;
  DirectFile& operator=(DirectFile&&) = delete;
  ~DirectFile();

  const std::filesystem::path& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t inode() const { return inode_; }

  // Fills `to` from `offset` on, or to the end of the file; what is behind it in `to` may be anything. Throws Error kIo
  // when the disk fails, and kCorrupt when the file has another size or time of modification than when it was opened.
  void read(uint64_t offset, std::span<std::byte> to) const;

 private:
  void check_unchanged() const;

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  uint64_t inode_ = 0;
  int64_t modified_ns_ = 0;
};

}  // namespace quire
