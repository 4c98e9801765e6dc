#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "server/apis/apis.h"

namespace quire {
namespace {

constexpr double kAnyInteger = 9.0e15;  // the bounds of the integer type, not of the field

std::string describe_range(const Field& field, const Limits& limits) {
  const double max = field.max_in(limits);
  if (max >= kAnyInteger) return " of 64 bits";
  return field.is_above_min ? fmt::format(" above {:.15g}, at most {:.15g}", field.min, max)
                            : fmt::format(" from {:.15g} to {:.15g}", field.min, max);
}

std::string meaning_of(const Field& field) {
  std::string text(field.meaning);
  for (const Field& member : field.members()) text += fmt::format("; `{}`: {}", member.name, member.meaning);
  return text;
}

json::object string_schema(const Field& field, const Limits& limits) {
  json::object schema{{"type", "string"}};
  const auto most =
      static_cast<int64_t>(field.byte_limit != nullptr ? static_cast<double>(limits.*field.byte_limit) : field.max);
  if (field.min > 0.0) schema["minLength"] = static_cast<int64_t>(field.min);
  if (most > 0) schema["maxLength"] = most;
  return schema;
}

json::object number_schema(const Field& field, const Limits& limits) {
  const bool is_integer = field.type == FieldType::kInteger;
  json::object schema{{"type", is_integer ? "integer" : "number"}};
  const double max = field.max_in(limits);
  if (max >= kAnyInteger) return schema;
  const auto number = [&](double bound) {
    return is_integer ? json::value(static_cast<int64_t>(bound)) : json::value(bound);
  };
  schema[field.is_above_min ? "exclusiveMinimum" : "minimum"] = number(field.min);
  schema["maximum"] = number(max);
  return schema;
}

json::object fields_schema(std::span<const Field> fields, const Limits& limits);

json::object value_schema(const Field& field, const Limits& limits) {
  switch (field.type) {
    case FieldType::kBool: return {{"type", "boolean"}};
    case FieldType::kInteger:
    case FieldType::kNumber: return number_schema(field, limits);
    case FieldType::kString: return string_schema(field, limits);
    case FieldType::kObject: return fields_schema(field.members(), limits);
    case FieldType::kOther: return parse_json(field.shape, field.name).as_object();
    case FieldType::kIgnored:
    case FieldType::kRefused: break;
  }
  return {};
}

json::object fields_schema(std::span<const Field> fields, const Limits& limits) {
  json::object properties;
  for (const Field& field : fields) {
    json::object value = value_schema(field, limits);
    json::object property;
    if (!value.empty()) property["anyOf"] = json::array{std::move(value), json::object{{"type", "null"}}};
    const char* off = field.type == FieldType::kRefused   ? "not supported: "
                      : field.type == FieldType::kIgnored ? "without effect: "
                                                          : "";
    property["description"] = off + std::string(field.meaning);
    properties[field.name] = std::move(property);
  }
  return {{"type", "object"}, {"properties", std::move(properties)}};
}

}  // namespace

std::string describe_type(const Field& field, const Limits& limits) {
  switch (field.type) {
    case FieldType::kBool: return "true or false";
    case FieldType::kInteger: return "an integer" + describe_range(field, limits);
    case FieldType::kNumber: return "a number" + describe_range(field, limits);
    case FieldType::kString: {
      const double max = field.byte_limit != nullptr ? static_cast<double>(limits.*field.byte_limit) : field.max;
      return max == 0.0 ? "a string" : fmt::format("a string of {} to {} bytes", field.min, max);
    }
    case FieldType::kObject: return "an object";
    case FieldType::kOther: return "see its meaning";
    case FieldType::kIgnored: return "anything (without effect)";
    case FieldType::kRefused: return "off (not supported)";
  }
  return {};
}

std::string fields_as_markdown(const Limits& limits) {
  struct Row {
    std::string_view name;
    std::string apis, value, meaning;
  };
  std::vector<Row> rows;
  for (const Api* const api : apis()) {
    for (const Field& field : api->fields) {
      Row row{field.name, std::string(api->name), describe_type(field, limits), meaning_of(field)};
      const auto same = std::find_if(rows.begin(), rows.end(), [&](const Row& other) {
        return other.name == row.name && other.value == row.value && other.meaning == row.meaning;
      });
      if (same == rows.end()) {
        rows.push_back(std::move(row));
      } else {
        same->apis += ", " + row.apis;
      }
    }
  }
  std::string table = "| field | endpoints | value | meaning |\n|---|---|---|---|\n";
  for (const Row& row : rows)
    table += fmt::format("| `{}` | {} | {} | {} |\n", row.name, row.apis, row.value, row.meaning);
  return table;
}

json::object request_schema(const Api& api, const Limits& limits) {
  json::object schema = fields_schema(api.fields, limits);
  if (!api.required.empty()) schema["required"] = json::array{json::value(json::string(api.required))};
  return schema;
}

}  // namespace quire
