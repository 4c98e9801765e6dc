// A whole file mapped read-only. Owns the mapping; movable, any thread may read. The file must not shrink while mapped
// (the kernel then answers reads with SIGBUS): see docs/model-files.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace quire {

class MappedFile {
 public:
  // Of the file that is mapped, as it was when it was opened, whatever has its name by now.
  struct State {
    uint64_t inode = 0;
    int64_t modified_ns = 0;  // since 1970
    int64_t changed_ns = 0;   // likewise; also when its time of modification was set
    uint32_t owner = 0;
    uint32_t mode = 0;
  };

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
  const State& state() const { return state_; }

  // Tells the kernel that the pages will not be read again, so that they stop counting as this process's memory.
  void release_pages() const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  State state_;
};

// The whole of a small text file; throws Error, kLimit above `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, size_t max_bytes);

}  // namespace quire
