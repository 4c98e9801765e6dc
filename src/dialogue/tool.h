// A tool that a model may call, as a request describes it. A plain value.
#pragma once

#include <string>

#include "base/json.h"

namespace quire {

struct Tool {
  std::string name;
  std::string description = {};
  json::object parameters = {};  // a JSON Schema of an object; empty: no arguments
  bool is_strict = false;        // the arguments are to be valid under it
};

}  // namespace quire
