#include "tensor/files/gguf.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "tensor/files/foreign.h"
#include "tensor/files/gguf_parse.h"

namespace quire {
namespace {

constexpr int64_t kMaxShards = 99999;  // what the five digits of a shard's name can count

std::string describe(const GgufValue& value) {
  if (value.type == GgufType::kArray) return fmt::format("an array of {} {}", value.count, name(value.element_type));
  if (value.type == GgufType::kString) {
    const std::string_view text(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
    return fmt::format("the string \"{}\"", printable(text, 40));
  }
  const auto number = gguf_number(value.type, value.bytes.data());
  return number ? fmt::format("the {} {}", name(value.type), *number) : fmt::format("a {}", name(value.type));
}

[[noreturn]] void wrong_type(const std::string& file, std::string_view key, const char* expected,
                             const GgufValue& found) {
  fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" should be {}, found {}", file, printable(key), expected,
       describe(found));
}

const GgufValue& require_array(const std::string& file, std::string_view key, const GgufValue& value,
                               const char* expected) {
  if (value.type != GgufType::kArray) wrong_type(file, key, expected, value);
  return value;
}

int64_t find_in(const GgufImage& image, std::string_view key, int64_t fallback) {
  const auto found = image.metadata.find(key);
  if (found == image.metadata.end()) return fallback;
  return gguf_integer(found->second.type, found->second.bytes.data()).value_or(-1);
}

// "model-00001-of-00003.gguf" -> the name of shard `index` (from 0) of `count`; empty when the name has no such form.
std::string shard_file_name(const std::string& of_any_shard, int64_t own_index, int64_t index, int64_t count) {
  const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", own_index + 1, count);
  if (!of_any_shard.ends_with(suffix)) return {};
  return of_any_shard.substr(0, of_any_shard.size() - suffix.size()) +
         fmt::format("-{:05}-of-{:05}.gguf", index + 1, count);
}

}  // namespace

const char* name(GgufType type) {
  switch (type) {
    case GgufType::kU8: return "uint8";
    case GgufType::kI8: return "int8";
    case GgufType::kU16: return "uint16";
    case GgufType::kI16: return "int16";
    case GgufType::kU32: return "uint32";
    case GgufType::kI32: return "int32";
    case GgufType::kF32: return "float32";
    case GgufType::kBool: return "bool";
    case GgufType::kString: return "string";
    case GgufType::kArray: return "array";
    case GgufType::kU64: return "uint64";
    case GgufType::kI64: return "int64";
    case GgufType::kF64: return "float64";
  }
  return "unknown";
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  refuse_directory(path, "a .gguf file");
  GgufFile file;
  file.name_ = path.string();
  file.files_.push_back(MappedFile::open(path));
  file.adopt(parse_gguf(file.files_.back().bytes(), file.name_), file.files_.back().bytes().size());
  file.open_other_shards(path);
  return file;
}

GgufFile GgufFile::from_bytes(std::span<const std::byte> bytes, std::string name) {
  CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0);
  GgufFile file;
  file.name_ = std::move(name);
  file.adopt(parse_gguf(bytes, file.name_), bytes.size());
  return file;
}

void GgufFile::adopt(GgufImage&& image, uint64_t size_bytes) {
  version_ = image.version;
  alignment_ = image.alignment;
  size_bytes_ = size_bytes;
  metadata_ = std::move(image.metadata);
  tensors_ = std::move(image.tensors);
}

