#include "compress/files/conversion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "kernels/select.h"
#include "models/architectures/registry.h"
#include "models/loading/config.h"

namespace quire {
namespace {

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::ranges::any_of(ends, [&](std::string_view end) { return name.ends_with(end); });
}

bool is_router(std::string_view hf_name) {
  return ends_with_any(hf_name, {"mlp.gate.weight", "block_sparse_moe.gate.weight"});
}

// The rows of one head, in the output's order: halves become neighbours or the other way round.
int32_t source_row(int32_t row, int32_t rope_dim, bool to_interleaved) {
  if (row >= rope_dim) return row;
  const int32_t half = rope_dim / 2;
  return to_interleaved ? row / 2 + row % 2 * half : row % half * 2 + row / half;
}

MatrixRequest whole(const TensorSource::Requested& tensor) {
  const int64_t cols = tensor.shape.back();
  const int64_t rows =
      std::accumulate(tensor.shape.begin(), tensor.shape.end() - 1, int64_t{1}, std::multiplies<int64_t>());
  return {.name = tensor.name,
          .rows = rows,
          .cols = cols,
          .total_rows = rows,
          .num_stacked = tensor.shape.size() == 3 ? tensor.shape[0] : 0};
}

}  // namespace

Conversion::Conversion(const Checkpoint& source, ModelFileKind to)
    : source_(source), to_(to), weights_(std::make_unique<TensorSource>(source, RankShare{})) {
  WeightLoader measuring(source, reference_kernels());
  info_ = make_model(source, measuring)->info();
  const bool to_gguf = to == ModelFileKind::kGguf;
  if (to_gguf || source.is_gguf()) {
    architecture_ =
        source.is_gguf() ? &gguf_architecture(*source.gguf()) : find_gguf_architecture(with_head(info_.architecture));
    if (architecture_ == nullptr) {
      fail(ErrorCode::kUnsupported, "{}: GGUF has no architecture for {}", source.name(), info_.architecture);
    }
  }
  if (to_gguf != source.is_gguf()) {
    permutes_ = architecture_->rope_is_interleaved;
    to_interleaved_ = to_gguf;
    if (architecture_->norms_include_one) norm_offset_ = to_gguf ? 1.0f : -1.0f;
    if (permutes_) rope_dim_ = read_rope(source.config(), info_.head_dim).dim;
  }
  for (const TensorSource::Requested& tensor : measuring.requested_tensors()) {
    if (to_gguf) {
      add_to_gguf(tensor);
    } else {
      add({.name = tensor.name, .shape = tensor.shape, .sources = {whole(tensor)}});
    }
  }
  left_out_ = measuring.unused_tensors();
}

void Conversion::add_to_gguf(const TensorSource::Requested& tensor) {
  for (const std::string_view block : {"experts.gate_up_proj", "experts.down_proj"}) {
    if (tensor.name.ends_with(block)) return add_experts(tensor, block);
  }
  const auto place = gguf_place(*architecture_, tensor.name);
  if (!place) {
    fail(ErrorCode::kUnsupported, "{}: GGUF has no name for the tensor \"{}\" of {}", source_.name(),
         printable(tensor.name), info_.architecture);
  }
  if (place->expert) return add_expert(place->name, whole(tensor));
  add({.name = place->name, .shape = tensor.shape, .sources = {whole(tensor)}});
}

// A stack of Hugging Face's: gate and up of each expert one behind the other, or down.
void Conversion::add_experts(const TensorSource::Requested& stack, std::string_view end) {
  const std::string prefix = stack.name.substr(0, stack.name.size() - end.size()) + "experts.0.";
  const bool has_two = end.starts_with("experts.gate_up");
  const int64_t count = stack.shape[0];
  const int64_t rows = has_two ? stack.shape[1] / 2 : stack.shape[1];
  const MatrixRequest all = whole(stack);
  int64_t first = 0;
  for (const char* part : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
    if (has_two == (std::string_view(part) == "down_proj.weight")) continue;
    const auto place = gguf_place(*architecture_, prefix + part);
    CHECK(place.has_value());
    for (int64_t e = 0; e < count; ++e) {
      MatrixRequest one = all;
      one.rows = rows;
      one.first_row = e * stack.shape[1] + first;
      add_expert(place->name, std::move(one));
    }
    first += rows;
  }
}

void Conversion::add_expert(const std::string& gguf_name, MatrixRequest part) {
  const auto [found, is_new] = stacks_.try_emplace(gguf_name, tensors_.size());
  if (is_new) {
    add({.name = gguf_name, .shape = {1, part.rows, part.cols}, .sources = {std::move(part)}});
    return;
  }
  ConvertedTensor& stack = tensors_[found->second];
  ++stack.shape[0];
  stack.sources.push_back(std::move(part));
}

