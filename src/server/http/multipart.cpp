#include "server/http/multipart.h"

#include "server/http/wire.h"

namespace quire::http {
namespace {

// The value of `name=value` or `name="value"` among the parameters of a header field; nothing when it is absent.
std::optional<std::string> parameter(std::string_view field, std::string_view name) {
  size_t at = field.find(';');
  while (at != std::string_view::npos) {
    at = field.find_first_not_of(" \t;", at);
    if (at == std::string_view::npos) return std::nullopt;
    const size_t equals = field.find('=', at);
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string key = lowered(field.substr(at, equals - at));
    std::string value;
    size_t end = equals + 1;
    if (end < field.size() && field[end] == '"') {
      for (++end; end < field.size() && field[end] != '"'; ++end) {
        if (field[end] == '\\' && end + 1 < field.size()) ++end;
        value += field[end];
      }
      end = field.find(';', end);
    } else {
      end = std::min(field.find(';', end), field.size());
      value = field.substr(equals + 1, end - equals - 1);
      while (value.ends_with(' ')) value.pop_back();
    }
    if (key == name) return value;
    at = end < field.size() ? end : std::string_view::npos;
  }
  return std::nullopt;
}

// Reads the header of a part off its beginning.
std::optional<FormPart> read_part(std::string_view part) {
  constexpr std::string_view kLineEnd = "\r\n", kHeaderEnd = "\r\n\r\n", kDisposition = "content-disposition:";
  const size_t header_end = part.find(kHeaderEnd);
  if (header_end == std::string_view::npos) return std::nullopt;
  FormPart out;
  out.content = part.substr(header_end + kHeaderEnd.size());
  std::string_view header = part.substr(0, header_end);
  while (!header.empty()) {
    const size_t end = std::min(header.find(kLineEnd), header.size());
    const std::string_view line = header.substr(0, end);
    if (lowered(line.substr(0, kDisposition.size())) == kDisposition) {
      out.name = parameter(line, "name").value_or("");
      out.file_name = parameter(line, "filename").value_or("");
    }
    header.remove_prefix(std::min(end + kLineEnd.size(), header.size()));
  }
  if (out.name.empty()) return std::nullopt;
  return out;
}

}  // namespace

std::optional<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body,
                                                size_t max_parts) {
  constexpr std::string_view kType = "multipart/form-data";
  constexpr size_t kMostBoundaryBytes = 70;
  if (lowered(content_type.substr(0, kType.size())) != kType) return std::nullopt;
  const std::string boundary = parameter(content_type, "boundary").value_or("");
  if (boundary.empty() || boundary.size() > kMostBoundaryBytes) return std::nullopt;
  const std::string mark = "--" + boundary;
  if (!body.starts_with(mark)) return std::nullopt;
  body.remove_prefix(mark.size());
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    if (!body.starts_with("\r\n") || parts.size() == max_parts) return std::nullopt;
    body.remove_prefix(2);
    const size_t end = body.find("\r\n" + mark);
    if (end == std::string_view::npos) return std::nullopt;
    std::optional<FormPart> part = read_part(body.substr(0, end));
    if (!part) return std::nullopt;
    parts.push_back(std::move(*part));
    body.remove_prefix(end + 2 + mark.size());
  }
  return parts;
}

}  // namespace quire::http
