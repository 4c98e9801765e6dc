#include "tensor/files/safetensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "tensor/files/foreign.h"
#include "tensor/files/safetensors_header.h"

namespace quire {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100 << 20;
constexpr size_t kMaxIndexBytes = 100 << 20;
constexpr size_t kLengthBytes = 8;  // the header's length, little endian, opens the file
constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

// Every byte behind the header belongs to exactly one tensor.
void check_coverage(std::vector<SafetensorsRange>& ranges, uint64_t data_bytes, const std::string& file) {
  std::sort(ranges.begin(), ranges.end(), [](const SafetensorsRange& a, const SafetensorsRange& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0;
  for (const SafetensorsRange& range : ranges) {
    if (range.begin != end) {
      fail(ErrorCode::kCorrupt,
           "{}: tensor \"{}\" starts at offset {}, expected {}: tensors may neither overlap nor leave holes", file,
           printable(range.tensor->first), range.begin, end);
    }
    end = range.end;
  }
  if (end > data_bytes) {
    fail(ErrorCode::kCorrupt,
         "{}: the tensors need {} bytes behind the header, the file has {}; {} bytes are missing, so "
         "the file is truncated (download it again) or its header is wrong",
         file, end, data_bytes, end - data_bytes);
  }
  if (end < data_bytes) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes behind the last tensor belong to none", file, data_bytes - end);
  }
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  refuse_directory(path, "a .safetensors file");
  SafetensorsFile file;
  file.name_ = path.string();
  file.file_ = MappedFile::open(path);
  file.read(file.file_.bytes());
  return file;
}

SafetensorsFile SafetensorsFile::from_bytes(std::span<const std::byte> bytes, std::string name) {
  SafetensorsFile file;
  file.name_ = std::move(name);
  file.read(bytes);
  return file;
}

void SafetensorsFile::read(std::span<const std::byte> bytes) {
  size_bytes_ = bytes.size();
  if (bytes.size() <= kLengthBytes || bytes[kLengthBytes] != std::byte{'{'}) {
    fail(bytes.empty() ? ErrorCode::kCorrupt : ErrorCode::kUnsupported, "{} {}; expected a safetensors file", name_,
         bytes.size() <= kLengthBytes && !bytes.empty() ? "has only " + std::to_string(bytes.size()) + " bytes"
                                                        : describe_foreign(bytes));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const uint64_t left = bytes.size() - kLengthBytes;
  if (header_bytes > kMaxHeaderBytes) {
    fail(ErrorCode::kLimit, "{}: the header's length is {} bytes; at most {} are read", name_, header_bytes,
         kMaxHeaderBytes);
  }
  if (header_bytes > left) {
    fail(ErrorCode::kCorrupt, "{}: the header has {} bytes, the file ends {} bytes too early; download it again", name_,
         header_bytes, header_bytes - left);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  SafetensorsHeader header = parse_safetensors_header(text, name_);
  check_coverage(header.ranges, left - header_bytes, name_);
  const std::byte* data = bytes.data() + kLengthBytes + header_bytes;
  for (const SafetensorsRange& range : header.ranges) range.tensor->second.data = data + range.begin;
  metadata_ = std::move(header.metadata);
  tensors_ = std::move(header.tensors);
}

SafetensorsDirectory SafetensorsDirectory::open(const std::filesystem::path& path) {
  SafetensorsDirectory directory;
  directory.name_ = path.string();
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    directory.files_.push_back(SafetensorsFile::open(path));
  } else if (std::filesystem::exists(path / kIndexName, error)) {
    directory.open_shards(path);
  } else if (std::filesystem::exists(path / kSingleName, error)) {
    directory.files_.push_back(SafetensorsFile::open(path / kSingleName));
  } else {
    fail(ErrorCode::kNotFound,
         "{} holds neither {} nor {}; download the weights, or convert PyTorch's .bin files to safetensors",
         path.string(), kSingleName, kIndexName);
  }
  if (directory.tensors_.empty()) directory.tensors_ = directory.files_.front().tensors();
  for (const SafetensorsFile& file : directory.files_) directory.size_bytes_ += file.size_bytes();
  return directory;
}

void SafetensorsDirectory::open_shards(const std::filesystem::path& path) {
  const std::string index_name = (path / kIndexName).string();
  const auto map = parse_safetensors_index(read_text_file(index_name, kMaxIndexBytes), index_name);
  if (map.empty()) fail(ErrorCode::kCorrupt, "{} names no tensor", index_name);
  std::map<std::string, size_t, std::less<>> shards;  // file name -> place in files_
  for (const auto& [tensor_name, file_name] : map) {
    const auto [shard, is_new] = shards.emplace(file_name, files_.size());
    if (is_new) {
      std::error_code error;
      if (!std::filesystem::exists(path / file_name, error)) {
        fail(ErrorCode::kNotFound,
             "{} needs {} for tensor \"{}\", which is not beside it; download all parts into one "
             "folder",
             index_name, printable(file_name), printable(tensor_name));
      }
      files_.push_back(SafetensorsFile::open(path / file_name));
    }
    const TensorMap& found = files_[shard->second].tensors();
    const auto tensor = found.find(tensor_name);
    if (tensor == found.end()) {
      fail(ErrorCode::kCorrupt, "{} says that tensor \"{}\" is in {}, which does not have it", index_name,
           printable(tensor_name), printable(file_name));
    }
    tensors_.emplace(tensor_name, tensor->second);
  }
}

const TensorView* SafetensorsDirectory::find_tensor(std::string_view tensor_name) const {
  const auto found = tensors_.find(tensor_name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& SafetensorsDirectory::get_tensor(std::string_view tensor_name) const {
  const TensorView* tensor = find_tensor(tensor_name);
  if (tensor == nullptr) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" is missing; the files hold {} tensors", name_, printable(tensor_name),
         tensors_.size());
  }
  return *tensor;
}

void SafetensorsDirectory::release_pages() const {
  for (const SafetensorsFile& file : files_) file.release_pages();
}

}  // namespace quire
