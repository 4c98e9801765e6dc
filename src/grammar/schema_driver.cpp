// Compiles schemas and checks texts against them, for tools/check_schemas.py: a JSON object a line in, one a line out.
//   {"schema": ..., "texts": [...], "any_order": false, "any_whitespace": true}  ->
//   {"compile_ms": 1.5, "fits": [true, ...]}  or  {"error": "...", "code": "unsupported"}
#include <chrono>
#include <iostream>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "grammar/grammar.h"
#include "grammar/json_schema.h"

namespace quire {
namespace {

json::object answer(const json::object& request) {
  const auto start = std::chrono::steady_clock::now();
  GrammarBuilder builder;
  const JsonForm form{.any_whitespace = find_bool(request, "any_whitespace", true),
                      .any_order = find_bool(request, "any_order", false)};
  const auto grammar = builder.build(json_schema(builder, request.at("schema"), form));
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  json::array results;
  for (const json::value& text : request.at("texts").as_array()) {
    results.push_back(fits(*grammar, std::string_view(text.get_string())));
  }
  return {{"compile_ms", spent.count()}, {"fits", std::move(results)}};
}

}  // namespace
}  // namespace quire

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    quire::json::object result;
    try {
      result = quire::answer(quire::parse_json(line, "the request", 1000).as_object());
    } catch (const quire::Error& error) {
      result = {{"error", error.what()}, {"code", quire::name(error.code())}};
    }
    std::cout << quire::json::serialize(result) << std::endl;
  }
  return 0;
}
