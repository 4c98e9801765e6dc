#include "tensor/files/gguf_parse.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/files/foreign.h"
#include "tensor/files/ggml_types.h"

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF payloads are used as they lie in the file");

constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxKeys = 1 << 20;
constexpr uint64_t kMaxNameBytes = 64 << 10;
constexpr uint64_t kMinAlignment = 8;  // GGUF requires a multiple of 8; so every block can be read in place
constexpr uint64_t kMaxAlignment = uint64_t{1} << 30;
constexpr int kMaxGgufRank = 4;

template <typename T>
T load(const std::byte* payload) {
  T value;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

// Walks the bytes front to back; asking for more than is left is an Error.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file_name) : bytes_(bytes), file_name_(file_name) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t count, std::string_view what) {
    if (count > left()) {
      fail(ErrorCode::kCorrupt,
           "{}: {} at byte {} takes {} bytes, but the file ends {} bytes too early; it is truncated or not GGUF, "
           "download it again",
           file_name_, what, position_, count, count - left());
    }
    const auto taken = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return taken;
  }
  template <typename T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::span<const std::byte> string(std::string_view what) { return take(number<uint64_t>(what), what); }
  std::string name(std::string_view what) {
    const auto length = number<uint64_t>(what);
    if (length == 0 || length > kMaxNameBytes) {
      fail(ErrorCode::kCorrupt, "{}: {} at byte {} has a length of {}; expected 1 to {}", file_name_, what, position_,
           length, kMaxNameBytes);
    }
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_name_;
  size_t position_ = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file_name)
      : bytes_(bytes), file_(file_name), reader_(bytes, file_name) {}

  GgufImage parse() {
    read_header();
    for (uint64_t i = 0; i < num_keys_; ++i) read_pair();
    read_alignment();
    for (uint64_t i = 0; i < num_tensors_; ++i) read_tensor();
    place_tensors();
    return std::move(image_);
  }

 private:
  // A tensor whose shape is known and whose place is not yet.
  struct Pending {
    TensorMap::iterator entry;
    uint64_t offset;
    uint64_t size_bytes;
  };

  void read_header() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      fail(bytes_.empty() ? ErrorCode::kCorrupt : ErrorCode::kUnsupported, "{} {}; expected a GGUF file", file_,
           describe_foreign(bytes_));
    }
    reader_.take(4, "the magic");
    image_.version = reader_.number<uint32_t>("the version");
    if (image_.version == 1) {
      fail(ErrorCode::kUnsupported,
           "{} is GGUF version 1, which only early files of 2023 have; convert the model again", file_);
    }
    if (image_.version != 2 && image_.version != 3) {
      const uint32_t swapped = __builtin_bswap32(image_.version);
      if (swapped >= 1 && swapped <= 3) {
        fail(ErrorCode::kUnsupported, "{} is a big-endian GGUF file; convert it to little endian first", file_);
      }
      fail(ErrorCode::kUnsupported, "{} says it is GGUF version {}; this build reads 2 and 3", file_, image_.version);
    }
    num_tensors_ = reader_.number<uint64_t>("the number of tensors");
    num_keys_ = reader_.number<uint64_t>("the number of metadata keys");
    if (num_tensors_ > kMaxTensors || num_keys_ > kMaxKeys) {
      fail(ErrorCode::kLimit, "{} declares {} tensors and {} metadata keys; at most {} and {} are read", file_,
           num_tensors_, num_keys_, kMaxTensors, kMaxKeys);
    }
  }

  GgufType read_type(const std::string& key) {
    const auto type = reader_.number<uint32_t>("a metadata type");
    if (type > static_cast<uint32_t>(GgufType::kF64)) {
      fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" has the unknown type {}; expected 0 to 12", file_, printable(key),
           type);
    }
    return static_cast<GgufType>(type);
  }

  void read_pair() {
    std::string key = reader_.name("a metadata key");
    GgufValue value;
    value.type = read_type(key);
    if (value.type == GgufType::kArray) {
      read_array(key, value);
    } else if (value.type == GgufType::kString) {
      value.bytes = reader_.string("a metadata string");
    } else {
      value.bytes = reader_.take(gguf_scalar_bytes(value.type), "a metadata value");
      check_bools(key, value.type, value.bytes);
    }
    const auto [entry, is_new] = image_.metadata.emplace(std::move(key), value);
    if (!is_new) fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" occurs twice", file_, printable(entry->first));
  }

  void read_array(const std::string& key, GgufValue& value) {
    value.element_type = read_type(key);
    value.count = reader_.number<uint64_t>("an array's length");
    if (value.element_type == GgufType::kArray) {
      fail(ErrorCode::kUnsupported, "{}: metadata \"{}\" is an array of arrays, which is not read", file_,
           printable(key));
    }
    const size_t start = reader_.position();
    if (value.element_type == GgufType::kString) {
      for (uint64_t i = 0; i < value.count; ++i) reader_.string("a string of an array");
      value.bytes = bytes_.subspan(start, reader_.position() - start);
      return;
    }
    const auto size = checked_mul(value.count, gguf_scalar_bytes(value.element_type));
    if (!size) {
      fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" declares {} elements, more than a file can hold", file_,
           printable(key), value.count);
    }
    value.bytes = reader_.take(*size, "an array");
    check_bools(key, value.element_type, value.bytes);
  }

  void check_bools(const std::string& key, GgufType type, std::span<const std::byte> bytes) {
    if (type != GgufType::kBool) return;
    for (const std::byte byte : bytes) {
      if (byte > std::byte{1}) {
        fail(ErrorCode::kCorrupt, "{}: metadata \"{}\" holds the bool {}; expected 0 or 1", file_, printable(key),
             static_cast<int>(byte));
      }
    }
  }

  void read_alignment() {
    const auto found = image_.metadata.find("general.alignment");
    if (found == image_.metadata.end()) return;
    const auto alignment = gguf_integer(found->second.type, found->second.bytes.data());
    const uint64_t value = alignment && *alignment > 0 ? static_cast<uint64_t>(*alignment) : 0;
    if (!std::has_single_bit(value) || value < kMinAlignment || value > kMaxAlignment) {
      fail(ErrorCode::kCorrupt, "{}: general.alignment is {}; expected a power of two from {} to {}", file_,
           alignment ? std::to_string(*alignment) : name(found->second.type), kMinAlignment, kMaxAlignment);
    }
    image_.alignment = value;
  }

  void read_tensor() {
    std::string tensor_name = reader_.name("a tensor's name");
    TensorView view;
    const auto rank = reader_.number<uint32_t>("a tensor's rank");
    if (rank < 1 || rank > kMaxGgufRank) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has {} dimensions; expected 1 to {}", file_, printable(tensor_name),
           rank, kMaxGgufRank);
    }
    view.rank = static_cast<int>(rank);
    for (uint32_t i = 0; i < rank; ++i) {
      view.shape[rank - 1 - i] = static_cast<int64_t>(reader_.number<uint64_t>("a tensor's dimension"));
    }
    const auto type = reader_.number<uint32_t>("a tensor's type");
    const auto format = format_of_ggml_type(type);
    if (!format) {
      fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" has the type {}; this build reads {}", file_,
           printable(tensor_name), ggml_type_name(type), readable_ggml_types());
    }
    view.format = *format;
    const auto offset = reader_.number<uint64_t>("a tensor's offset");
    const uint64_t size_bytes = tensor_bytes(tensor_name, view);
    if (offset % image_.alignment != 0) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" starts at offset {}, which is not a multiple of the alignment {}",
           file_, printable(tensor_name), offset, image_.alignment);
    }
    const auto [entry, is_new] = image_.tensors.emplace(std::move(tensor_name), view);
    if (!is_new) fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" occurs twice", file_, printable(entry->first));
    pending_.push_back({entry, offset, size_bytes});
  }

  uint64_t tensor_bytes(const std::string& tensor_name, const TensorView& view) const {
    const WeightFormat& format = weight_format(view.format);
    const auto count = checked_num_elements(view.dimensions());
    if (!count || *count == 0) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has the impossible shape {}", file_, printable(tensor_name),
           shape_text(view.dimensions()));
    }
    if (view.cols() % format.block_elements != 0) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has rows of {} elements; {} needs a multiple of {}", file_,
           printable(tensor_name), view.cols(), format.name, format.block_elements);
    }
    const auto size =
        checked_mul(static_cast<uint64_t>(*count / format.block_elements), static_cast<uint64_t>(format.block_bytes));
    if (!size) {
      fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" of shape {} is larger than any file", file_, printable(tensor_name),
           shape_text(view.dimensions()));
    }
    return *size;
  }

  // Tensor data starts at the next multiple of the alignment.
  void place_tensors() {
    if (pending_.empty()) return;
    std::sort(pending_.begin(), pending_.end(), [](const Pending& a, const Pending& b) { return a.offset < b.offset; });
    const uint64_t start = (reader_.position() + image_.alignment - 1) / image_.alignment * image_.alignment;
    uint64_t end = 0;  // of the tensor before, from `start`
    const Pending* previous = nullptr;
    for (const Pending& tensor : pending_) {
      if (tensor.offset < end) {
        fail(ErrorCode::kCorrupt, "{}: tensors \"{}\" and \"{}\" overlap at offset {}", file_,
             printable(previous->entry->first), printable(tensor.entry->first), tensor.offset);
      }
      const auto absolute = checked_add(start, tensor.offset);
      if (!absolute || !range_inside(*absolute, tensor.size_bytes, bytes_.size())) fail_truncated(start, tensor);
      end = tensor.offset + tensor.size_bytes;
      previous = &tensor;
      tensor.entry->second.data = bytes_.data() + *absolute;
      tensor.entry->second.size_bytes = static_cast<size_t>(tensor.size_bytes);
    }
  }

  [[noreturn]] void fail_truncated(uint64_t start, const Pending& first_outside) const {
    const Pending& last = pending_.back();
    const auto offset_end = checked_add(last.offset, last.size_bytes);
    const auto needed = offset_end ? checked_add(start, *offset_end) : std::nullopt;
    fail(
        ErrorCode::kCorrupt,
        "{}: tensor \"{}\" {} of {} needs {} bytes from byte {}+{}, but the file has {}; {} are missing in all, so the "
        "file is truncated (download it again) or its header is wrong",
        file_, printable(first_outside.entry->first), shape_text(first_outside.entry->second.dimensions()),
        weight_format(first_outside.entry->second.format).name, first_outside.size_bytes, start, first_outside.offset,
        bytes_.size(),
        needed && *needed > bytes_.size() ? std::to_string(*needed - bytes_.size()) + " bytes"
                                          : "more than 2^64 bytes");
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  Reader reader_;
  GgufImage image_;
  uint64_t num_tensors_ = 0;
  uint64_t num_keys_ = 0;
  std::vector<Pending> pending_;
};

}  // namespace

