// Origins of web pages and applications, as --cors-origin writes them. Immutable; any thread.
//
//   https://chat.example   app://obsidian.md   http://localhost:*   https://*.example   chrome-extension://*   null   *
//
// The scheme is any. A host of `*` is every host, `*.example` every name below example; a port of `*` is every port or
// none. `null` is the origin of files and sandboxed frames. `*` alone is every origin.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quire {

class OriginPattern {
 public:
  // Nothing for a text that is no such pattern.
  static std::optional<OriginPattern> parse(std::string_view text);

  // `origin` as a browser sends it.
  bool matches(std::string_view origin) const;

 private:
  struct Parts {
    std::string scheme;
    std::string host;
    std::string port;  // empty: the scheme's own
  };
  static std::optional<Parts> divide(std::string_view text);

  Parts parts_;
  bool is_any_ = false;
  bool is_null_ = false;
};

}  // namespace quire
