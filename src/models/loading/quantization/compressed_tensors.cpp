// compressed-tensors (LLM Compressor's form) and Hugging Face's own "fp8", which differ in names only. Codes of four
// and eight bits packed along the columns (weight_packed), int8 and E4M3 as they are (weight), E2M1 in pairs
// (weight_packed) with E8M0 scales (MXFP4) or E4M3 scales below one float (NVFP4). Widths, groups and zero points are
// read from the tensors, because a file may hold several schemes for several modules. Scales of activations are not
// used: rows of activations are quantised at run time, more finely than these schemes need.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "models/loading/quantization/scheme.h"
#include "tensor/formats/blocks.h"

namespace quire {
namespace {

// Rows and columns that share a scale of E4M3 codes.
struct BlockShape {
  int64_t rows = 128;
  int64_t cols = 128;
};

BlockShape read_block_shape(const json::object& config, std::string_view key) {
  const json::array* sizes = find_array(config, key);
  if (sizes == nullptr) return {};
  const auto size = [&](size_t i) { return sizes->at(i).is_int64() ? sizes->at(i).get_int64() : 0; };
  const auto is_size = [&](size_t i) { return size(i) >= 1 && size(i) <= (int64_t{1} << 20); };
  if (sizes->size() != 2 || !is_size(0) || !is_size(1)) {
    fail(ErrorCode::kCorrupt, "\"{}\" is {}, expected two sizes of 1 to 1048576", key,
         printable(json::serialize(*sizes)));
  }
  return {size(0), size(1)};
}

// The groups of columns of a scale tensor [rows, groups]; [rows], [1] and a scalar are one group.
int64_t groups_of(const TensorView& scales) { return scales.rank < 2 ? 1 : scales.cols(); }

class CompressedTensors : public QuantizationScheme {
 public:
  CompressedTensors(std::string description, BlockShape block, bool is_pruned = false)
      : description_(std::move(description)), block_(block), is_pruned_(is_pruned) {}

  std::string description() const override { return description_; }

  std::optional<QuantizedMatrix> find(const QuantizedModule& module) const override {
    if (const auto packed = module.find("weight_packed")) {
      if (packed->format != Format::kU8) return find_packed(module);
      return module.find("weight_global_scale") ? find_nvfp4(module) : find_mxfp4(module);
    }
    const auto weight = module.find("weight");
    if (weight && weight->format == Format::kI8) return find_int8(module);
    if (weight && weight->format == Format::kF8_E4M3) return find_f8(module);
    return std::nullopt;
  }

 private:
  // Columns must divide into the groups evenly.
  static std::vector<int32_t> column_groups(const QuantizedModule& module, int64_t num_groups) {
    if (num_groups < 1 || module.cols() % num_groups != 0) {
      module.refuse("weight_scale", fmt::format("has {} groups", num_groups), "groups that divide the columns");
    }
    return even_groups(module.cols(), module.cols() / num_groups);
  }

  // Integer scales: one for all, one per row, or one per row and group.
  static ScaleTable integer_scales(const QuantizedModule& module) {
    const TensorView view = module.get_floats("weight_scale");
    if (view.num_elements() == 1) return {.view = view, .rows_per_block = module.rows()};
    if (view.rank == 1) {
      module.check_shape("weight_scale", view, {module.rows()});
    } else {
      module.check_shape("weight_scale", view, {module.rows(), groups_of(view)});
    }
    return {.view = view, .num_groups = groups_of(view)};
  }

