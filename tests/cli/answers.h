// Shared by tests of the program's output: a run that must succeed, and its output as JSON.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "program.h"

namespace quire::test {

using Arguments = std::vector<std::string>;

// Expects that the program ends normally with exit code 0.
Outcome quire(const Arguments& arguments, const std::string& input = "",
              const std::vector<std::string>& environment = {});

// A model with 96 words that form no text; small enough to count by hand.
std::string words_model();

json::object parse_object(const std::string& text);
json::array parse_array(const std::string& text);

}  // namespace quire::test
