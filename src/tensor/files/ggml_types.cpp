#include "tensor/files/ggml_types.h"

#include <fmt/format.h>

namespace quire {
namespace {

struct GgmlType {
  uint32_t type;
  const char* name;
  std::optional<Format> format;  // none: known by name only
};

const GgmlType kGgmlTypes[] = {
    {0, "F32", Format::kF32},
    {1, "F16", Format::kF16},
    {2, "Q4_0", Format::kQ4_0},
    {3, "Q4_1", Format::kQ4_1},
    {4, "Q4_2", {}},
    {5, "Q4_3", {}},
    {6, "Q5_0", Format::kQ5_0},
    {7, "Q5_1", Format::kQ5_1},
    {8, "Q8_0", Format::kQ8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", Format::kQ2_K},
    {11, "Q3_K", Format::kQ3_K},
    {12, "Q4_K", Format::kQ4_K},
    {13, "Q5_K", Format::kQ5_K},
    {14, "Q6_K", Format::kQ6_K},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", Format::kIQ4_NL},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", Format::kIQ4_XS},
    {24, "I8", Format::kI8},
    {25, "I16", Format::kI16},
    {26, "I32", Format::kI32},
    {27, "I64", Format::kI64},
    {28, "F64", Format::kF64},
    {29, "IQ1_M", {}},
    {30, "BF16", Format::kBF16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", Format::kMXFP4},
    {40, "NVFP4", {}},
    {41, "Q1_0", {}},
};

const GgmlType* find(uint32_t type) {
  for (const GgmlType& row : kGgmlTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

}  // namespace

std::optional<Format> format_of_ggml_type(uint32_t type) {
  const GgmlType* row = find(type);
  return row == nullptr ? std::nullopt : row->format;
}

std::optional<uint32_t> ggml_type_of_format(Format format) {
  for (const GgmlType& row : kGgmlTypes) {
    if (row.format == format) return row.type;
  }
  return std::nullopt;
}

std::string ggml_type_name(uint32_t type) {
  const GgmlType* row = find(type);
  return row == nullptr ? fmt::format("number {}", type) : row->name;
}

std::string readable_ggml_types() {
  std::string names;
  for (const GgmlType& row : kGgmlTypes) {
    if (row.format) names += (names.empty() ? "" : ", ") + std::string(row.name);
  }
  return names;
}

}  // namespace quire
