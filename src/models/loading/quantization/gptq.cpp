// GPTQ (arXiv 2210.17323) as AutoGPTQ and GPTQModel write it: codes in the words of qweight along the columns of the
// matrix, [cols / (32 / bits), rows]; scales [groups, rows]; zero points packed along the rows in qzeros; g_idx, the
// group of every column, in any order when columns were quantised in activation order (desc_act).
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "models/loading/quantization/scheme.h"

namespace quire {
namespace {

class Gptq : public QuantizationScheme {
 public:
  Gptq(int bits, int64_t group_size, bool zeros_less_one, bool act_order)
      : bits_(bits), group_size_(group_size), zeros_less_one_(zeros_less_one), act_order_(act_order) {}

  std::string description() const override {
    return fmt::format("GPTQ, {} bits, {}{}", bits_, describe_groups(group_size_), act_order_ ? ", act-order" : "");
  }

  std::optional<QuantizedMatrix> find(const QuantizedModule& module) const override {
    if (!module.find("qweight")) return std::nullopt;
    const int64_t rows = module.rows();
    const int64_t cols = module.cols();
    const int64_t per_word = 32 / bits_;
    if (rows % per_word != 0 || cols % per_word != 0) {
      module.refuse("qweight", fmt::format("packs {} codes to a word", per_word), "multiples of that");
    }
    const int64_t num_groups = group_size_ < 0 ? 1 : (cols + group_size_ - 1) / group_size_;
    const TensorView words = module.get("qweight", Format::kI32, {cols / per_word, rows});
    const TensorView zeros = module.get("qzeros", Format::kI32, {num_groups, rows / per_word});
    const TensorView scales = module.get_floats("scales");
    module.check_shape("scales", scales, {num_groups, rows});

    IntegerCodes codes{.bits = bits_,
                       .groups = read_groups(module, num_groups),
                       .scales = {.view = scales, .num_groups = num_groups, .transposed = true},
                       .zero = [this_zeros = zeros, bits = bits_, add = zeros_less_one_](
                                   int64_t row, int64_t group) { return zero_at(this_zeros, bits, add, row, group); },
                       .zero_is_middle = bits_ == 8 && zeros_are_middle(zeros),
                       .read = reader(words)};
    return matrix_of(module, std::move(codes), words.data);
  }

 private:
  std::vector<int32_t> read_groups(const QuantizedModule& module, int64_t num_groups) const {
    if (!module.find("g_idx")) return even_groups(module.cols(), group_size_ < 0 ? module.cols() : group_size_);
    const TensorView view = module.get("g_idx", Format::kI32, {module.cols()});
    std::vector<int32_t> groups(static_cast<size_t>(module.cols()));
    for (int64_t c = 0; c < module.cols(); ++c) {
      const int32_t group = int32_at(view, c);
      if (group < 0 || group >= num_groups) {
        module.refuse("g_idx", fmt::format("names group {} at column {}", group, c),
                      fmt::format("0 to {}", num_groups - 1));
      }
      groups[static_cast<size_t>(c)] = group;
    }
    return groups;
  }

  // The first version stores zero points minus one, subtracted from whole words: a borrow from the neighbour is undone
  // by adding to the whole word.
  static uint32_t zeros_word(const TensorView& zeros, int bits, bool add_one, int64_t index) {
    const uint32_t ones = bits == 4 ? 0x11111111u : 0x01010101u;
    return static_cast<uint32_t>(int32_at(zeros, index)) + (add_one ? ones : 0);
  }

  static int zero_at(const TensorView& zeros, int bits, bool add_one, int64_t row, int64_t group) {
    const int64_t per_word = 32 / bits;
    const uint32_t word = zeros_word(zeros, bits, add_one, group * zeros.cols() + row / per_word);
    return static_cast<int>((word >> (row % per_word * bits)) & ((1u << bits) - 1));
  }

  bool zeros_are_middle(const TensorView& zeros) const {
    for (int64_t i = 0; i < zeros.num_elements(); ++i) {
      if (zeros_word(zeros, bits_, zeros_less_one_, i) != 0x80808080u) return false;
    }
    return true;
  }

  // Rows are innermost in qweight: in a pass over the words of one column pack, neighbouring rows share a cache line.
  decltype(IntegerCodes::read) reader(const TensorView& words) const {
    return [words, bits = bits_](int64_t first_row, int64_t num_rows, const int32_t* place, uint8_t* codes) {
      const int per_word = 32 / bits;
      const int64_t cols = words.rows() * per_word;
      for (int64_t k = 0; k < words.rows(); ++k) {
        for (int64_t i = 0; i < num_rows; ++i) {
          const auto word = static_cast<uint32_t>(int32_at(words, k * words.cols() + first_row + i));
          const uint64_t bytes = bits == 4 ? spread_nibbles(word) : word;
          uint8_t* row = codes + i * cols;
          if (place == nullptr) {
            std::memcpy(row + k * per_word, &bytes, static_cast<size_t>(per_word));  // little endian
            continue;
          }
          const int32_t* at = place + k * per_word;
          for (int j = 0; j < per_word; ++j) row[at[j]] = static_cast<uint8_t>(bytes >> (8 * j));
        }
      }
    };
  }

  int bits_;
  int64_t group_size_;
  bool zeros_less_one_;
  bool act_order_;
};

}  // namespace

std::unique_ptr<QuantizationScheme> read_gptq(const json::object& config) {
  const int64_t bits = get_int(config, "bits");
  if (bits != 4 && bits != 8) {
    fail(ErrorCode::kUnsupported, "GPTQ with \"bits\" {}; this build reads 4 and 8", bits);
  }
  const std::string form = find_string(config, "checkpoint_format", "gptq");
  if (form != "gptq" && form != "gptq_v2") {
    fail(ErrorCode::kUnsupported, "GPTQ with \"checkpoint_format\" \"{}\"; this build reads gptq and gptq_v2",
         printable(form));
  }
  return std::make_unique<Gptq>(static_cast<int>(bits), read_group_size(config), form == "gptq",
                                find_bool(config, "desc_act", false));
}

}  // namespace quire
