// Calls whose arguments are pairs of a key and a text between marks, as XML has them. The arguments become one JSON
// object: a text is a JSON string, or JSON as it stands where the tool's schema has another type.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "dialogue/tool.h"
#include "dialogue/tool_formats/call_reader.h"

namespace quire {

// A call is: the name and whatever ends it, pairs, `end`. A pair is: `begin`, the key, `key_end`, the text, `text_end`.
// From names and keys the characters > " / and space are cut off at both ends, and what follows the first of them.
struct PairMarks {
  std::string_view begin;
  std::string_view key_end;
  std::string_view text_end;
  std::string_view end;
  bool has_lines = false;  // a line break after key_end and one before text_end are no part of the text
};

// `tools` are kept by reference.
std::unique_ptr<CallReader> make_pair_call_reader(const PairMarks& marks, std::span<const Tool> tools);

}  // namespace quire