GgufImage parse_gguf(std::span<const std::byte> bytes, const std::string& file_name) {
  return Parser(bytes, file_name).parse();
}

std::vector<std::string_view> gguf_strings(const GgufValue& value, const std::string& file_name) {
  Reader reader(value.bytes, file_name);
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<size_t>(std::min<uint64_t>(value.count, value.bytes.size() / sizeof(uint64_t))));
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto text = reader.string("a string of an array");
    strings.emplace_back(reinterpret_cast<const char*>(text.data()), text.size());
  }
  return strings;
}

size_t gguf_scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return 0;
}

std::optional<int64_t> gguf_integer(GgufType type, const std::byte* payload) {
  switch (type) {
    case GgufType::kU8: return load<uint8_t>(payload);
    case GgufType::kI8: return load<int8_t>(payload);
    case GgufType::kU16: return load<uint16_t>(payload);
    case GgufType::kI16: return load<int16_t>(payload);
    case GgufType::kU32: return load<uint32_t>(payload);
    case GgufType::kI32: return load<int32_t>(payload);
    case GgufType::kI64: return load<int64_t>(payload);
    case GgufType::kU64: {
      const auto value = load<uint64_t>(payload);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default: return std::nullopt;
  }
}

std::optional<double> gguf_number(GgufType type, const std::byte* payload) {
  if (type == GgufType::kF32) return load<float>(payload);
  if (type == GgufType::kF64) return load<double>(payload);
  const auto integer = gguf_integer(type, payload);
  if (!integer) return std::nullopt;
  return static_cast<double>(*integer);
}

}  // namespace quire
