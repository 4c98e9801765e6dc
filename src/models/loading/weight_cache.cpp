#include "models/loading/weight_cache.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/build_id.h"
#include "base/cache_folder.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "base/replace_file.h"
#include "kernels/select.h"
#include "models/step.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".quire";
constexpr size_t kSectionBytes = size_t{2} << 20;  // of one checksum: a huge page
constexpr size_t kMaxSamples = 256;
constexpr size_t kSampleBytes = 4096;
constexpr size_t kMaxTextBytes = size_t{1} << 20;
constexpr const char* kUnreadable = "it cannot be read: the disk reports an error, or the file has become shorter";

// The end of every file: the size of the text before it, and what kind of file it is.
struct Trailer {
  uint64_t text_bytes = 0;
  char magic[8] = {'Q', 'U', 'I', 'R', 'E', 'W', 'C', '1'};
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

size_t num_sections(uint64_t weight_bytes) { return (weight_bytes + kSectionBytes - 1) / kSectionBytes; }

// Calls body(section) for each section of `weights` on the threads of `exec`.
template <typename Body>
void for_sections(const Exec& exec, std::span<const std::byte> weights, const Body& body) {
  parallel_for(exec, static_cast<int64_t>(num_sections(weights.size())), [&](int64_t index) {
    const size_t first = static_cast<size_t>(index) * kSectionBytes;
    body(static_cast<size_t>(index), weights.subspan(first, std::min(kSectionBytes, weights.size() - first)));
  });
}

// The bytes that a table packs follow from its functions, which the build id pins down; where they lie in the program
// tells the tables of one build apart.
uint64_t packing_of(const Kernels& kernels) {
  const auto origin = reinterpret_cast<uintptr_t>(&WeightCache::find);
  std::vector<uintptr_t> places;
  const auto add = [&](auto* function) {
    places.push_back(function == nullptr ? 0 : reinterpret_cast<uintptr_t>(function) - origin);
  };
  for (const FormatKernels& format : kernels.formats) {
    add(format.pack);
    places.push_back(static_cast<uintptr_t>(format.input));
  }
  add(kernels.pack_dense);
  return checksum64(std::as_bytes(std::span(places)));
}

// Of the file that is mapped: another one may have its name by now. A program that changes a file can give it back its
// time of modification, but not that of its change.
std::string line_of(const MappedFile& file) {
  const MappedFile::State& state = file.state();
  return fmt::format("file: {}, {} bytes, inode {}, modified {}, changed {}\n", fs::canonical(file.path()).string(),
                     file.bytes().size(), state.inode, state.modified_ns, state.changed_ns);
}

std::string_view format_name_of(const WeightsWanted& wanted) {
  return wanted.format ? weight_format(*wanted.format).name : "of the file";
}

std::string text_of(const WeightCache::Subject& subject, const std::string& build, const fs::path& model,
                    const std::vector<const MappedFile*>& files) {
  const auto& [checkpoint, kernels, wanted, weight_bytes] = subject;
  std::string text = fmt::format("packed weights of quire\nmodel: {}\n", model.string());
  text += fmt::format("build: {}\n", build);
  text += fmt::format("kernels: {} {}\n", kernels.name, activations_name(kernels.activations));
  text += fmt::format("packing: {:016x}\n", packing_of(kernels));
  text += fmt::format("rank: {} of {}\n", wanted.share.rank, wanted.share.size);
  text += fmt::format("format: {}\n", format_name_of(wanted));
  text += fmt::format("bytes: {}\n", weight_bytes);
  text += fmt::format("configuration: {:016x}\n", checksum64(bytes_of(json::serialize(checkpoint.config()))));
  text += fmt::format("samples: {:016x}\n", weight_samples(checkpoint, kMaxSamples));
  for (const MappedFile* file : files) text += line_of(*file);
  text.append((8 - text.size() % 8) % 8, '\n');
  return text;
}

// Known again by people, and the same however the model is named in a command.
std::string file_name_of(const WeightCache::Subject& subject, const fs::path& model) {
  std::string name = model.stem().string().substr(0, 80);
  std::ranges::replace_if(
      name, [](char c) { return std::string_view("/\\ \n").find(c) != std::string_view::npos; }, '-');
  const std::string key = fmt::format("{}\n{} {}\n{} of {}\n{}", model.string(), subject.kernels.name,
                                      activations_name(subject.kernels.activations), subject.wanted.share.rank,
                                      subject.wanted.share.size, format_name_of(subject.wanted));
  return fmt::format("{}-{:016x}{}", name, checksum64(bytes_of(key)), kSuffix);
}

// Whether a name is one that file_name_of makes.
bool has_our_name(const fs::path& name) {
  const std::string stem = name.stem().string();
  return name.extension() == kSuffix && stem.size() > 17 && stem[stem.size() - 17] == '-' &&
         stem.find_last_not_of("0123456789abcdef") == stem.size() - 17;
}

// Nobody else may have written a file from which weights are taken. Empty, or why that may be so and what to do.
std::string others_who_may_write(const MappedFile& file) {
  const MappedFile::State& state = file.state();
  if (state.owner != ::geteuid() && state.owner != 0) {
    return fmt::format("user {} owns it; name a folder of your own, or use --weight-cache off", state.owner);
  }
  if ((state.mode & (S_IWGRP | S_IWOTH)) == 0) return {};
  return fmt::format(
      "other users may write it (mode {:o}); if none did, run chmod go-w on it; where the system does not allow that, "
      "use --weight-cache off",
      state.mode & 0777U);
}

// For its owner alone; a failure shows when the file is written.
void make_folder(const fs::path& folder) {
  std::error_code ignored;
  fs::create_directories(folder.parent_path(), ignored);
  ::mkdir(folder.c_str(), S_IRWXU);
}

// Brings the pages of `bytes` into memory with few faults. False: they cannot be read, because the disk fails or the
// file has become shorter, and a read would end the program with SIGBUS. Systems before Linux 5.14 cannot tell.
bool fetch(std::span<const std::byte> bytes) {
  static const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const size_t before = reinterpret_cast<uintptr_t>(bytes.data()) % page_bytes;
  auto* const first = const_cast<std::byte*>(bytes.data()) - before;
  ::madvise(first, bytes.size() + before, MADV_WILLNEED);
#ifdef MADV_POPULATE_READ
  if (::madvise(first, bytes.size() + before, MADV_POPULATE_READ) != 0) return errno != EFAULT && errno != EHWPOISON;
#endif
  return true;
}

// The text of a file as it says itself; empty when it cannot be right.
std::string text_at_end(std::span<const std::byte> bytes) {
  Trailer trailer;
  if (bytes.size() < sizeof(trailer)) return {};
  std::memcpy(&trailer, bytes.last(sizeof(trailer)).data(), sizeof(trailer));
  const size_t before = bytes.size() - sizeof(trailer);
  const bool is_ours = std::memcmp(trailer.magic, Trailer{}.magic, sizeof(trailer.magic)) == 0;
  if (!is_ours || trailer.text_bytes > std::min(before, kMaxTextBytes)) return {};
  const std::span<const std::byte> text = bytes.subspan(before - trailer.text_bytes, trailer.text_bytes);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

// The value of a line "key: value" of a text; empty when there is none.
std::string value_of(std::string_view text, std::string_view key) {
  const size_t at = text.find(fmt::format("\n{}: ", key));
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + key.size() + 3);
  return std::string(rest.substr(0, rest.find('\n')));
}

}  // namespace

