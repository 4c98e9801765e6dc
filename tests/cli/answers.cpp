#include "answers.h"

#include <gtest/gtest.h>

namespace quire::test {

Outcome quire(const Arguments& arguments, const std::string& input, const std::vector<std::string>& environment) {
  Outcome outcome = run_program({.arguments = arguments, .directory = {}, .input = input, .environment = environment});
  EXPECT_EQ(outcome.trouble(), "");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

std::string words_model() { return golden("llama2-mha/model.gguf"); }

json::object parse_object(const std::string& text) { return parse_json(text, "the program's output").as_object(); }

json::array parse_array(const std::string& text) { return parse_json(text, "the program's output").as_array(); }

}  // namespace quire::test
