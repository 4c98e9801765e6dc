#include "kvstore/kv_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

#include "base/checksum.h"
#include "base/error.h"
#include "base/no_size_signal.h"

namespace quire {
namespace {

constexpr uint64_t kFileMagic = 0x3165'6c69'4656'4b51;  // "QKVFile1"
constexpr uint64_t kLeastSlots = 2;

struct FileHeader {
  uint64_t magic = kFileMagic;
  PrefixHash tag;
  uint64_t num_groups = 0;
  uint64_t num_slots = 0;
  uint64_t layout_sum = 0;  // of the groups' slot sizes
  bool operator==(const FileHeader&) const = default;
};

uint64_t whole_pages(uint64_t bytes) {
  return (bytes + KvFile::kPageBytes - 1) / KvFile::kPageBytes * KvFile::kPageBytes;
}

// What the size of the file allows for a slot of each group and their entries.
uint64_t fitting_slots(uint64_t capacity, std::span<const uint64_t> slot_bytes) {
  const uint64_t fixed = KvFile::kPageBytes * (1 + slot_bytes.size());  // the header, and the tables are whole pages
  const uint64_t of_one =
      std::accumulate(slot_bytes.begin(), slot_bytes.end(), uint64_t{0}) + sizeof(SlotEntry) * slot_bytes.size();
  const uint64_t count = capacity > fixed ? (capacity - fixed) / of_one : 0;
  return std::min<uint64_t>(count, std::numeric_limits<int32_t>::max());
}

std::vector<uint64_t> slot_sizes(const KvFile::Layout& layout) {
  std::vector<uint64_t> sizes;
  for (const uint64_t bytes : layout.record_bytes) sizes.push_back(whole_pages(bytes));
  return sizes;
}

[[noreturn]] void refuse_file(const std::filesystem::path& path, const char* what) {
  fail(ErrorCode::kIo, "the KV disk '{}' cannot be {}: {}", printable(path.string(), 400), what, std::strerror(errno));
}

bool read_all(int file, std::span<std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return true;
}

bool write_all(int file, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return true;
}

}  // namespace

int64_t KvFile::num_slots(const Layout& layout) {
  return static_cast<int64_t>(fitting_slots(layout.capacity_bytes, slot_sizes(layout)));
}

KvFile::KvFile(const std::filesystem::path& path, const Layout& layout)
    : num_slots_(num_slots(layout)), slot_bytes_(slot_sizes(layout)) {
  if (num_slots_ < static_cast<int64_t>(kLeastSlots)) {
    const uint64_t least = KvFile::kPageBytes * (1 + slot_bytes_.size()) +
                           kLeastSlots * (std::accumulate(slot_bytes_.begin(), slot_bytes_.end(), uint64_t{0}) +
                                          sizeof(SlotEntry) * slot_bytes_.size());
    fail(ErrorCode::kInvalidArgument,
         "a KV disk of {} bytes has no room for {} blocks of this model: give it {} bytes at least",
         layout.capacity_bytes, kLeastSlots, least);
  }
  open(path);
  try {
    uint64_t at = table_offset(slot_bytes_.size());
    for (const uint64_t bytes : slot_bytes_) {
      first_slot_.push_back(at);
      at += bytes * static_cast<uint64_t>(num_slots_);
    }
    const FileHeader wanted{.tag = layout.tag,
                            .num_groups = slot_bytes_.size(),
                            .num_slots = static_cast<uint64_t>(num_slots_),
                            .layout_sum = checksum64(std::as_bytes(std::span(slot_bytes_)))};
    FileHeader found;
    found.magic = 0;
    struct stat status = {};
    if (::fstat(file_, &status) != 0) refuse_file(path, "opened");
    const bool has_header = read_all(file_, std::as_writable_bytes(std::span(&found, 1)), 0);
    if (status.st_size > 0 && (!has_header || found.magic != kFileMagic)) {
      fail(ErrorCode::kInvalidArgument,
           "the KV disk '{}' exists and is something else: name another file, or delete this one",
           printable(path.string(), 400));
    }
    const NoSizeSignal no_signal;
    check_room(path, at);
    // The header first: whenever this ends, the file is recognised, and its size or what it holds tells the rest.
    if (found != wanted && !write_all(file_, std::as_bytes(std::span(&wanted, 1)), 0)) refuse_file(path, "written");
    take_room(path, at);
    if (found != wanted || static_cast<uint64_t>(status.st_size) != at) {
      const std::vector<SlotEntry> none(static_cast<size_t>(num_slots_));
      for (size_t group = 0; group < slot_bytes_.size(); ++group) write_table(group, none);
    }
    open_direct();
  } catch (...) {
    ::close(file_);
    throw;
  }
}

KvFile::~KvFile() {
  if (direct_ >= 0) ::close(direct_);
  ::close(file_);
}

void KvFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: a pipe of this name must not be waited for.
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
  if (file_ < 0) refuse_file(path, "opened");
  try {
    struct stat status = {};
    if (::fstat(file_, &status) != 0) refuse_file(path, "opened");
    if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid()) {
      fail(ErrorCode::kInvalidArgument, "the KV disk '{}' is not a regular file of this user: name another file",
           printable(path.string(), 400));
    }
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) refuse_file(path, "locked");
      fail(ErrorCode::kIo,
           "the KV disk '{}' is used by another process: give each a file of its own (processes share blocks through a "
           "Redis)",
           printable(path.string(), 400));
    }
    if ((status.st_mode & 077) != 0 && ::fchmod(file_, 0600) != 0) refuse_file(path, "kept from others");
  } catch (...) {
    ::close(file_);
    throw;
  }
}

