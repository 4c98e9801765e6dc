#include "tensor/files/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "tensor/files/ggml_types.h"
#include "tensor/files/tensor_file_writer.h"
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
  const uint64_t size = DeclaredTensor{std::string(tensor_name), id, {shape.begin(), shape.end()}}.size_bytes();
  if (shape.empty() || shape.size() > 4 || size == 0) {
    fail(ErrorCode::kInvalidArgument, "tensor \"{}\" of shape {} cannot be written as GGUF: 1 to 4 sizes above 0",
         printable(tensor_name), shape_text(shape));
  }
  return size;
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

void GgufWriter::add_value(std::string_view key, const GgufValue& value) {
  std::string payload;
  if (value.type == GgufType::kString) payload = encode<uint64_t>(value.bytes.size());
  if (value.type == GgufType::kArray) {
    payload = encode(static_cast<uint32_t>(value.element_type)) + encode<uint64_t>(value.count);
  }
  payload.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  add_value(key, value.type, payload);
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

TensorFileLayout GgufWriter::layout(std::string file_name) const {
  std::string head = "GGUF" + encode<uint32_t>(3) + encode<uint64_t>(tensors_.size()) + encode(num_keys_) + metadata_;
  TensorFileLayout layout;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    head += encode_string(tensor.name) + encode(static_cast<uint32_t>(tensor.shape.size()));
    for (auto dimension = tensor.shape.rbegin(); dimension != tensor.shape.rend(); ++dimension)
      head += encode(*dimension);
    head += encode(*ggml_type_of_format(tensor.format)) + encode(offset);
    layout.places[tensor.name] = {.file = 0, .offset = offset, .size_bytes = tensor.size_bytes};
    offset += padded(tensor.size_bytes);
  }
  head.resize(padded(head.size()));
  for (auto& [name, place] : layout.places) place.offset += head.size();
  const uint64_t size_bytes = head.size() + offset;
  layout.files.push_back({std::move(file_name), std::move(head), size_bytes});
  return layout;
}

std::vector<std::byte> GgufWriter::Tensor::filled() const {
  std::vector<std::byte> bytes(size_bytes);
  fill(bytes);
  return bytes;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  const bool is_whole = std::ranges::all_of(tensors_, [](const Tensor& tensor) { return tensor.fill != nullptr; });
  TensorFileWriter out(path.parent_path(), layout(path.filename()), TensorFileWriter::Start::kNew,
                       is_whole ? TensorFileWriter::Room::kReserved : TensorFileWriter::Room::kSparse);
  try {
    for (const Tensor& tensor : tensors_) {
      if (tensor.fill) out.write(tensor.name, tensor.filled());
    }
    out.finish(TensorFileWriter::Durability::kUnsynced);
  } catch (const Error&) {
    out.abandon();
    throw;
  }
}

std::string GgufWriter::to_bytes() const {
  const TensorFileLayout whole = layout({});
  std::string bytes = whole.files[0].head;
  bytes.resize(whole.files[0].size_bytes);
  for (const Tensor& tensor : tensors_) {
    CHECK(tensor.fill != nullptr);
    const std::vector<std::byte> data = tensor.filled();
    std::memcpy(bytes.data() + whole.places.at(tensor.name).offset, data.data(), data.size());
  }
  return bytes;
}

}  // namespace quire
