#include <algorithm>

#include "base/error.h"
#include "measure/client.h"

namespace quire::load {

Target Target::parse(std::string_view base_url) {
  const auto refuse = [&](std::string_view why) {
    fail(ErrorCode::kInvalidArgument, "--base-url is '{}': {}; write http://HOST:PORT", printable(base_url), why);
  };
  std::string_view rest = base_url;
  if (rest.starts_with("https://")) refuse("HTTPS is not supported");
  if (!rest.starts_with("http://")) refuse("it does not begin with http://");
  rest.remove_prefix(7);
  Target target;
  const size_t slash = std::min(rest.find('/'), rest.size());
  target.path = rest.substr(slash);
  while (target.path.ends_with('/')) target.path.pop_back();
  if (target.path.ends_with("/v1")) target.path.resize(target.path.size() - 3);
  rest = rest.substr(0, slash);
  const size_t colon = rest.rfind(':');
  const bool has_port = colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos;
  target.port = has_port ? rest.substr(colon + 1) : "80";
  target.host = has_port ? rest.substr(0, colon) : rest;
  if (target.host.starts_with('[') && target.host.ends_with(']'))
    target.host = target.host.substr(1, target.host.size() - 2);
  const bool is_number =
      std::all_of(target.port.begin(), target.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (target.host.empty()) refuse("it names no host");
  if (target.port.empty() || target.port.size() > 5 || !is_number) refuse("its port is no number");
  const auto is_plain = [](char c) { return c > ' ' && c < 0x7f; };
  if (!std::all_of(base_url.begin(), base_url.end(), is_plain)) refuse("it has characters that no URL has");
  return target;
}

std::string Target::authority() const {
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

}  // namespace quire::load
