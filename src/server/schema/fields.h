// A field of a request: name, type, range, where the value is stored and what it means. Each API has a table of them
// (server/apis): the parser uses it, docs/serving-api.md shows it and openapi.json is written from it (tests compare
// them), and the tests of hostile values are generated from it. In a table an alias comes before the name that
// overrides it.
//
// Tables are constant; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/limits.h"
#include "server/schema/api_request.h"

namespace quire {

struct ParseContext {
  const Limits& limits;
  const SamplingParams& default_sampling;
  int64_t vocab_size = 0;  // 0: unknown, only the sign of token ids is checked
  bool allow_request_templates = false;
  bool drop_client_markers = true;  // apis/anthropic_messages/client_markers.h
};

enum class FieldType : uint8_t {
  kBool,
  kInteger,
  kNumber,
  kString,
  kObject,   // with fields of its own
  kOther,    // `store` does all checks
  kIgnored,  // accepted, without effect
  kRefused,  // null, false, 0 and empty are accepted; anything else is not_supported
};

struct Field {
  std::string_view name;
  FieldType type = FieldType::kOther;
  std::string_view meaning;
  // Receives a value of the right type within its range, never null.
  void (*store)(ApiRequest& out, const json::value& value, const ParseContext& context) = nullptr;
  // Of numbers: their value; of strings: their bytes.
  double min = 0.0;
  double max = 0.0;
  bool is_above_min = false;     // min itself is not allowed
  int Limits::*limit = nullptr;  // max, when it is a limit of the server
  uint64_t Limits::*byte_limit = nullptr;
  std::string_view shape = {};    // kOther: JSON Schema
  const Field* nested = nullptr;  // kObject: its fields
  size_t num_nested = 0;

  constexpr std::span<const Field> members() const { return {nested, num_nested}; }
  double max_in(const Limits& limits) const { return limit != nullptr ? static_cast<double>(limits.*limit) : max; }
};

// "integer, 1 to 128": for the documentation and for refusals.
std::string describe_type(const Field& field, const Limits& limits);

}  // namespace quire