void Conversion::add(ConvertedTensor tensor) {
  const std::string& hf_name = tensor.sources[0].name;
  const bool is_vector = tensor.shape.size() == 1;
  tensor.is_matrix = !is_vector && !is_router(hf_name);
  tensor.row_order = row_order_of(hf_name);
  if (is_vector && hf_name.ends_with("norm.weight")) tensor.offset = norm_offset_;
  // Codes of a scheme have no format that another file could take over.
  const bool is_plain = is_vector || weights_->matrix(tensor.sources[0]).is_plain();
  if (is_plain) tensor.source_format = source_.tensor(hf_name).format;
  tensors_.push_back(std::move(tensor));
}

std::vector<int32_t> Conversion::row_order_of(std::string_view hf_name) const {
  const bool is_query = ends_with_any(hf_name, {"self_attn.q_proj.weight", "self_attn.q_proj.bias"});
  const bool is_key = ends_with_any(hf_name, {"self_attn.k_proj.weight", "self_attn.k_proj.bias"});
  if (!permutes_ || (!is_query && !is_key)) return {};
  std::vector<int32_t> order;
  for (int32_t head = 0; head < (is_query ? info_.num_heads : info_.num_kv_heads); ++head) {
    for (int32_t row = 0; row < info_.head_dim; ++row) {
      order.push_back(head * info_.head_dim + source_row(row, rope_dim_, to_interleaved_));
    }
  }
  return order;
}

void Conversion::read(const MatrixRequest& request, std::span<float> out, const Exec& exec) {
  MatrixRequest floats = request;
  floats.format = Format::kF32;
  std::memcpy(out.data(), weights_->blocks(weights_->matrix(floats), exec), out.size_bytes());
}

std::vector<float> Conversion::values(const ConvertedTensor& tensor, const Exec& exec) {
  const int64_t count = checked_num_elements(tensor.shape).value();
  const size_t part = static_cast<size_t>(count) / tensor.sources.size();
  std::vector<float> all(static_cast<size_t>(count));
  for (size_t i = 0; i < tensor.sources.size(); ++i) {
    const std::span<float> out = std::span(all).subspan(i * part, part);
    if (tensor.shape.size() == 1) {
      dequantize(weights_->plain_tensor(tensor.sources[i].name, {count}), out);
    } else {
      read(tensor.sources[i], out, exec);
    }
  }
  if (!tensor.row_order.empty()) {
    const size_t width = all.size() / tensor.row_order.size();
    const std::vector<float> before = all;
    for (size_t row = 0; row < tensor.row_order.size(); ++row) {
      const auto from = static_cast<size_t>(tensor.row_order[row]) * width;
      std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(from), width,
                  all.begin() + static_cast<std::ptrdiff_t>(row * width));
    }
  }
  if (tensor.offset != 0.0f) std::ranges::for_each(all, [&](float& value) { value = tensor.offset + value; });
  return all;
}

std::optional<std::vector<std::byte>> Conversion::copied(const ConvertedTensor& tensor, Format format) const {
  if (tensor.offset != 0.0f || tensor.source_format != format) return std::nullopt;  // a scheme's codes: F32
  const WeightFormat& row_format = weight_format(format);
  const bool is_vector = tensor.shape.size() == 1;
  std::vector<std::byte> out;
  for (const MatrixRequest& source : tensor.sources) {
    const auto view = source_.find_tensor(source.name);
    if (!view || view->format != format) return std::nullopt;
    const size_t width = row_format.bytes_of(is_vector ? 1 : source.cols);
    const int64_t rows = is_vector ? tensor.shape[0] : source.rows;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = tensor.row_order.empty() ? row : tensor.row_order[static_cast<size_t>(row)];
      const std::byte* const bytes = view->data + static_cast<size_t>(source.first_row + from) * width;
      out.insert(out.end(), bytes, bytes + width);
    }
  }
  return out;
}

std::vector<std::byte> Conversion::bytes(const ConvertedTensor& tensor, Format format, const Exec& exec) {
  if (auto out = copied(tensor, format)) return std::move(*out);
  const std::vector<float> floats = values(tensor, exec);
  const WeightFormat& to = weight_format(format);
  const int64_t cols = tensor.cols();
  const size_t row_bytes = to.bytes_of(cols);
  const auto rows = static_cast<int64_t>(floats.size()) / cols;
  std::vector<std::byte> out(static_cast<size_t>(rows) * row_bytes);
  parallel_for(exec, rows, [&](int64_t row) {
    to.quantize(floats.data() + row * cols, out.data() + static_cast<size_t>(row) * row_bytes, cols);
  });
  return out;
}

}  // namespace quire
