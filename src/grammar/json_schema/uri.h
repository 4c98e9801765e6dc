// As much of RFC 3986 as references of schemas need.
#pragma once

#include <string>
#include <string_view>

namespace quire::schema {

// The URI that `reference` means within the document `base`, without the fragment; both without a '#'.
std::string resolve_uri(std::string_view base, std::string_view reference);
// %25 and the like decoded.
std::string percent_decoded(std::string_view text);

}  // namespace quire::schema
