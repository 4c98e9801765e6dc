// GPTQ (arXiv 2210.17323) as AutoGPTQ and GPTQModel write it: codes in the words of qweight along the columns of the
// matrix, [cols * bits / 32, rows]; scales [groups, rows]; zero points packed along the rows in qzeros; g_idx, the
// group of every column, in any order when columns were quantised in activation order (desc_act). Codes of 2 and 3 bits
// become codes of 4; those of 3 bits cross words, 32 in three of them.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "models/loading/quantization/scheme.h"

namespace quire {
namespace {

// Whole codes in whole words.
struct Unit {
  int words;
  int codes;
};

Unit unit_of(int bits) { return bits == 3 ? Unit{3, 32} : Unit{1, 32 / bits}; }

int code_at(const uint32_t* words, int index, int bits) {
  const int at = index * bits;
  uint64_t pair = words[at / 32];
  if (at % 32 + bits > 32) pair |= uint64_t{words[at / 32 + 1]} << 32;
  return static_cast<int>((pair >> (at % 32)) & ((1u << bits) - 1));
}

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
    const Unit unit = unit_of(bits_);
    if (rows % unit.codes != 0 || cols % unit.codes != 0) {
      module.refuse("qweight", fmt::format("packs {} codes to {} words", unit.codes, unit.words), "multiples of that");
    }
    const int64_t num_groups = group_size_ < 0 ? 1 : (cols + group_size_ - 1) / group_size_;
    const TensorView words = module.get("qweight", Format::kI32, {cols * bits_ / 32, rows});
    const TensorView zeros = module.get("qzeros", Format::kI32, {num_groups, rows * bits_ / 32});
    const TensorView scales = module.get_floats("scales");
    module.check_shape("scales", scales, {num_groups, rows});

    IntegerCodes codes{.bits = std::max(bits_, 4),
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
  // by adding to the whole word. No word of 3 bits has whole codes: one is added to each.
  static uint32_t zeros_word(const TensorView& zeros, int bits, bool add_one, int64_t index) {
    const uint32_t ones = 0xffffffffu / ((1u << bits) - 1);
    return static_cast<uint32_t>(int32_at(zeros, index)) + (add_one && bits != 3 ? ones : 0);
  }

  static int zero_at(const TensorView& zeros, int bits, bool add_one, int64_t row, int64_t group) {
    const Unit unit = unit_of(bits);
    const int64_t first = group * zeros.cols() + row / unit.codes * unit.words;
    uint32_t words[3] = {};
    for (int i = 0; i < unit.words; ++i) words[i] = zeros_word(zeros, bits, add_one, first + i);
    return code_at(words, static_cast<int>(row % unit.codes), bits) + (add_one && bits == 3 ? 1 : 0);
  }

  bool zeros_are_middle(const TensorView& zeros) const {
    for (int64_t i = 0; i < zeros.num_elements(); ++i) {
      if (zeros_word(zeros, bits_, zeros_less_one_, i) != 0x80808080u) return false;
    }
    return true;
  }

  // Rows are innermost in qweight: in a pass over the words of one column pack, neighbouring rows share a cache line.
  decltype(IntegerCodes::read) reader(const TensorView& words) const {
    if (bits_ < 4) return narrow_reader(words, bits_);
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

  static decltype(IntegerCodes::read) narrow_reader(const TensorView& words, int bits) {
    return
        [words, bits, unit = unit_of(bits)](int64_t first_row, int64_t num_rows, const int32_t* place, uint8_t* codes) {
          const int64_t cols = words.rows() / unit.words * unit.codes;
          for (int64_t k = 0; k < words.rows() / unit.words; ++k) {
            for (int64_t i = 0; i < num_rows; ++i) {
              uint32_t packed[3] = {};
              for (int w = 0; w < unit.words; ++w) {
                packed[w] = static_cast<uint32_t>(int32_at(words, (k * unit.words + w) * words.cols() + first_row + i));
              }
              for (int j = 0; j < unit.codes; ++j) {
                const int64_t column = k * unit.codes + j;
                codes[i * cols + (place == nullptr ? column : place[column])] =
                    static_cast<uint8_t>(code_at(packed, j, bits));
              }
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
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    fail(ErrorCode::kUnsupported, "GPTQ with \"bits\" {}; this build reads 2, 3, 4 and 8", bits);
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