uint64_t weight_samples(const Checkpoint& checkpoint, size_t most) {
  const std::vector<Checkpoint::NamedTensor> tensors = checkpoint.all_tensors();
  const size_t stride = tensors.size() / most + 1;
  uint64_t sum = tensors.size();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& view = tensors[i].view;
    sum = checksum64(bytes_of(tensors[i].name), sum);
    sum = checksum64(bytes_of(weight_format(view.format).name), sum);
    sum = checksum64(std::as_bytes(view.dimensions()), sum);
    if (i % stride != 0) continue;
    const size_t count = std::min<size_t>(kSampleBytes, view.size_bytes);
    sum = checksum64({view.data + (view.size_bytes - count) / 2, count}, sum);
  }
  return sum;
}

WeightCache::WeightCache(fs::path path, std::string text, uint64_t weight_bytes)
    : path_(std::move(path)), text_(std::move(text)), weight_bytes_(weight_bytes) {}

std::optional<WeightCache> WeightCache::find(const fs::path& folder, const Subject& subject, bool creates) {
  const std::string build = build_id();
  const std::vector<const MappedFile*> files = subject.checkpoint.files();
  if (folder.empty() || files.empty() || build.empty()) return std::nullopt;
  try {
    const fs::path model =
        fs::canonical(subject.checkpoint.is_gguf() ? files[0]->path() : subject.checkpoint.directory());
    const fs::path path = folder / file_name_of(subject, model);
    if (!creates && !fs::exists(path) && !fs::exists(path.string() + std::string(kPartialSuffix))) return std::nullopt;
    return WeightCache(path, text_of(subject, build, model, files), subject.weight_bytes);
  } catch (const fs::filesystem_error&) {  // the model's file is no longer there, only its mapping; or no such folder
    return std::nullopt;
  }
}

