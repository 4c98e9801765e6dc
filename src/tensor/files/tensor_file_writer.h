// Writes the files of a layout, tensor by tensor in any order, each at its known place. Until finish(), every file has
// kUnfinishedSuffix behind its name, so nobody sees half a model; a writer that was stopped leaves them, and another
// one goes on with Start::kContinue. Which tensors are written already is the caller's to know (a journal beside the
// files; sync() before a line of it).
//
// write() may be called from several threads for different bytes; the rest from one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/files/tensor_file_layout.h"

namespace quire {

inline constexpr std::string_view kUnfinishedSuffix = ".unfinished";

class TensorFileWriter {
 public:
  enum class Start : uint8_t {
    kNew,  // replaces what another writer left unfinished
    // Takes it up, files that have their names already too; Error kCorrupt where one is missing or was begun with
    // another layout.
    kContinue,
  };
  enum class Room : uint8_t {
    kReserved,  // on the disk, where the file system can: a disk too small is found out at once
    kSparse,    // what is never written stays a hole
  };

  // `folder` exists. Throws Error kIo naming the file, the bytes that it needs and what the system said; what was begun
  // new is removed then.
  TensorFileWriter(const std::filesystem::path& folder, TensorFileLayout layout, Start start = Start::kNew,
                   Room room = Room::kReserved);
  TensorFileWriter(const TensorFileWriter&) = delete;
  TensorFileWriter& operator=(const TensorFileWriter&) = delete;
  ~TensorFileWriter();  // leaves the unfinished files

  const TensorFileLayout& layout() const { return layout_; }
  // A part of a tensor's bytes, from its byte `first`. Throws Error kIo; the tensor must be declared and hold the part.
  void write(std::string_view tensor, std::span<const std::byte> bytes, uint64_t first = 0);
  void sync();                                             // what was written survives a power cut
  enum class Durability : uint8_t { kSynced, kUnsynced };  // whether the names wait for the disk
  // Gives the files their names, replacing what has them.
  void finish(Durability durability = Durability::kSynced);
  void abandon();  // removes the unfinished files

 private:
  struct OpenFile {
    std::filesystem::path path;  // final
    int fd = -1;
    bool is_locked = false;  // by this writer: no other one writes the file
  };
  void open_file(const TensorFileLayout::File& file, Start start, Room room);
  void check_head(size_t file) const;
  void close_all();
  void write_at(size_t file, uint64_t offset, std::span<const std::byte> bytes);
  [[noreturn]] void refuse(size_t file) const;  // with errno

  std::filesystem::path folder_;
  TensorFileLayout layout_;
  std::vector<OpenFile> files_;
};

}  // namespace quire
