#include "server/http/proxies.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "server/http/wire.h"

namespace quire::http {
namespace {

// One spelling of an address: without a zone, IPv4 as such where it is mapped to IPv6. Empty for what is none.
std::string plain_address(std::string_view text) {
  const std::string address(text.substr(0, text.find('%')));
  std::array<char, INET6_ADDRSTRLEN> written{};
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    return ::inet_ntop(AF_INET, &v4, written.data(), written.size());
  }
  if (::inet_pton(AF_INET6, address.c_str(), &v6) != 1) return "";
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return ::inet_ntop(AF_INET, &v6.s6_addr[12], written.data(), written.size());
  return ::inet_ntop(AF_INET6, &v6, written.data(), written.size());
}

// "192.0.2.1:4711" and "[2001:db8::1]:4711" without their ports.
std::string_view without_port(std::string_view text) {
  if (text.starts_with('[')) return text.substr(1, text.find(']') - 1);
  const size_t colon = text.find(':');
  return colon == text.rfind(':') ? text.substr(0, colon) : text;
}

}  // namespace

Proxies::Proxies(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {
  for (std::string& address : addresses_) {
    const std::string plain = plain_address(address);
    if (plain.empty()) {
      fail(ErrorCode::kInvalidArgument, "--trusted-proxy '{}' is not an address; write one such as 10.0.0.2 or ::1",
           printable(address));
    }
    address = plain;
  }
}

bool Proxies::contains(std::string_view remote) const {
  if (remote == kUnixPeer) return true;
  return !addresses_.empty() && std::ranges::find(addresses_, plain_address(remote)) != addresses_.end();
}

std::string Proxies::client_of(std::string_view remote, const Headers& headers) const {
  if (!contains(remote)) return std::string(remote);
  for (auto field = headers.rbegin(); field != headers.rend(); ++field) {
    if (field->first != "x-forwarded-for") continue;
    for (std::string_view rest = field->second; !rest.empty();) {
      const size_t comma = rest.rfind(',');
      const size_t begin = comma == std::string_view::npos ? 0 : comma + 1;
      const std::string address = plain_address(without_port(without_blanks(rest.substr(begin))));
      if (address.empty()) return std::string(remote);
      if (!contains(address)) return address;
      rest = rest.substr(0, begin > 0 ? begin - 1 : 0);
    }
  }
  return std::string(remote);
}

}  // namespace quire::http
