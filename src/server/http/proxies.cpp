#include "server/http/proxies.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace quire::http {
namespace {

// An address as the sockets' layer writes it; empty for what is none.
std::string plain_address(std::string_view text) {
  const std::string address(text);
  std::array<char, INET6_ADDRSTRLEN> written{};
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (::inet_pton(family, address.c_str(), bytes.data()) != 1) continue;
    return ::inet_ntop(family, bytes.data(), written.data(), written.size());
  }
  return "";
}

std::string_view without_blanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
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
  return remote == kUnixPeer || std::ranges::find(addresses_, remote) != addresses_.end();
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
