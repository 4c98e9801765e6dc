#include "tensor/files/ggml_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace quire {
namespace {

// ggml's names; formats that Quire supports have the same names here. Missing numbers were withdrawn.
constexpr std::pair<uint32_t, const char*> kGgmlTypes[] = {
    {0, "F32"},      {1, "F16"},    {2, "Q4_0"},    {3, "Q4_1"},   {4, "Q4_2"},     {5, "Q4_3"},
    {6, "Q5_0"},     {7, "Q5_1"},   {8, "Q8_0"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},
    {12, "Q4_K"},    {13, "Q5_K"},  {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
    {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
    {24, "I8"},      {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},
    {30, "BF16"},    {34, "TQ1_0"}, {35, "TQ2_0"},  {39, "MXFP4"}, {40, "NVFP4"},   {41, "Q1_0"},
};

const char* find_name(uint32_t type) {
  const auto* row = std::ranges::find(kGgmlTypes, type, [](const auto& known) { return known.first; });
  return row == std::end(kGgmlTypes) ? nullptr : row->second;
}

}  // namespace

std::optional<Format> format_of_ggml_type(uint32_t type) {
  const char* name = find_name(type);
  return name == nullptr ? std::nullopt : format_by_name(name);
}

std::optional<uint32_t> ggml_type_of_format(Format format) {
  const std::string_view wanted = weight_format(format).name;
  for (const auto& [type, name] : kGgmlTypes) {
    if (name == wanted) return type;
  }
  return std::nullopt;
}

std::string ggml_type_name(uint32_t type) {
  const char* name = find_name(type);
  return name == nullptr ? fmt::format("number {}", type) : name;
}

std::string readable_ggml_types() {
  std::string names;
  for (const auto& [type, name] : kGgmlTypes) {
    if (format_of_ggml_type(type)) names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

}  // namespace quire