  static std::optional<QuantizedMatrix> find_packed(const QuantizedModule& module) {
    const int64_t rows = module.rows();
    const int64_t cols = module.cols();
    const TensorView words = module.get("weight_packed");
    const int64_t words_cols = words.rank == 2 ? words.cols() : 0;
    const int bits = words_cols == (cols + 7) / 8 ? 4 : 8;
    module.check_shape("weight_packed", words, {rows, (cols * bits + 31) / 32});
    if (words.format != Format::kI32) {
      module.refuse("weight_packed", std::string("is ") + weight_format(words.format).name, "I32 or U8");
    }
    if (const auto shape = module.find("weight_shape"); shape && shape->format == Format::kI64) {
      module.check_shape("weight_shape", *shape, {2});
      for (const int64_t i : {0, 1}) {
        const int64_t size = int32_at(*shape, 2 * i) | (int64_t{int32_at(*shape, 2 * i + 1)} << 32);
        if (size != (i == 0 ? rows : cols)) module.refuse("weight_shape", fmt::format("says {}", size), "the same");
      }
    }
    const ScaleTable scales = integer_scales(module);
    IntegerCodes codes{
        .bits = bits,
        .groups = read_groups(module, scales.num_groups),
        .scales = scales,
        .zero = [middle = 1 << (bits - 1)](int64_t, int64_t) { return middle; },
        .zero_is_middle = true,
        .read =
            [words, bits, cols](int64_t first_row, int64_t num_rows, const int32_t* place, uint8_t* out) {
              for (int64_t i = 0; i < num_rows; ++i, out += cols) {
                const auto* packed = reinterpret_cast<const uint8_t*>(words.row(first_row + i));
                read_row(packed, bits, cols, place, out);
              }
            }};
    if (module.find("weight_zero_point")) {
      const TensorView zeros =
          module.get("weight_zero_point", Format::kI32, {(rows * bits + 31) / 32, scales.num_groups});
      codes.zero_is_middle = false;
      codes.zero = [zeros, bits](int64_t row, int64_t group) {
        const int64_t per_word = 32 / bits;
        const auto word = static_cast<uint32_t>(int32_at(zeros, row / per_word * zeros.cols() + group));
        return static_cast<int>((word >> (row % per_word * bits)) & ((1u << bits) - 1));
      };
    }
    return matrix_of(module, std::move(codes), words.data);
  }

  static void read_row(const uint8_t* packed, int bits, int64_t cols, const int32_t* place, uint8_t* out) {
    if (bits == 8 && place == nullptr) {
      std::memcpy(out, packed, static_cast<size_t>(cols));
    } else if (place == nullptr) {
      for (int64_t c = 0; c < cols; ++c) out[c] = (packed[c / 2] >> (c % 2 * 4)) & 15;
    } else {
      for (int64_t c = 0; c < cols; ++c) out[place[c]] = bits == 8 ? packed[c] : (packed[c / 2] >> (c % 2 * 4)) & 15;
    }
  }

  // weight_g_idx has the group of every column of matrices quantised in activation order; all -1 means that it is
  // unused.
  static std::vector<int32_t> read_groups(const QuantizedModule& module, int64_t num_groups) {
    std::vector<int32_t> groups = column_groups(module, num_groups);
    if (!module.find("weight_g_idx")) return groups;
    const TensorView view = module.get("weight_g_idx", Format::kI32, {module.cols()});
    if (int32_at(view, 0) == -1) return groups;
    for (int64_t c = 0; c < module.cols(); ++c) {
      const int32_t group = int32_at(view, c);
      if (group < 0 || group >= num_groups) {
        module.refuse("weight_g_idx", fmt::format("names group {} at column {}", group, c),
                      fmt::format("0 to {}", num_groups - 1));
      }
      groups[static_cast<size_t>(c)] = group;
    }
    return groups;
  }

  std::optional<QuantizedMatrix> find_int8(const QuantizedModule& module) const {
    const int64_t cols = module.cols();
    const TensorView view = module.get("weight", Format::kI8, {module.rows(), cols});
    const ScaleTable scales = integer_scales(module);
    IntegerCodes codes{.bits = 8,
                       .groups = column_groups(module, scales.num_groups),
                       .scales = scales,
                       .zero = [](int64_t, int64_t) { return 128; },
                       .zero_is_middle = true,
                       .may_be_sparse = is_pruned_ && module.takes_sparse(),
                       .read =
                           [view](int64_t first_row, int64_t num_rows, const int32_t*, uint8_t* out) {
                             const int64_t width = view.cols();
                             for (int64_t i = 0; i < num_rows; ++i, out += width) {
                               const auto* row = reinterpret_cast<const uint8_t*>(view.row(first_row + i));
                               for (int64_t c = 0; c < width; ++c) out[c] = row[c] ^ 128;
                             }
                           }};
    if (module.find("weight_zero_point")) {
      const TensorView zeros = module.get("weight_zero_point");
      if (zeros.format != Format::kI8 || !std::ranges::equal(zeros.dimensions(), scales.view.dimensions())) {
        module.refuse("weight_zero_point",
                      fmt::format("is {} {}", weight_format(zeros.format).name, shape_text(zeros.dimensions())),
                      "I8 " + shape_text(scales.view.dimensions()));
      }
      const auto* values = reinterpret_cast<const int8_t*>(zeros.data);
      codes.zero_is_middle = std::all_of(values, values + zeros.num_elements(), [](int8_t z) { return z == 0; });
      codes.zero = [values, scales](int64_t row, int64_t group) {
        return 128 + values[row / scales.rows_per_block * scales.num_groups + group];
      };
    }
    return matrix_of(module, std::move(codes), view.data);
  }

