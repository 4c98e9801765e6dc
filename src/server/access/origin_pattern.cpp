#include "server/access/origin_pattern.h"

#include <algorithm>

#include "server/http/wire.h"

namespace quire {
namespace {

bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_scheme(std::string_view text) {
  return !text.empty() && is_letter(text[0]) && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
  });
}

// "*" may be the whole host or its first label.
bool is_host(std::string_view text) {
  if (text.starts_with('[')) {
    return text.size() > 2 && text.ends_with(']') && std::all_of(text.begin() + 1, text.end() - 1, [](char c) {
             return is_digit(c) || (c >= 'a' && c <= 'f') || c == ':' || c == '.';
           });
  }
  if (text == "*") return true;
  if (text.starts_with("*.")) text.remove_prefix(2);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
  });
}

bool is_port(std::string_view text) {
  return text.empty() || text == "*" || (text.size() <= 5 && std::all_of(text.begin(), text.end(), is_digit));
}

}  // namespace

std::optional<OriginPattern::Parts> OriginPattern::divide(std::string_view text) {
  const size_t end = text.find("://");
  if (end == std::string_view::npos) return std::nullopt;
  Parts parts{.scheme = http::lowered(text.substr(0, end)), .host = http::lowered(text.substr(end + 3)), .port = ""};
  const size_t colon = parts.host.rfind(':');
  const bool is_bracketed = parts.host.starts_with('[') && parts.host.ends_with(']');
  if (colon != std::string::npos && !is_bracketed) {
    parts.port = parts.host.substr(colon + 1);
    parts.host.resize(colon);
    if (parts.port.empty()) return std::nullopt;
  }
  const bool is_file = parts.scheme == "file" && parts.host.empty();  // some programs' pages send "file://"
  if (!is_scheme(parts.scheme) || !(is_file || is_host(parts.host)) || !is_port(parts.port)) return std::nullopt;
  // Browsers leave it out.
  if ((parts.scheme == "http" && parts.port == "80") || (parts.scheme == "https" && parts.port == "443")) {
    parts.port.clear();
  }
  return parts;
}

std::optional<OriginPattern> OriginPattern::parse(std::string_view text) {
  OriginPattern pattern;
  pattern.is_any_ = text == "*";
  pattern.is_null_ = http::lowered(text) == "null";
  if (pattern.is_any_ || pattern.is_null_) return pattern;
  while (text.ends_with('/') && !text.ends_with("://")) text.remove_suffix(1);
  std::optional<Parts> parts = divide(text);
  if (!parts) return std::nullopt;
  pattern.parts_ = std::move(*parts);
  return pattern;
}

bool OriginPattern::matches(std::string_view origin) const {
  if (is_any_) return true;
  if (is_null_) return origin == "null";
  const std::optional<Parts> given = divide(origin);
  if (!given || given->host.find('*') != std::string::npos || given->port == "*") return false;
  if (given->scheme != parts_.scheme || (parts_.port != "*" && given->port != parts_.port)) return false;
  if (parts_.host == "*") return true;
  if (!parts_.host.starts_with("*.")) return given->host == parts_.host;
  const std::string_view tail = std::string_view(parts_.host).substr(1);
  return given->host.size() > tail.size() && given->host.ends_with(tail);
}

}  // namespace quire
