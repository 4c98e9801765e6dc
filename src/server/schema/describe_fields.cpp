#include "server/schema/fields.h"

#include <fmt/format.h>

namespace quire {
namespace {

std::string describe_range(const Field& field, const Limits& limits) {
  const double max = field.limit != nullptr ? static_cast<double>(limits.*field.limit) : field.max;
  if (max >= 9.0e15) return " of 64 bits";
  return field.is_above_min ? fmt::format(" above {:.15g}, at most {:.15g}", field.min, max)
                            : fmt::format(" from {:.15g} to {:.15g}", field.min, max);
}

std::string endpoints_of(const Field& field) {
  static constexpr std::pair<Endpoint, std::string_view> kNames[] = {{kChat, "chat"},
                                                                     {kCompletions, "completions"},
                                                                     {kEmbeddings, "embeddings"},
                                                                     {kTokenize, "tokenize"},
                                                                     {kDetokenize, "detokenize"}};
  std::string text;
  for (const auto& [endpoint, name] : kNames) {
    if ((field.endpoints & endpoint) == 0) continue;
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

}  // namespace

std::string describe_type(const Field& field, const Limits& limits) {
  switch (field.type) {
    case FieldType::kBool: return "true or false";
    case FieldType::kInteger: return "an integer" + describe_range(field, limits);
    case FieldType::kNumber: return "a number" + describe_range(field, limits);
    case FieldType::kString: {
      const double max = field.byte_limit != nullptr ? static_cast<double>(limits.*field.byte_limit) : field.max;
      return max == 0.0 ? "a string" : fmt::format("a string of {} to {} bytes", field.min, max);
    }
    case FieldType::kOther: return "see its meaning";
    case FieldType::kIgnored: return "anything (without effect)";
    case FieldType::kRefused: return "off (not supported)";
  }
  return {};
}

std::string fields_as_markdown(const Limits& limits) {
  std::string table = "| field | endpoints | value | meaning |\n|---|---|---|---|\n";
  for (const Field& field : request_fields()) {
    table += fmt::format("| `{}` | {} | {} | {} |\n", field.name, endpoints_of(field), describe_type(field, limits),
                         field.meaning);
  }
  return table;
}

}  // namespace quire
