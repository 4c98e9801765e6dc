// How a quantised matrix is kept in the safetensors of a Hugging Face directory: from the codes, scales and zero points
// of a method to named tensors, and the quantization_config that describes them. One file and one row of the list in
// layout.cpp for each layout; the readers of the same layouts are in models/loading/quantization/. Pure functions; any
// thread.
//
// GGUF needs no layout: its matrices are rows of blocks (WeightFormat::bytes_of) under names of conversion.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "compress/matrices/compressed_matrix.h"
#include "tensor/files/tensor_file_layout.h"

namespace quire {

// One tensor "<module>.<part>" of a matrix.
struct PartTensor {
  std::string part;  // "qweight"
  Format format = Format::kI32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes = {};  // row-major, little endian; empty in what declare() returns
};

struct CompressedLayout {
  const char* name;  // as the command line names it: "gptq"
  // Why a matrix of this form and size cannot be kept so, as a sentence that names the layout and what it holds; empty:
  // it can.
  std::string (*refusal)(const MatrixForm& form, int64_t rows, int64_t cols);
  // The tensors of a matrix, without bytes.
  std::vector<PartTensor> (*declare)(const MatrixForm& form, int64_t rows, int64_t cols);
  // The same with bytes: of the one kind of matrix that the layout keeps, the others are null.
  std::vector<PartTensor> (*pack)(const GroupMatrix& matrix) = nullptr;
  std::vector<PartTensor> (*pack_float8)(const Float8Matrix& matrix) = nullptr;
  std::vector<PartTensor> (*pack_floats)(const PlainMatrix& matrix) = nullptr;
  // quantization_config; empty: none. `plain_modules`: names of matrices that stay as they are ("lm_head").
  json::object (*config)(const MatrixForm& form, std::span<const std::string> plain_modules);
};

// gptq, awq, compressed-tensors (codes of 4 or 8 bits, weights only), w8a8 (int8, activations too), fp8, plain
// (floats).
std::span<const CompressedLayout* const> compressed_layouts();
// Throws Error kInvalidArgument naming the known ones.
const CompressedLayout& compressed_layout(std::string_view name);

// Each layout's row, defined in the file of its name.
extern const CompressedLayout kGptqLayout;
extern const CompressedLayout kAwqLayout;
extern const CompressedLayout kCompressedTensorsLayout;
extern const CompressedLayout kW8A8Layout;
extern const CompressedLayout kFp8Layout;
extern const CompressedLayout kPlainLayout;

// By the layout's function for a matrix of its kind; the matrix must be one that it does not refuse.
std::vector<PartTensor> pack(const CompressedLayout& layout, const CompressedMatrix& matrix);

// For the layouts' own files.
MatrixForm form_of(const GroupMatrix& matrix);
MatrixForm form_of(const Float8Matrix& matrix);
MatrixForm form_of(const PlainMatrix& matrix);
// Codes of 2 to 8 bits one behind the other, low bits first, in 32-bit words; the last may have unused bits.
std::vector<uint32_t> words_of(std::span<const uint8_t> codes, int bits);
// [rows, cols] -> [cols, rows]
template <typename T>
std::vector<T> transposed(std::span<const T> values, int64_t rows, int64_t cols) {
  std::vector<T> out(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      out[static_cast<size_t>(c * rows + r)] = values[static_cast<size_t>(r * cols + c)];
    }
  }
  return out;
}
// Every line [num_lines, length] of codes as words: [num_lines, words of a line].
std::vector<uint32_t> lines_as_words(std::span<const uint8_t> codes, int64_t length, int bits);
std::vector<std::byte> halves_of(std::span<const float> values);  // as F16
template <typename T>
std::vector<std::byte> raw_bytes(std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}
// Gives `parts` the bytes of the part of this name; it has to be there and to need as many.
void fill_part(std::vector<PartTensor>& parts, std::string_view part, std::vector<std::byte> bytes);
// "ignore" and the like.
json::array names_array(std::span<const std::string> names);
std::string describe_form(const MatrixForm& form);  // "4 bits, symmetric, groups of 128 columns"

}  // namespace quire
