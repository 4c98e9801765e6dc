// AWQ (arXiv 2306.00978) as AutoAWQ writes it ("gemm"): four-bit codes of eight neighbouring rows of the matrix in a
// word of qweight [cols, rows / 8], in the order 0 2 4 6 1 3 5 7; zero points likewise in qzeros [groups, rows / 8];
// scales [groups, rows].
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "models/loading/quantization/scheme.h"

namespace quire {
namespace {

// The place of row r % 8's code in its word.
constexpr int kShift[8] = {0, 16, 4, 20, 8, 24, 12, 28};

int code_at(const TensorView& words, int64_t index, int64_t row) {
  return static_cast<int>((static_cast<uint32_t>(int32_at(words, index)) >> kShift[row % 8]) & 15);
}

class Awq : public QuantizationScheme {
 public:
  explicit Awq(int64_t group_size) : group_size_(group_size) {}

  std::string description() const override { return "AWQ, 4 bits, " + describe_groups(group_size_); }

  std::optional<QuantizedMatrix> find(const QuantizedModule& module) const override {
    if (!module.find("qweight")) return std::nullopt;
    const int64_t rows = module.rows();
    const int64_t cols = module.cols();
    if (rows % 8 != 0) module.refuse("qweight", "packs 8 rows to a word", "a multiple of that");
    const int64_t size = group_size_ < 0 ? cols : group_size_;
    if (cols % size != 0) {
      module.refuse("scales", fmt::format("are of groups of {} columns", size), "groups that divide the columns");
    }
    const TensorView words = module.get("qweight", Format::kI32, {cols, rows / 8});
    const TensorView zeros = module.get("qzeros", Format::kI32, {cols / size, rows / 8});
    const TensorView scales = module.get_floats("scales");
    module.check_shape("scales", scales, {cols / size, rows});
    IntegerCodes codes{
        .bits = 4,
        .groups = even_groups(cols, size),
        .scales = {.view = scales, .num_groups = cols / size, .transposed = true},
        .zero = [zeros](int64_t row, int64_t group) { return code_at(zeros, group * zeros.cols() + row / 8, row); },
        .read = [words](int64_t first_row, int64_t num_rows, const int32_t*,
                        uint8_t* out) { read_rows(words, first_row, num_rows, out); }};
    return matrix_of(module, std::move(codes), words.data);
  }

 private:
  // For each strip of rows that share words, so that each row is written along its columns. Groups are contiguous, so
  // columns stay in order.
  static void read_rows(const TensorView& words, int64_t first_row, int64_t num_rows, uint8_t* out) {
    const int64_t cols = words.rows();
    for (int64_t i = 0; i < num_rows;) {
      const int64_t row = first_row + i;
      const int64_t count = std::min(8 - row % 8, num_rows - i);
      for (int64_t k = 0; k < cols; ++k) {
        const auto word = static_cast<uint32_t>(int32_at(words, k * words.cols() + row / 8));
        for (int64_t j = 0; j < count; ++j) {
          out[(i + j) * cols + k] = static_cast<uint8_t>((word >> kShift[(row + j) % 8]) & 15);
        }
      }
      i += count;
    }
  }

  int64_t group_size_;
};

}  // namespace

std::unique_ptr<QuantizationScheme> read_awq(const json::object& config) {
  const int64_t bits = find_int(config, "bits", 4);
  if (bits != 4) fail(ErrorCode::kUnsupported, "AWQ with \"bits\" {}; this build reads 4", bits);
  std::string version = find_string(config, "version", "gemm");
  std::ranges::transform(version, version.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (version != "gemm") {
    fail(ErrorCode::kUnsupported, "AWQ with \"version\" \"{}\"; this build reads gemm", printable(version));
  }
  return std::make_unique<Awq>(read_group_size(config));
}

}  // namespace quire