bool WeightCache::exists() const {
  std::error_code error;
  return fs::exists(path_, error);
}

bool WeightCache::matches() const {
  try {
    if (!exists()) return false;
    const MappedFile file = MappedFile::open(path_);
    return others_who_may_write(file).empty() && difference(file).empty();
  } catch (const Error&) {
    return false;
  }
}

// Why the file cannot hold these weights; empty when it may, as far as the text says.
std::string WeightCache::difference(const MappedFile& file) const {
  const std::span<const std::byte> bytes = file.bytes();
  const Trailer trailer{.text_bytes = text_.size()};
  const size_t sums_bytes = num_sections(weight_bytes_) * sizeof(uint64_t);
  const size_t tail_bytes = text_.size() + sizeof(trailer);
  if (bytes.size() != weight_bytes_ + sums_bytes + tail_bytes) return "it has another size";
  if (!fetch(bytes.subspan(weight_bytes_))) return kUnreadable;
  const std::byte* const tail = bytes.data() + weight_bytes_ + sums_bytes;
  if (std::memcmp(tail, text_.data(), text_.size()) == 0 &&
      std::memcmp(tail + text_.size(), &trailer, sizeof(trailer)) == 0) {
    return {};
  }
  return "it was written for another state of the model or by another build of the program";
}

// The same after all of it has been read, for its contents too.
std::string WeightCache::check(const MappedFile& file, const Exec& exec, bool keeps_pages) const {
  if (std::string reason = difference(file); !reason.empty()) return reason;
  const std::span<const std::byte> weights = file.bytes().first(weight_bytes_);
  // Where the file system keeps large folios (ext4 since Linux 6.16, XFS), the mapping then has huge pages: the
  // weights begin the file, and were written in one piece.
  ::madvise(const_cast<std::byte*>(weights.data()), weights.size(), MADV_HUGEPAGE);
  std::vector<uint64_t> sums(num_sections(weight_bytes_));
  std::atomic<bool> is_readable = true;
  for_sections(exec, weights, [&](size_t index, std::span<const std::byte> section) {
    if (fetch(section)) {
      sums[index] = checksum64(section);
      if (!keeps_pages) ::madvise(const_cast<std::byte*>(section.data()), section.size(), MADV_DONTNEED);
    } else {
      is_readable = false;
    }
  });
  if (!is_readable) return kUnreadable;
  const std::span<const std::byte> expected = file.bytes().subspan(weight_bytes_, sums.size() * sizeof(uint64_t));
  return std::memcmp(sums.data(), expected.data(), expected.size()) == 0 ? "" : "its contents are damaged";
}

