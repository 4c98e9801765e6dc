#include "tensor/files/tensor_file_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/json.h"
#include "tensor/files/safetensors_header.h"
#include "tensor/tensor.h"

namespace quire {
namespace {

// What element types may be read in place: each at a multiple of its size, so wide ones come first.
std::vector<const DeclaredTensor*> wide_first(std::span<const DeclaredTensor* const> tensors) {
  std::vector<const DeclaredTensor*> sorted(tensors.begin(), tensors.end());
  std::ranges::stable_sort(sorted, std::greater(),
                           [](const DeclaredTensor* tensor) { return weight_format(tensor->format).block_bytes; });
  return sorted;
}

// In the order given, as many to a file as fit.
std::vector<std::vector<const DeclaredTensor*>> shards(std::span<const DeclaredTensor> tensors, uint64_t largest_file) {
  std::vector<std::vector<const DeclaredTensor*>> result(1);
  uint64_t used = 0;
  for (const DeclaredTensor& tensor : tensors) {
    const uint64_t size = tensor.size_bytes();
    if (!result.back().empty() && used + size > largest_file) {
      result.emplace_back();
      used = 0;
    }
    result.back().push_back(&tensor);
    used += size;
  }
  return result;
}

std::string encode_head(const std::string& json_text) {
  std::string text = json_text;
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string head(sizeof length, '\0');
  std::memcpy(head.data(), &length, sizeof length);
  return head + text;
}

void add_file(std::string name, std::span<const DeclaredTensor* const> tensors, const json::object& metadata,
              TensorFileLayout& layout) {
  json::object header{{"__metadata__", metadata}};
  uint64_t offset = 0;
  for (const DeclaredTensor* tensor : wide_first(tensors)) {
    const uint64_t size = tensor->size_bytes();
    header[tensor->name] = {{"dtype", weight_format(tensor->format).name},
                            {"shape", json::array(tensor->shape.begin(), tensor->shape.end())},
                            {"data_offsets", {offset, offset + size}}};
    const TensorFileLayout::Place place = {.file = layout.files.size(), .offset = offset, .size_bytes = size};
    if (tensor->name.empty() || !layout.places.emplace(tensor->name, place).second) {
      fail(ErrorCode::kInvalidArgument, "tensor \"{}\" is declared twice or has no name", printable(tensor->name));
    }
    offset += size;
  }
  std::string head = encode_head(json::serialize(header));
  for (const DeclaredTensor* tensor : tensors) layout.places[tensor->name].offset += head.size();
  const uint64_t size_bytes = head.size() + offset;
  layout.files.push_back({std::move(name), std::move(head), size_bytes});
}

void add_index(uint64_t weight_bytes, TensorFileLayout& layout) {
  json::object weight_map;
  for (const auto& [name, place] : layout.places) weight_map[name] = layout.files[place.file].name;
  std::string text = json::serialize(
      json::object{{"metadata", {{"total_size", weight_bytes}}}, {"weight_map", std::move(weight_map)}});
  const uint64_t size = text.size();
  layout.files.push_back({"model.safetensors.index.json", std::move(text), size});
}

}  // namespace

uint64_t DeclaredTensor::size_bytes() const {
  const WeightFormat& row = weight_format(format);
  const auto count = checked_num_elements(shape);
  const bool fills_blocks = row.block_elements == 1 || (!shape.empty() && shape.back() % row.block_elements == 0);
  const auto blocks =
      count && fills_blocks ? std::optional(static_cast<uint64_t>(*count / row.block_elements)) : std::nullopt;
  const auto size = blocks ? checked_mul(*blocks, static_cast<uint64_t>(row.block_bytes)) : std::nullopt;
  if (!size || *size > uint64_t{1} << 56) {
    fail(ErrorCode::kInvalidArgument, "tensor \"{}\" of shape {} cannot be written as {} (blocks of {})",
         printable(name), shape_text(shape), row.name, row.block_elements);
  }
  return *size;
}

uint64_t TensorFileLayout::size_bytes() const {
  uint64_t size = 0;
  for (const File& file : files) size += file.size_bytes;
  return size;
}

TensorFileLayout safetensors_layout(std::span<const DeclaredTensor> tensors, const SafetensorsLayoutOptions& options) {
  uint64_t weight_bytes = 0;
  for (const DeclaredTensor& tensor : tensors) {
    if (!is_safetensors_format(tensor.format)) {
      fail(ErrorCode::kInvalidArgument, "safetensors has no type for {} (tensor \"{}\")",
           weight_format(tensor.format).name, printable(tensor.name));
    }
    weight_bytes += tensor.size_bytes();
  }
  json::object metadata;
  for (const auto& [key, value] : options.metadata) metadata[key] = value;
  TensorFileLayout layout;
  const auto parts = shards(tensors, options.largest_file);
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string name =
        parts.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, parts.size());
    add_file(std::move(name), parts[i], metadata, layout);
  }
  if (parts.size() > 1) add_index(weight_bytes, layout);
  return layout;
}

}  // namespace quire
