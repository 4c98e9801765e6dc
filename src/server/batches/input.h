// The lines of a batch's input file: requests. Pure functions, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/limits.h"

namespace quire {

struct BatchRequest {
  std::string custom_id;
  json::object body;
};

// Those that are not blank.
std::vector<std::string_view> batch_lines(std::string_view content);
// Throws ApiError naming what is wrong.
BatchRequest read_batch_line(std::string_view line, std::string_view endpoint, const Limits& limits);
// What keeps a batch from being run: a JSON list of {code, message, param, line}; nothing when nothing does.
std::optional<std::string> find_batch_errors(std::string_view content, std::string_view endpoint, const Limits& limits);

}  // namespace quire
