// The table of request fields: name, endpoints, type, range, where the value is stored and what it means. The parser
// uses it, docs/serving-api.md shows it (a test compares them), and the tests of hostile values are generated from it.
//
// The table is constant; parse_request() may be called by any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/limits.h"
#include "server/schema/api_request.h"

namespace quire {

enum Endpoint : uint8_t {
  kChat = 1,
  kCompletions = 2,
  kEmbeddings = 4,
  kTokenize = 8,
  kDetokenize = 16,
};

struct ParseContext {
  const Limits& limits;
  const SamplingParams& default_sampling;
  int64_t vocab_size = 0;  // 0: unknown, only the sign of token ids is checked
  bool allow_request_templates = false;
};

enum class FieldType : uint8_t {
  kBool,
  kInteger,
  kNumber,
  kString,
  kOther,    // `store` does all checks
  kIgnored,  // accepted, without effect
  kRefused,  // null, false, 0 and empty are accepted; anything else is not_supported
};

struct Field {
  std::string_view name;
  uint8_t endpoints;  // of Endpoint
  FieldType type;
  std::string_view meaning;
  // Receives a value of the right type within its range, never null.
  void (*store)(ApiRequest& out, const json::value& value, const ParseContext& context) = nullptr;
  // Of numbers: their value; of strings: their bytes.
  double min = 0.0;
  double max = 0.0;
  bool is_above_min = false;     // min itself is not allowed
  int Limits::*limit = nullptr;  // max, when it is a limit of the server
  uint64_t Limits::*byte_limit = nullptr;
};

// In the order in which they are stored: an alias comes before the name that overrides it.
std::span<const Field> request_fields();

// "integer, 1 to 128": for the documentation and for refusals.
std::string describe_type(const Field& field, const Limits& limits);
// The documentation's table, in Markdown.
std::string fields_as_markdown(const Limits& limits);

// Throws ApiError: 400 with the field's path.
ApiRequest parse_request(std::string_view body, Endpoint endpoint, const ParseContext& context);

}  // namespace quire
