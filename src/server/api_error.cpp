#include "server/api_error.h"

namespace quire {

std::optional<bool> repeat_helps(const ApiError& error) {
  if (error.status() == 429 || error.status() == 503) return true;
  // Clients repeat these by their status alone, but the same request meets the same deadline and the same numbers.
  if (error.status() == 501 || error.code() == "timeout" || error.code() == "numeric_error") return false;
  return std::nullopt;
}

}  // namespace quire
