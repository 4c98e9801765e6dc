#include "tensor/format.h"

#include <array>

#include "base/check.h"
#include "tensor/formats/list.h"

namespace quire {
namespace {

std::array<const WeightFormat*, kNumFormats> collect_rows() {
  std::array<const WeightFormat*, kNumFormats> rows{};
  for (const auto file : kFormatFiles) {
    for (const WeightFormat& row : file()) {
      const WeightFormat*& place = rows.at(static_cast<size_t>(row.format));
      CHECK(place == nullptr);
      place = &row;
    }
  }
  for (const WeightFormat* row : rows) CHECK(row != nullptr);
  return rows;
}

const std::array<const WeightFormat*, kNumFormats>& all_rows() {
  static const auto rows = collect_rows();
  return rows;
}

}  // namespace

const WeightFormat& weight_format(Format format) {
  const auto index = static_cast<size_t>(format);
  CHECK(index < kNumFormats);
  return *all_rows()[index];
}

PackBlock block_packer(Format format) {
  for (const auto file : kPackFiles) {
    for (const PackRow& row : file()) {
      if (row.format == format) return row.pack;
    }
  }
  return nullptr;
}

std::optional<Format> format_by_name(std::string_view name) {
  for (const WeightFormat* row : all_rows()) {
    if (name == row->name) return row->format;
  }
  return std::nullopt;
}

}  // namespace quire