void GgufFile::open_other_shards(const std::filesystem::path& first) {
  const int64_t count = find_int("split.count", 1);
  if (count <= 1) return;
  const int64_t own_index = find_int("split.no", 0);
  const std::string first_name = first.filename().string();
  if (count > kMaxShards || own_index < 0 || own_index >= count ||
      shard_file_name(first_name, own_index, 0, count).empty()) {
    fail(ErrorCode::kCorrupt,
         "{} says it is part {} of {}, but is not named like it; expected NAME-00001-of-{:05}.gguf", name_,
         own_index + 1, count, count);
  }
  if (own_index != 0) {
    fail(ErrorCode::kInvalidArgument, "{} is part {} of {}; open the first part, {}", name_, own_index + 1, count,
         shard_file_name(first_name, own_index, 0, count));
  }
  for (int64_t index = 1; index < count; ++index) {
    const auto path = first.parent_path() / shard_file_name(first_name, 0, index, count);
    std::error_code error;
    if (!std::filesystem::exists(path, error)) {
      fail(ErrorCode::kNotFound, "{}: part {} of {} is missing; expected {} beside it", name_, index + 1, count,
           path.filename().string());
    }
    files_.push_back(MappedFile::open(path));
    GgufImage shard = parse_gguf(files_.back().bytes(), path.string());
    if (find_in(shard, "split.no", -1) != index || find_in(shard, "split.count", -1) != count) {
      fail(ErrorCode::kCorrupt, "{}: expected part {} of {}, its metadata says {} of {}", path.string(), index + 1,
           count, find_in(shard, "split.no", -1) + 1, find_in(shard, "split.count", -1));
    }
    size_bytes_ += files_.back().bytes().size();
    tensors_.merge(shard.tensors);
    if (!shard.tensors.empty()) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" is also in an earlier part", path.string(),
           printable(shard.tensors.begin()->first));
    }
  }
  num_shards_ = static_cast<int>(count);
  const int64_t announced = find_int("split.tensors.count", static_cast<int64_t>(tensors_.size()));
  if (announced != static_cast<int64_t>(tensors_.size())) {
    fail(ErrorCode::kCorrupt, "{}: the {} parts hold {} tensors together, split.tensors.count declares {}", name_,
         count, tensors_.size(), announced);
  }
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const GgufValue& GgufFile::require(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" is missing", name_, printable(key));
  return *value;
}

int64_t GgufFile::get_int(std::string_view key) const {
  const GgufValue& value = require(key);
  const auto integer = gguf_integer(value.type, value.bytes.data());
  if (!integer) wrong_type(name_, key, "an integer", value);
  return *integer;
}

int64_t GgufFile::find_int(std::string_view key, int64_t fallback) const { return has(key) ? get_int(key) : fallback; }

double GgufFile::get_double(std::string_view key) const {
  const GgufValue& value = require(key);
  const auto number = gguf_number(value.type, value.bytes.data());
  if (!number) wrong_type(name_, key, "a number", value);
  return *number;
}

double GgufFile::find_double(std::string_view key, double fallback) const {
  return has(key) ? get_double(key) : fallback;
}

bool GgufFile::get_bool(std::string_view key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::kBool) wrong_type(name_, key, "true or false", value);
  return value.bytes[0] != std::byte{0};
}

bool GgufFile::find_bool(std::string_view key, bool fallback) const { return has(key) ? get_bool(key) : fallback; }

std::string_view GgufFile::get_string(std::string_view key) const {
  const GgufValue& value = require(key);
  if (value.type != GgufType::kString) wrong_type(name_, key, "a string", value);
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

std::string_view GgufFile::find_string(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : fallback;
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  const GgufValue& value = require_array(name_, key, require(key), "an array of strings");
  if (value.element_type != GgufType::kString) wrong_type(name_, key, "an array of strings", value);
  return gguf_strings(value, name_);
}

std::vector<float> GgufFile::get_floats(std::string_view key) const {
  const GgufValue& value = require_array(name_, key, require(key), "an array of numbers");
  const size_t stride = gguf_scalar_bytes(value.element_type);
  std::vector<float> out;
  out.reserve(static_cast<size_t>(stride == 0 ? 0 : value.count));
  for (size_t i = 0; i < value.count; ++i) {
    const auto number = gguf_number(value.element_type, value.bytes.data() + i * stride);
    if (!number) wrong_type(name_, key, "an array of numbers", value);
    out.push_back(static_cast<float>(*number));
  }
  return out;
}

std::vector<int64_t> GgufFile::get_ints(std::string_view key) const {
  const GgufValue& value = require_array(name_, key, require(key), "an array of integers");
  const size_t stride = gguf_scalar_bytes(value.element_type);
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(stride == 0 ? 0 : value.count));
  for (size_t i = 0; i < value.count; ++i) {
    const auto integer = gguf_integer(value.element_type, value.bytes.data() + i * stride);
    if (!integer) wrong_type(name_, key, "an array of integers", value);
    out.push_back(*integer);
  }
  return out;
}

const TensorView* GgufFile::find_tensor(std::string_view tensor_name) const {
  const auto found = tensors_.find(tensor_name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& GgufFile::get_tensor(std::string_view tensor_name) const {
  const TensorView* tensor = find_tensor(tensor_name);
  if (tensor == nullptr) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" is missing; the file holds {} tensors", name_, printable(tensor_name),
         tensors_.size());
  }
  return *tensor;
}

void GgufFile::release_pages() const {
  for (const MappedFile& file : files_) file.release_pages();
}

}  // namespace quire
