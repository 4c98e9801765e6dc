// Walks JSON text without building a tree, so that a header of 100 MiB takes no more memory than the caller's result,
// and duplicate keys, which a tree would hide, are found. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// What walk_json meets, in order. The defaults throw the Error of a value that is not allowed in its place.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin_object() { unexpected("an object"); }
  virtual void end_object() {}
  virtual void begin_array() { unexpected("an array"); }
  virtual void end_array() {}
  virtual void key(std::string) {}
  virtual void string(std::string) { unexpected("a string"); }
  virtual void integer(int64_t) { unexpected("a number"); }
  // Fractions, integers beyond int64, true, false and null.
  virtual void other(const char* kind) { unexpected(kind); }

 protected:
  [[noreturn]] virtual void unexpected(const char* found) = 0;
};

// Throws Error kCorrupt naming `what` and the byte where the text stops being JSON. Errors of the events pass through.
void walk_json(std::string_view text, std::string_view what, size_t max_depth, JsonEvents& events);

}  // namespace quire