  std::optional<QuantizedMatrix> find_f8(const QuantizedModule& module) const {
    const int64_t rows = module.rows();
    const int64_t cols = module.cols();
    const TensorView view = module.get("weight", Format::kF8_E4M3, {rows, cols});
    const char* part = module.find("weight_scale_inv") ? "weight_scale_inv" : "weight_scale";
    const TensorView scales = module.get_floats(part);
    if (scales.num_elements() == 1) {
      return matrix_of_f8(module, view, {.view = scales, .rows_per_block = rows}, even_groups(cols, cols));
    }
    const int64_t num_groups = groups_of(scales);
    const bool per_row =
        scales.rank <= 2 && num_groups > 0 && cols % num_groups == 0 && scales.num_elements() == rows * num_groups;
    if (per_row)
      return matrix_of_f8(module, view, {.view = scales, .num_groups = num_groups},
                          even_groups(cols, cols / num_groups));
    module.check_shape(part, scales, {(rows + block_.rows - 1) / block_.rows, (cols + block_.cols - 1) / block_.cols});
    return matrix_of_f8(module, view, {.view = scales, .rows_per_block = block_.rows, .num_groups = num_groups},
                        even_groups(cols, block_.cols));
  }

  static std::optional<QuantizedMatrix> find_mxfp4(const QuantizedModule& module) {
    const int64_t cols = module.cols();
    if (cols % 32 != 0) module.refuse("weight_scale", "is of groups of 32 columns", "a multiple of that");
    const TensorView pairs = module.get("weight_packed", Format::kU8, {module.rows(), cols / 2});
    const TensorView scales = module.get("weight_scale");
    if (scales.format != Format::kU8 && scales.format != Format::kF8_E8M0) {
      module.refuse("weight_scale", std::string("is ") + weight_format(scales.format).name, "U8 or F8_E8M0");
    }
    module.check_shape("weight_scale", scales, {module.rows(), cols / 32});
    return matrix_of_mxfp4(module, pairs, scales);
  }

  // weight(row, column) = E2M1 * E4M3 scale of 16 columns / global scale.
  static std::optional<QuantizedMatrix> find_nvfp4(const QuantizedModule& module) {
    const int64_t rows = module.rows();
    const int64_t cols = module.cols();
    if (cols % BlockF4::kElements != 0) {
      module.refuse("weight_packed", fmt::format("belongs to a matrix of {} columns in NVFP4", cols),
                    fmt::format("a multiple of {}", BlockF4::kElements));
    }
    const TensorView pairs = module.get("weight_packed", Format::kU8, {rows, cols / 2});
    const TensorView scales = module.get("weight_scale", Format::kF8_E4M3, {rows, cols / 16});
    const float global = float_at(module.get("weight_global_scale", Format::kF32, {1}), 0);
    if (!(global > 0) || !std::isfinite(1 / global)) {
      module.refuse("weight_global_scale", fmt::format("is {}", global), "a positive number");
    }
    auto write_rows = [pairs, scales, cols, d = 1 / global](int64_t first_row, int64_t num_rows, std::byte* dst) {
      for (int64_t row = first_row; row < first_row + num_rows; ++row) {
        for (int64_t c = 0; c < cols; c += BlockF4::kElements, dst += sizeof(BlockF4)) {
          BlockF4 block = {.d = d, .scales = {}, .q = {}};
          std::memcpy(block.scales, scales.row(row) + c / 16, sizeof block.scales);
          write_f4_codes(reinterpret_cast<const uint8_t*>(pairs.row(row)) + c / 2, block.q);
          std::memcpy(dst, &block, sizeof block);
        }
      }
    };
    return QuantizedMatrix{Format::kF4_G16, rows, cols, pairs.data, {}, std::move(write_rows)};
  }

