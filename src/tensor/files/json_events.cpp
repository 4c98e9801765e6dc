#include "tensor/files/json_events.h"

#include <boost/json/basic_parser_impl.hpp>

#include <utility>

#include "base/error.h"

namespace quire {
namespace {

// The names and signatures that boost::json::basic_parser asks for. Text comes in parts and is joined here.
struct Handler {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);
  using Code = boost::system::error_code;
  using Text = boost::json::string_view;

  explicit Handler(JsonEvents& receiver) : events(receiver) {}

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) { return events.begin_object(), true; }
  bool on_object_end(size_t, Code&) { return events.end_object(), true; }
  bool on_array_begin(Code&) { return events.begin_array(), true; }
  bool on_array_end(size_t, Code&) { return events.end_array(), true; }
  bool on_key_part(Text part, size_t, Code&) { return append(part); }
  bool on_key(Text part, size_t, Code&) {
    append(part);
    events.key(std::exchange(text, {}));
    return true;
  }
  bool on_string_part(Text part, size_t, Code&) { return append(part); }
  bool on_string(Text part, size_t, Code&) {
    append(part);
    events.string(std::exchange(text, {}));
    return true;
  }
  bool on_number_part(Text, Code&) { return true; }
  bool on_int64(int64_t value, Text, Code&) { return events.integer(value), true; }
  bool on_uint64(uint64_t, Text, Code&) { return events.other("a number beyond 2^63"), true; }
  bool on_double(double, Text, Code&) { return events.other("a fraction"), true; }
  bool on_bool(bool value, Code&) { return events.other(value ? "true" : "false"), true; }
  bool on_null(Code&) { return events.other("null"), true; }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }

  bool append(Text part) { return text.append(part.data(), part.size()), true; }

  JsonEvents& events;
  std::string text;
};

}  // namespace

void walk_json(std::string_view text, std::string_view what, size_t max_depth, JsonEvents& events) {
  boost::json::parse_options options;
  options.max_depth = max_depth;
  boost::json::basic_parser<Handler> parser(options, events);
  boost::system::error_code error;
  const size_t consumed = parser.write_some(false, text.data(), text.size(), error);
  if (!error && consumed < text.size()) error = boost::json::error::extra_data;
  if (error) {
    fail(ErrorCode::kCorrupt, "{} is not valid JSON: {} near byte {}", what, error.message(), consumed);
  }
}

}  // namespace quire
