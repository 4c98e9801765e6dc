// Packed weights kept in a file, so that the next start maps them instead of packing them again. It changes how fast a
// model starts, never what it computes.
//
// A file belongs to one model, kernel table, kind of activations and rank. Behind the weights it has a checksum of each
// section and a text that names everything the packed bytes follow from: the build of the program, the table and its
// packing functions, the rank, the model's configuration, its files with size, inode and times, and samples of their
// tensors. A start writes the text that it would expect and compares; it takes no size and no offset from the file. So
// a file that is stale, foreign, cut short or damaged is found out before any of its weights is used, and packed again.
//
// The pages are shared by all processes that map the file, and the system may drop and read them again. Of the host
// only: a device has its weights in its own memory. One thread; checksums are computed on the threads of `exec`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "kernels/kernels.h"
#include "models/loading/checkpoint.h"
#include "models/loading/weights_wanted.h"

namespace quire {

class WeightCache {
 public:
  struct Subject {
    const Checkpoint& checkpoint;
    const Kernels& kernels;
    WeightsWanted wanted = {};
    uint64_t weight_bytes = 0;  // packed
  };
  // The file in `folder` for these weights. Nothing where there is nothing to recognise weights by: a model that lies
  // in no file, or a program without a build id. Nothing, too, where neither the file exists nor, unless `creates`, is
  // to be written: then no tensor is read.
  static std::optional<WeightCache> find(const std::filesystem::path& folder, const Subject& subject, bool creates);

  const std::filesystem::path& path() const { return path_; }
  bool exists() const;
  // Whether the file is of these weights; reads only the text.
  bool matches() const;
  struct Opened {
    // Its first weight_bytes are the packed weights, all checked and in memory. Nothing when there is no file or, with
    // a line in the log that says why, when it must not be used.
    std::optional<MappedFile> file;
    // Whether a file written in its place would be of use to the next start: not where the owner or the rights of the
    // file forbid its use, because the system may give a new one the same.
    bool may_be_replaced = true;
  };
  // Removes what a start has left that ended in the midst of writing it. `keeps_pages`: else none of the file stays in
  // memory because of it.
  Opened open(const Exec& exec, bool keeps_pages = true) const;
  // Replaces the file. Readers see the old one or the new one, always complete; starts that write at the same time
  // write once. A failure is a warning.
  void write(std::span<const std::byte> weights, const Exec& exec) const;
  // The same for weights that memory does not hold at once: `fill` writes them to the file's own pages, zeroed before.
  // Throws Error kIo naming the file, also while another start writes it.
  void create(const std::function<void(std::span<std::byte>)>& fill, const Exec& exec) const;

 private:
  WeightCache(std::filesystem::path path, std::string text, uint64_t weight_bytes);
  std::string difference(const MappedFile& file) const;
  std::string check(const MappedFile& file, const Exec& exec, bool keeps_pages) const;

  std::filesystem::path path_;
  std::string text_;
  uint64_t weight_bytes_;
};

// A checksum of names, types and shapes of all tensors, and of a piece from the middle of `most` of them at most,
// evenly spread.
uint64_t weight_samples(const Checkpoint& checkpoint, size_t most);

// $XDG_CACHE_HOME/quire/weights, or the same in ~/.cache; empty when there is no home.
std::filesystem::path weight_cache_folder();

// A file of a folder for people: what it says of itself, not checked.
struct WeightCacheFile {
  std::filesystem::path path;
  uint64_t size_bytes = 0;
  std::string model;    // its path
  std::string kernels;  // the kernel table and its activations
};
// By name. Empty when there is no such folder. Of weight_cache_folder(), which is for them alone, all files with such a
// name; of others those that say themselves that they are packed weights.
std::vector<WeightCacheFile> list_weight_caches(const std::filesystem::path& folder);
// Removes them, and what starts have left that ended in the midst of writing. Leaves what a start is writing now.
// Returns the bytes that were freed.
uint64_t clear_weight_caches(const std::filesystem::path& folder);

}  // namespace quire
