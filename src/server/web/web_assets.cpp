#include "server/web/web_assets.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <string>
#include <vector>

namespace quire {

std::string_view entity_tag(const WebAsset& asset) {
  static const std::vector<std::string> tags = [] {
    std::vector<std::string> made;
    for (const WebAsset& each : web_assets()) {
      unsigned char digest[SHA256_DIGEST_LENGTH];
      SHA256(reinterpret_cast<const unsigned char*>(each.body.data()), each.body.size(), digest);
      std::string tag = "\"";
      for (int i = 0; i < 8; ++i) tag += fmt::format("{:02x}", digest[i]);
      made.push_back(tag + "\"");
    }
    return made;
  }();
  return tags[static_cast<size_t>(&asset - web_assets().data())];
}

const WebAsset* find_web_asset(std::string_view path) {
  const std::span<const WebAsset> assets = web_assets();
  const auto found =
      std::find_if(assets.begin(), assets.end(), [&](const WebAsset& asset) { return asset.path == path; });
  return found != assets.end() ? &*found : nullptr;
}

}  // namespace quire
