#include "server/openapi/openapi.h"

#include <algorithm>

#include "base/error.h"
#include "server/apis/apis.h"
#include "server/endpoints/routes.h"

// The assembler embeds the file; QUIRE_OPENAPI_JSON is its path, set by the build.
asm(R"(
    .section .rodata
    .globl quire_openapi_begin
    .globl quire_openapi_end
quire_openapi_begin:
    .incbin ")" QUIRE_OPENAPI_JSON R"("
quire_openapi_end:
    .previous
)");

extern "C" const char quire_openapi_begin[];
extern "C" const char quire_openapi_end[];

namespace quire {
namespace {

std::string lower_method(std::string_view method) {
  std::string out(method);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return static_cast<char>(c + 32); });
  return out;
}

// "/v1/models/{id}" -> its path parameters.
json::array path_parameters(std::string_view pattern) {
  json::array parameters;
  for (size_t open = pattern.find('{'); open != std::string_view::npos; open = pattern.find('{', open + 1)) {
    const std::string_view name = pattern.substr(open + 1, pattern.find('}', open) - open - 1);
    parameters.push_back({{"name", name}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  }
  return parameters;
}

void add_common_responses(json::object& operation, const Route& route) {
  json::object& responses = operation["responses"].as_object();
  const auto add = [&](const char* status) {
    if (responses.contains(status)) return;
    const char* const name = &route.errors == &kOllamaErrors ? "OllamaError" : status;
    responses[status] = {{"$ref", std::string("#/components/responses/") + name}};
  };
  if (route.scope == Scope::kKey) add("401");
  add("403");
  add("503");
}

}  // namespace

json::object openapi_document(const Limits& limits, std::string_view root_path) {
  const std::string_view text(quire_openapi_begin, static_cast<size_t>(quire_openapi_end - quire_openapi_begin));
  json::object document = parse_json(text, "openapi.json").as_object();
  json::object operations = document["operations"].as_object();
  document.erase("operations");
  document["info"].as_object()["version"] = QUIRE_VERSION;
  document["servers"] = json::array{json::object{{"url", root_path.empty() ? "/" : root_path}}};
  json::object paths;
  for (const Route& route : routes()) {
    const std::string key = std::string(route.method) + " " + std::string(route.pattern);
    const auto found = operations.find(key);
    if (found == operations.end()) fail(ErrorCode::kCorrupt, "openapi.json has no operation '{}'", key);
    json::object operation = found->value().as_object();
    operations.erase(found);
    const json::array parameters = path_parameters(route.pattern);
    if (!parameters.empty()) operation["parameters"] = parameters;
    operation["security"] = route.scope == Scope::kPublic
                                ? json::array()
                                : json::array{{{"bearer", json::array()}}, {{"key", json::array()}}, json::object()};
    add_common_responses(operation, route);
    json::value& item = paths[route.pattern];
    if (!item.is_object()) item = json::object();
    item.as_object()[lower_method(route.method)] = std::move(operation);
  }
  document["paths"] = std::move(paths);
  json::object& schemas = document["components"].as_object()["schemas"].as_object();
  for (const Api* const api : apis()) schemas[api->schema] = request_schema(*api, limits);
  return document;
}

}  // namespace quire