WeightCache::Opened WeightCache::open(const Exec& exec, bool keeps_pages) const {
  Opened opened;
  remove_partial(path_);
  if (!exists()) return opened;
  std::string reason;
  try {
    MappedFile file = MappedFile::open(path_);
    reason = others_who_may_write(file);
    opened.may_be_replaced = reason.empty();
    if (reason.empty()) reason = check(file, exec, keeps_pages);
    if (reason.empty()) {
      log::info("packed weights {} '{}'", keeps_pages ? "mapped from" : "are read from",
                printable(path_.string(), 400));
      opened.file = std::move(file);
      return opened;
    }
  } catch (const Error& error) {
    reason = error.what();
  }
  log::warning("the cached weights '{}' are not used: {}; the model's file is packed again", printable(path_.string()),
               reason);
  return opened;
}

void WeightCache::create(const std::function<void(std::span<std::byte>)>& fill, const Exec& exec) const {
  const size_t sums_bytes = num_sections(weight_bytes_) * sizeof(uint64_t);
  const Trailer trailer{.text_bytes = text_.size()};
  make_folder(path_.parent_path());
  const auto fill_file = [&](std::span<std::byte> file) {
    const std::span<std::byte> weights = file.first(weight_bytes_);
    fill(weights);
    std::vector<uint64_t> sums(num_sections(weight_bytes_));
    for_sections(exec, weights,
                 [&](size_t index, std::span<const std::byte> section) { sums[index] = checksum64(section); });
    std::byte* const tail = file.data() + weight_bytes_ + sums_bytes;
    std::memcpy(file.data() + weight_bytes_, sums.data(), sums_bytes);
    std::memcpy(tail, text_.data(), text_.size());
    std::memcpy(tail + text_.size(), &trailer, sizeof(trailer));
  };
  const size_t file_bytes = weight_bytes_ + sums_bytes + text_.size() + sizeof(trailer);
  if (replace_file(path_, file_bytes, fill_file)) return;
  fail(ErrorCode::kIo, "another process is writing the packed weights '{}'; start again when it is done",
       printable(path_.string()));
}

void WeightCache::write(std::span<const std::byte> weights, const Exec& exec) const {
  std::vector<uint64_t> sums(num_sections(weights.size()));
  for_sections(exec, weights,
               [&](size_t index, std::span<const std::byte> section) { sums[index] = checksum64(section); });
  const Trailer trailer{.text_bytes = text_.size()};
  make_folder(path_.parent_path());
  try {
    const bool is_written = replace_file(
        path_, {weights, std::as_bytes(std::span(sums)), bytes_of(text_), std::as_bytes(std::span(&trailer, 1))});
    log::info("packed weights {} '{}'", is_written ? "written to" : "are being written by another process to",
              printable(path_.string()));
  } catch (const Error& error) {
    log::warning("the packed weights are not cached: {}", error.what());
  }
}

fs::path weight_cache_folder() {
  const fs::path folder = cache_folder();
  return folder.empty() ? folder : folder / "weights";
}

std::vector<WeightCacheFile> list_weight_caches(const fs::path& folder) {
  std::vector<WeightCacheFile> list;
  const bool is_own_folder = folder == weight_cache_folder();
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != kSuffix) continue;
    try {
      const MappedFile file = MappedFile::open(entry.path());
      const std::string text = text_at_end(file.bytes());
      if (text.empty() && !is_own_folder) continue;
      list.push_back({.path = entry.path(),
                      .size_bytes = file.bytes().size(),
                      .model = printable(value_of(text, "model"), 400),
                      .kernels = printable(value_of(text, "kernels"), 40)});
    } catch (const Error&) {  // it is just being replaced, or none of ours
      continue;
    }
  }
  std::ranges::sort(list, {}, &WeightCacheFile::path);
  return list;
}

uint64_t clear_weight_caches(const fs::path& folder) {
  uint64_t freed_bytes = 0;
  std::error_code error;
  for (const WeightCacheFile& file : list_weight_caches(folder)) {
    if (fs::remove(file.path, error)) freed_bytes += file.size_bytes;
  }
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const fs::path& path = entry.path();
    if (path.extension() == kPartialSuffix && has_our_name(path.stem())) {
      freed_bytes += remove_partial(path.parent_path() / path.stem());
    }
  }
  return freed_bytes;
}

}  // namespace quire
