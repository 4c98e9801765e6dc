#include "server/batches/input.h"

#include <set>

#include "server/apis/apis.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

const json::value& required(const json::object& line, const char* name) {
  const json::value* const member = find_member(line, name);
  if (member == nullptr) refuse_field(name, fmt::format("'{}' is missing", name));
  return *member;
}

json::object error_of(const char* code, std::string_view message, const std::string& param, size_t line) {
  return {{"code", code},
          {"message", message},
          {"param", param.empty() ? json::value(nullptr) : json::value(json::string(param))},
          {"line", line}};
}

}  // namespace

std::vector<std::string_view> batch_lines(std::string_view content) {
  std::vector<std::string_view> lines;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back(line);
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  return lines;
}

BatchRequest read_batch_line(std::string_view line, std::string_view endpoint, const Limits& limits) {
  const json::object object = parse_body(line, limits);
  const json::value& id = required(object, "custom_id");
  if (!id.is_string()) refuse_value("custom_id", "a string", id);
  if (required(object, "method") != "POST") refuse_value("method", "\"POST\"", object.at("method"));
  const json::value& url = required(object, "url");
  if (url != json::value(json::string(endpoint)))
    refuse_value("url", fmt::format("\"{}\", the batch's endpoint", endpoint), url);
  const json::value& body = required(object, "body");
  if (!body.is_object()) refuse_value("body", "an object", body);
  const json::value* const stream = find_member(body.get_object(), "stream");
  if (stream != nullptr && *stream != false) refuse_value("body.stream", "false: a batch has no streams", *stream);
  return {.custom_id = std::string(id.get_string()), .body = body.get_object()};
}

std::optional<std::string> find_batch_errors(std::string_view content, std::string_view endpoint,
                                             const Limits& limits) {
  constexpr size_t kMostErrors = 100;
  const std::vector<std::string_view> lines = batch_lines(content);
  json::array errors;
  if (lines.empty()) errors.push_back(error_of("empty_file", "the input file has no line", "", 0));
  if (lines.size() > static_cast<size_t>(limits.batch_lines)) {
    errors.push_back(error_of(
        "too_many_lines",
        fmt::format("the input file has {} lines, at most {} are allowed", lines.size(), limits.batch_lines), "", 0));
    return json::serialize(errors);
  }
  std::set<std::string> ids;
  for (size_t i = 0; i < lines.size() && errors.size() < kMostErrors; ++i) {
    try {
      const std::string id = read_batch_line(lines[i], endpoint, limits).custom_id;
      if (ids.insert(id).second) continue;
      errors.push_back(
          error_of("duplicate_custom_id",
                   fmt::format("'custom_id' {} occurs twice", describe_value(json::value(json::string(id)))),
                   "custom_id", i + 1));
    } catch (const ApiError& error) {
      errors.push_back(error_of("invalid_line", error.what(), error.param(), i + 1));
    }
  }
  if (errors.empty()) return std::nullopt;
  return json::serialize(errors);
}

}  // namespace quire
