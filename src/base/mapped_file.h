// A whole file mapped read-only. Owns the mapping; movable, any thread may read. The file must not shrink while mapped
// (the kernel then answers reads with SIGBUS): see docs/model-files.md.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace quire {

class MappedFile {
 public:
  // Throws Error kNotFound / kIo naming the path. An empty file gives an empty span.
  static MappedFile open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the kernel that the pages will not be read again, so that they stop counting as this process's memory.
  void release_pages() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole of a small text file; throws Error, kLimit above `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes);

}  // namespace quire