  // From pairs of neighbours, the even column low, to pairs of a group's two halves.
  static void write_f4_codes(const uint8_t* pairs, uint8_t* q) {
    const auto code = [pairs](int column) { return (pairs[column / 2] >> (column % 2 * 4)) & 15; };
    for (int c = 0; c < BlockF4::kElements; c += 16) {
      for (int i = c; i < c + 8; ++i) *q++ = static_cast<uint8_t>(code(i) | (code(i + 8) << 4));
    }
  }

  std::string description_;
  BlockShape block_;
  bool is_pruned_;  // the file says that its weights have zeros
};

constexpr std::array<std::string_view, 8> kForms = {
    "pack-quantized",       "int-quantized",        "float-quantized", "naive-quantized",
    "mxfp4-pack-quantized", "nvfp4-pack-quantized", "mixed-precision", "dense"};

std::string describe_weights(const json::object& weights) {
  const std::string strategy = find_string(weights, "strategy", "tensor");
  const std::string type = find_string(weights, "type", "int");
  const int64_t group = find_int(weights, "group_size", -1);
  return fmt::format("{} of {} bits, {}", printable(type, 20), find_int(weights, "num_bits", 8),
                     group > 0 ? describe_groups(group) : "a scale per " + printable(strategy, 20));
}

}  // namespace

std::unique_ptr<QuantizationScheme> read_compressed_tensors(const json::object& config) {
  const std::string form = find_string(config, "format", "dense");
  if (std::ranges::find(kForms, form) == kForms.end()) {
    std::string known;
    for (const std::string_view name : kForms) known += (known.empty() ? "" : ", ") + std::string(name);
    fail(ErrorCode::kUnsupported, "compressed-tensors with \"format\" \"{}\"; this build reads {}", printable(form),
         known);
  }
  const json::object* sparsity = find_object(config, "sparsity_config");
  if (sparsity != nullptr && find_string(*sparsity, "format", "dense") != "dense") {
    fail(ErrorCode::kUnsupported, "compressed-tensors with sparse weights (\"{}\"); this build reads dense ones",
         printable(find_string(*sparsity, "format", "")));
  }
  const json::object* transforms = find_object(config, "transform_config");
  const json::object* groups = transforms == nullptr ? nullptr : find_object(*transforms, "config_groups");
  if (groups != nullptr && !groups->empty()) {
    fail(ErrorCode::kUnsupported,
         "compressed-tensors with \"transform_config\"; this build does not rotate activations");
  }
  std::string description = "compressed-tensors, " + form;
  BlockShape block;
  if (const json::object* schemes = find_object(config, "config_groups")) {
    for (const auto& [name, scheme] : *schemes) {
      const json::object* weights = scheme.is_object() ? find_object(scheme.get_object(), "weights") : nullptr;
      if (weights == nullptr) continue;
      description += ", " + describe_weights(*weights);
      if (find_member(*weights, "block_structure") != nullptr) block = read_block_shape(*weights, "block_structure");
    }
  }
  const bool is_pruned = sparsity != nullptr;
  if (is_pruned) description += ", pruned " + printable(find_string(*sparsity, "sparsity_structure", "weights"), 20);
  return std::make_unique<CompressedTensors>(description, block, is_pruned);
}

std::unique_ptr<QuantizationScheme> read_fp8(const json::object& config) {
  const std::string form = find_string(config, "fmt", "e4m3");
  if (form != "e4m3") fail(ErrorCode::kUnsupported, "fp8 with \"fmt\" \"{}\"; this build reads e4m3", printable(form));
  const BlockShape block = read_block_shape(config, "weight_block_size");
  const bool blocks = find_member(config, "weight_block_size") != nullptr;
  return std::make_unique<CompressedTensors>(
      blocks ? fmt::format("FP8 (E4M3), a scale per block of {} by {}", block.rows, block.cols) : "FP8 (E4M3)", block);
}

}  // namespace quire
