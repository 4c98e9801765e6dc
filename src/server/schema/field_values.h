// What the rows of a field table are written with. Pure functions, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "server/schema/field_error.h"
#include "server/schema/fields.h"

namespace quire::fields {

using Out = ApiRequest;
using Value = json::value;
using Context = ParseContext;

inline constexpr FieldType kBool = FieldType::kBool;
inline constexpr FieldType kInteger = FieldType::kInteger;
inline constexpr FieldType kNumber = FieldType::kNumber;
inline constexpr FieldType kString = FieldType::kString;
inline constexpr FieldType kIgnored = FieldType::kIgnored;
inline constexpr FieldType kRefused = FieldType::kRefused;

inline constexpr double kInt32Max = std::numeric_limits<int32_t>::max();
inline constexpr double kInt64Min = -9223372036854775808.0;
inline constexpr double kUint64Max = 18446744073709551615.0;

// JSON Schema of the forms that prompts may have.
inline constexpr std::string_view kIdsShape = R"({"type": "array", "items": {"type": "integer", "minimum": 0}})";
inline constexpr std::string_view kStringsShape = R"({"type": "array", "items": {"type": "string"}})";
inline constexpr std::string_view kPromptShape =
    R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer", "minimum": 0}},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}}}]})";

inline int64_t integer(const Value& value) {
  return value.is_int64() ? value.get_int64() : static_cast<int64_t>(value.get_double());
}
// All 64 bits; a negative number by its two's complement.
inline uint64_t any_bits(const Value& value) {
  return value.is_uint64() ? value.get_uint64() : static_cast<uint64_t>(integer(value));
}
inline int small(const Value& value) { return static_cast<int>(integer(value)); }
inline float real(const Value& value) { return static_cast<float>(value.to_number<double>()); }
inline std::string text(const Value& value) { return std::string(value.get_string()); }

// Clients ask for no limit but the context by -1.
void store_max_tokens(std::string_view path, int64_t least, Out& out, const Value& value);

// Any value but the allowed ones would need something that this server lacks.
template <typename Allowed>
void allow_only(std::string_view path, const Value& value, Allowed is_allowed, std::string_view allowed) {
  if (is_allowed(value)) return;
  refuse_unsupported(std::string(path),
                     fmt::format("'{}' is {}: this server knows only {}", path, describe_value(value), allowed));
}

using Store = void (*)(Out& out, const Value& value, const Context& context);

// `store` does all checks; `shape` is its JSON Schema.
constexpr Field other_field(std::string_view name, std::string_view shape, std::string_view meaning, Store store) {
  return {.name = name, .type = FieldType::kOther, .meaning = meaning, .store = store, .shape = shape};
}

// An object with fields of its own; `store`, if any, is called before theirs.
template <size_t N>
constexpr Field object_field(std::string_view name, const std::array<Field, N>& nested, std::string_view meaning,
                             Store store = nullptr) {
  return {.name = name,
          .type = FieldType::kObject,
          .meaning = meaning,
          .store = store,
          .nested = nested.data(),
          .num_nested = N};
}

// Some fields of a group, by their names.
template <size_t N, size_t M>
consteval auto pick(const std::array<Field, N>& group, const std::string_view (&names)[M]) {
  std::array<Field, M> picked{};
  for (size_t i = 0; i < M; ++i) {
    // No such field: at() ends the constant evaluation.
    picked[i] = group.at(static_cast<size_t>(
        std::find_if(group.begin(), group.end(), [&](const Field& field) { return field.name == names[i]; }) -
        group.begin()));
  }
  return picked;
}

// Groups of fields as one table.
template <size_t... N>
constexpr auto join(const std::array<Field, N>&... groups) {
  std::array<Field, (N + ...)> all{};
  size_t next = 0;
  const auto add = [&](const auto& group) {
    for (const Field& field : group) all[next++] = field;
  };
  (add(groups), ...);
  return all;
}

// Some fields of a group, by their names.
template <size_t N, size_t M>
consteval std::array<Field, M> take(const std::array<Field, N>& group, const std::string_view (&names)[M]) {
  std::array<Field, M> taken{};
  for (size_t i = 0; i < M; ++i) {
    size_t at = 0;
    while (group.at(at).name != names[i]) ++at;  // past the end: does not compile
    taken[i] = group[at];
  }
  return taken;
}

}  // namespace quire::fields
