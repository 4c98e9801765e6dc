// The file of a FileStore: its name, its lock, its room and where things lie in it.
//
//   header of 4 KiB │ a table for each group: 32 bytes for each slot │ the slots of group 0 │ of group 1 │ ...
//
// Every group has equally many slots: a prefix has a block in each of them. Slots are whole pages, for O_DIRECT. Tables
// are hints, which a record proves or not: they are written without any order among themselves and the slots.
//
// Opened by one thread; reading and writing entries: any, one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "kvstore/prefix_hash.h"
#include "kvstore/slot_table.h"

namespace quire {

class KvFile {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  struct Layout {
    uint64_t capacity_bytes = 0;         // of the whole file
    std::vector<uint64_t> record_bytes;  // of each group
    PrefixHash tag;                      // of what the records were sealed with
  };

  // Makes the file if there is none, with all of its room. Tables of another layout or tag are emptied.
  // Throws Error: kInvalidArgument where the name is that of something else, kIo where the system refuses, as when
  // there is no room, and when another process has the file.
  KvFile(const std::filesystem::path& path, const Layout& layout);
  KvFile(const KvFile&) = delete;
  KvFile& operator=(const KvFile&) = delete;
  ~KvFile();

  // The file for slots; past the system's cache where it can be.
  int slots_file() const { return direct_ >= 0 ? direct_ : file_; }
  bool is_direct() const { return direct_ >= 0; }
  int64_t num_slots() const { return num_slots_; }  // of each group
  uint64_t slot_bytes(size_t group) const { return slot_bytes_[group]; }
  uint64_t slot_offset(size_t group, int64_t slot) const {
    return first_slot_[group] + static_cast<uint64_t>(slot) * slot_bytes_[group];
  }

  // What cannot be read is empty, what cannot be written stays as it was.
  std::vector<SlotEntry> read_table(size_t group) const;
  void write_table(size_t group, std::span<const SlotEntry> entries) const;
  void write_entry(size_t group, int64_t slot, const SlotEntry& entry) const;

  static int64_t num_slots(const Layout& layout);

 private:
  void open(const std::filesystem::path& path);
  void check_room(const std::filesystem::path& path, uint64_t size_bytes) const;
  void take_room(const std::filesystem::path& path, uint64_t size_bytes);
  void open_direct();
  uint64_t table_offset(size_t group) const;

  int file_ = -1;
  int direct_ = -1;
  int64_t num_slots_ = 0;
  std::vector<uint64_t> slot_bytes_;
  std::vector<uint64_t> first_slot_;  // offset of each group's
};

}  // namespace quire
