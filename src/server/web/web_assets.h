// The files of the web page, embedded in the program. Immutable; any thread.
#pragma once

#include <span>
#include <string_view>

namespace quire {

struct WebAsset {
  std::string_view path;  // "/app.js"; the page itself is "/"
  std::string_view content_type;
  std::string_view body;
};

std::span<const WebAsset> web_assets();
const WebAsset* find_web_asset(std::string_view path);  // null when there is none
// A strong entity tag of the content, with its quotes.
std::string_view entity_tag(const WebAsset& asset);

}  // namespace quire
