// Calls whose arguments are written as JSON: an object that holds name and arguments, or a head with the name and the
// arguments behind it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dialogue/tool_formats/call_reader.h"

namespace quire {

// Finds the end of one JSON value. Brackets and strings are followed; what stands between them only has to be of
// characters that JSON has there.
class JsonScanner {
 public:
  // Takes the bytes of `text` that belong to the value, and says how many. Above 0 unless the value is done or broken.
  size_t push(std::string_view text);
  ReadState state() const { return state_; }

 private:
  bool take(char c);  // false: the value ended before this byte, or is broken

  std::string open_;  // brackets, outermost first
  bool in_string_ = false;
  bool is_escaped_ = false;
  bool has_begun_ = false;
  ReadState state_ = ReadState::kMore;
};

// {"name": ..., "arguments": {...}} in any order, with the names of the members that models use. Members may stand in
// an object "function", as OpenAI writes calls.
std::unique_ptr<CallReader> make_json_call_reader();

// A head up to the first '{', which begins the arguments. `name_of`: the name in a head; empty: no call.
using NameOfHead = std::string_view (*)(std::string_view head);
std::unique_ptr<CallReader> make_headed_call_reader(NameOfHead name_of);

}  // namespace quire