// Asked before room is taken: some file systems fill the disk before they find that it is too small.
void KvFile::check_room(const std::filesystem::path& path, uint64_t size_bytes) const {
  struct stat status = {};
  struct statvfs disk = {};
  if (::fstat(file_, &status) != 0 || ::fstatvfs(file_, &disk) != 0) refuse_file(path, "examined");
  const uint64_t own = static_cast<uint64_t>(status.st_blocks) * 512;
  const uint64_t available = own + disk.f_bavail * disk.f_frsize;
  if (size_bytes > available) {
    fail(ErrorCode::kIo, "the KV disk '{}' would have {} bytes, and its file system has {}: make it smaller",
         printable(path.string(), 400), size_bytes, available);
  }
}

void KvFile::take_room(const std::filesystem::path& path, uint64_t size_bytes) {
  const auto size = static_cast<off_t>(size_bytes);
  if (::ftruncate(file_, size) != 0) refuse_file(path, "given its size");
  if (::fallocate(file_, 0, 0, size) == 0) return;
  if (errno == EOPNOTSUPP || errno == ENOSYS) return;  // such a file system gives room when a slot is written
  const int error = errno;
  // A full disk must not stay full.
  if (::ftruncate(file_, 0) != 0) refuse_file(path, "made smaller");
  errno = error;
  refuse_file(path, "given its room");
}

// The same file again, past the system's cache; without /proc or on a file system that cannot, with it.
void KvFile::open_direct() {
  const std::string again = "/proc/self/fd/" + std::to_string(file_);
  direct_ = ::open(again.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
  if (direct_ < 0) return;
  const std::unique_ptr<void, decltype(&std::free)> page(std::aligned_alloc(kPageBytes, kPageBytes), std::free);
  const std::span bytes(static_cast<std::byte*>(page.get()), kPageBytes);
  if (page != nullptr && read_all(direct_, bytes, 0)) return;
  ::close(direct_);
  direct_ = -1;
}

std::vector<SlotEntry> KvFile::read_table(size_t group) const {
  std::vector<SlotEntry> entries(static_cast<size_t>(num_slots_));
  if (!read_all(file_, std::as_writable_bytes(std::span(entries)), table_offset(group)))
    entries.assign(entries.size(), {});
  return entries;
}

void KvFile::write_table(size_t group, std::span<const SlotEntry> entries) const {
  write_all(file_, std::as_bytes(entries), table_offset(group));
}

void KvFile::write_entry(size_t group, int64_t slot, const SlotEntry& entry) const {
  write_all(file_, std::as_bytes(std::span(&entry, 1)),
            table_offset(group) + static_cast<uint64_t>(slot) * sizeof(entry));
}

uint64_t KvFile::table_offset(size_t group) const {
  return kPageBytes + group * whole_pages(static_cast<uint64_t>(num_slots_) * sizeof(SlotEntry));
}

}  // namespace quire
