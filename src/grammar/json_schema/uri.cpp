#include "grammar/json_schema/uri.h"

#include <charconv>
#include <vector>

namespace quire::schema {
namespace {

// The length of "scheme:", 0 without one.
size_t scheme_length(std::string_view uri) {
  const size_t colon = uri.find(':');
  return colon == std::string_view::npos || uri.find('/') < colon ? 0 : colon + 1;
}

// The length of "scheme://authority".
size_t root_length(std::string_view uri) {
  const size_t scheme = scheme_length(uri);
  if (uri.substr(scheme, 2) != "//") return scheme;
  return std::min(uri.find('/', scheme + 2), uri.size());
}

// Section 5.2.4: without "." and "..".
std::string without_dots(std::string_view path) {
  std::vector<std::string_view> parts;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    const bool is_last = end == path.size();
    if (part == "..") {
      if (parts.size() > 1) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
    if (is_last && (part == "." || part == "..")) parts.push_back("");
    at = end + 1;
  }
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text.append(i == 0 ? "" : "/").append(parts[i]);
  return text;
}

}  // namespace

std::string resolve_uri(std::string_view base, std::string_view reference) {
  if (reference.empty()) return std::string(base);
  if (scheme_length(reference) > 0) return std::string(reference);
  if (reference.starts_with("//")) return std::string(base.substr(0, scheme_length(base))).append(reference);
  const size_t root = root_length(base);
  const std::string_view path = base.substr(root);
  if (reference.starts_with('/')) return std::string(base.substr(0, root)).append(without_dots(reference));
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string_view::npos ? (root > 0 && path.empty() ? "/" : "") : std::string(path.substr(0, slash + 1));
  return std::string(base.substr(0, root)).append(without_dots(folder + std::string(reference)));
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      decoded.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      decoded.push_back(text[i]);
    }
  }
  return decoded;
}

}  // namespace quire::schema
