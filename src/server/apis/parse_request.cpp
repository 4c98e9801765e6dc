#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "server/apis/apis.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

// Written as 7 or 7.0.
bool is_integer(const json::value& value) {
  if (value.is_int64() || value.is_uint64()) return true;
  if (!value.is_double()) return false;
  const double number = value.get_double();
  return std::nearbyint(number) == number && std::abs(number) < 9.0e15;
}

bool is_off(const json::value& value) {
  switch (value.kind()) {
    case json::kind::bool_: return !value.get_bool();
    case json::kind::int64: return value.get_int64() == 0;
    case json::kind::uint64: return value.get_uint64() == 0;
    case json::kind::double_: return value.get_double() == 0.0;
    case json::kind::string: return value.get_string().empty();
    case json::kind::array: return value.get_array().empty();
    case json::kind::object: return value.get_object().empty();
    default: return true;
  }
}

void check(const Field& field, const std::string& path, const json::value& value, const ParseContext& context) {
  bool is_right = true;
  switch (field.type) {
    case FieldType::kBool: is_right = value.is_bool(); break;
    case FieldType::kInteger:
    case FieldType::kNumber: {
      is_right = value.is_number() && (field.type == FieldType::kNumber || is_integer(value));
      if (!is_right) break;
      // In the precision in which it will be used: a number that rounds to an excluded bound is refused.
      const auto exact = value.to_number<double>();
      const double number = field.type == FieldType::kNumber ? static_cast<double>(static_cast<float>(exact)) : exact;
      is_right =
          number >= field.min && number <= field.max_in(context.limits) && !(field.is_above_min && number == field.min);
      break;
    }
    case FieldType::kString: {
      is_right = value.is_string();
      if (!is_right) break;
      const auto size = static_cast<double>(value.get_string().size());
      const double most =
          field.byte_limit != nullptr ? static_cast<double>(context.limits.*field.byte_limit) : field.max;
      is_right = size >= field.min && (most == 0.0 || size <= most);
      break;
    }
    case FieldType::kObject: is_right = value.is_object(); break;
    case FieldType::kRefused:
      if (!is_off(value)) {
        refuse_unsupported(path,
                           fmt::format("'{}' is not supported by this server: {}; leave it out", path, field.meaning));
      }
      break;
    case FieldType::kOther:
    case FieldType::kIgnored: break;
  }
  if (!is_right) refuse_value(path, describe_type(field, context.limits), value);
}

void log_unknown(const json::object& body, std::span<const Field> fields) {
  for (const auto& member : body) {
    const std::string_view key = member.key();
    if (std::none_of(fields.begin(), fields.end(), [&](const Field& field) { return field.name == key; })) {
      log::debug("request field '{}' is unknown and ignored", printable(key, 60));
    }
  }
}

// `place`: "stream_options." within that object, empty for the body itself.
void read_fields(std::span<const Field> fields, std::string_view place, const json::object& from, ApiRequest& out,
                 const ParseContext& context) {
  for (const Field& field : fields) {
    const json::value* value = find_member(from, field.name);
    if (value == nullptr) continue;
    const std::string path = std::string(place) + std::string(field.name);
    check(field, path, *value, context);
    if (field.store != nullptr) field.store(out, *value, context);
    if (!field.members().empty()) read_fields(field.members(), path + ".", value->get_object(), out, context);
  }
}

}  // namespace

json::object parse_body(std::string_view body, const Limits& limits) {
  json::value value;
  try {
    value = parse_json(body, "the request body", static_cast<size_t>(limits.json_depth));
  } catch (const Error& error) {
    refuse_field("", error.what());
  }
  if (!value.is_object()) refuse_field("", "the request body should be a JSON object, found " + describe_value(value));
  return std::move(value.get_object());
}

std::string model_named(const json::object& body) {
  const json::value* const name = find_member(body, "model");
  if (name == nullptr) return "";
  if (!name->is_string()) refuse_value("model", "a string", *name);
  return std::string(name->get_string());
}

ApiRequest parse_request(std::string_view body, const Api& api, const ParseContext& context) {
  return parse_request(parse_body(body, context.limits), api, context);
}

ApiRequest parse_request(const json::object& object, const Api& api, const ParseContext& context) {
  log_unknown(object, api.fields);
  ApiRequest out;
  out.sampling = context.default_sampling;
  out.stream = api.streams_by_default;
  read_fields(api.fields, "", object, out, context);
  if (api.check != nullptr) api.check(out);
  return out;
}

}  // namespace quire
