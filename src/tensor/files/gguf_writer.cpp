#include "tensor/files/gguf_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/check.h"
#include "base/error.h"
#include "tensor/aligned_buffer.h"
#include "tensor/files/ggml_types.h"
#include "tensor/files/gguf.h"
#include "tensor/tensor.h"

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little);

template <typename T>
std::string encode(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string encode_string(std::string_view text) { return encode<uint64_t>(text.size()) + std::string(text); }

template <typename T>
std::string encode_array(GgufType element_type, std::span<const T> values) {
  std::string out = encode(static_cast<uint32_t>(element_type)) + encode<uint64_t>(values.size());
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return out;
}

uint64_t padded(uint64_t size) {
  return (size + GgufWriter::kAlignment - 1) / GgufWriter::kAlignment * GgufWriter::kAlignment;
}

uint64_t checked_tensor_bytes(std::string_view tensor_name, Format id, std::span<const int64_t> shape) {
  const WeightFormat& format = weight_format(id);
  if (!ggml_type_of_format(id)) {
    fail(ErrorCode::kInvalidArgument, "GGUF has no type for {} (tensor \"{}\")", format.name, printable(tensor_name));
  }
  const auto count = checked_num_elements(shape);
  if (shape.empty() || shape.size() > 4 || !count || *count == 0 || *count > int64_t{1} << 56 ||
      shape.back() % format.block_elements != 0) {
    fail(ErrorCode::kInvalidArgument, "tensor \"{}\" of shape {} cannot be written as {} (blocks of {})",
         printable(tensor_name), shape_text(shape), format.name, format.block_elements);
  }
  return format.bytes_of(*count);
}

}  // namespace

void GgufWriter::add_value(std::string_view key, GgufType type, std::string_view payload) {
  if (key.empty() || !names_.insert("k" + std::string(key)).second) {
    fail(ErrorCode::kInvalidArgument, "metadata \"{}\" is added twice or has no name", printable(key));
  }
  metadata_ += encode_string(key) + encode(static_cast<uint32_t>(type));
  metadata_ += payload;
  ++num_keys_;
}

void GgufWriter::add_uint32(std::string_view key, uint32_t value) { add_value(key, GgufType::kU32, encode(value)); }
void GgufWriter::add_int32(std::string_view key, int32_t value) { add_value(key, GgufType::kI32, encode(value)); }
void GgufWriter::add_uint64(std::string_view key, uint64_t value) { add_value(key, GgufType::kU64, encode(value)); }
void GgufWriter::add_float(std::string_view key, float value) { add_value(key, GgufType::kF32, encode(value)); }
void GgufWriter::add_bool(std::string_view key, bool value) {
  add_value(key, GgufType::kBool, encode(static_cast<uint8_t>(value)));
}
void GgufWriter::add_string(std::string_view key, std::string_view value) {
  add_value(key, GgufType::kString, encode_string(value));
}
void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
  std::string payload = encode(static_cast<uint32_t>(GgufType::kString)) + encode<uint64_t>(values.size());
  for (const std::string& value : values) payload += encode_string(value);
  add_value(key, GgufType::kArray, payload);
}
void GgufWriter::add_floats(std::string_view key, std::span<const float> values) {
  add_value(key, GgufType::kArray, encode_array(GgufType::kF32, values));
}
void GgufWriter::add_ints(std::string_view key, std::span<const int32_t> values) {
  add_value(key, GgufType::kArray, encode_array(GgufType::kI32, values));
}

void GgufWriter::add_tensor(std::string_view name, Format format, std::span<const int64_t> shape, Fill fill) {
  const uint64_t size_bytes = checked_tensor_bytes(name, format, shape);
  if (name.empty() || !names_.insert("t" + std::string(name)).second) {
    fail(ErrorCode::kInvalidArgument, "tensor \"{}\" is added twice or has no name", printable(name));
  }
  tensors_.push_back({std::string(name), format, {shape.begin(), shape.end()}, size_bytes, std::move(fill)});
}

void GgufWriter::add_tensor(std::string_view name, Format format, std::span<const int64_t> shape,
                            std::span<const float> values) {
  const WeightFormat& row = weight_format(format);
  CHECK(row.is_weight());
  add_tensor(name, format, shape, [&row, values](std::span<std::byte> out) {
    row.quantize(values.data(), out.data(), static_cast<int64_t>(values.size()));
  });
  CHECK(row.bytes_of(static_cast<int64_t>(values.size())) == tensors_.back().size_bytes);
}

uint64_t GgufWriter::write_to(std::ostream& out) const {
  std::string header = "GGUF" + encode<uint32_t>(3) + encode<uint64_t>(tensors_.size()) + encode(num_keys_) + metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    header += encode_string(tensor.name) + encode(static_cast<uint32_t>(tensor.shape.size()));
    for (auto dimension = tensor.shape.rbegin(); dimension != tensor.shape.rend(); ++dimension)
      header += encode(*dimension);
    header += encode(*ggml_type_of_format(tensor.format)) + encode(offset);
    offset += padded(tensor.size_bytes);
  }
  header.resize(padded(header.size()));
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const Tensor& tensor : tensors_) {
    if (!tensor.fill) {
      out.seekp(static_cast<std::streamoff>(padded(tensor.size_bytes)), std::ios::cur);
      continue;
    }
    AlignedBuffer data(padded(tensor.size_bytes));
    tensor.fill({data.data(), tensor.size_bytes});
    out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size_bytes()));
  }
  return header.size() + offset;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  std::filesystem::path partial = path;
  partial += fmt::format(".{}.partial", ::getpid());
  std::error_code error;
  {
    std::ofstream out(partial, std::ios::binary | std::ios::trunc);
    const uint64_t size_bytes = out ? write_to(out) : 0;
    out.close();
    if (out) std::filesystem::resize_file(partial, size_bytes, error);
    if (!out || error) {
      std::filesystem::remove(partial, error);
      fail(ErrorCode::kIo, "cannot write {}: is there room, and permission to write there?", path.string());
    }
  }
  std::filesystem::rename(partial, path, error);
  if (error) fail(ErrorCode::kIo, "cannot rename {} to {}: {}", partial.string(), path.string(), error.message());
}

std::string GgufWriter::to_bytes() const {
  std::ostringstream out;
  CHECK(std::all_of(tensors_.begin(), tensors_.end(), [](const Tensor& tensor) { return tensor.fill != nullptr; }));
  write_to(out);
  return std::move(out).str();
}

}  // namespace quire
