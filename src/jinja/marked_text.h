// Text that knows where its bytes came from. A template writes some of them itself: its literals, and the model's own
// special tokens. The others are data: characters of the caller's values. Only in the template's own bytes may the name
// of a special token mean that token (docs/decisions/0019-messages-are-data.md).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/text_span.h"

namespace quire {

struct MarkedText {
  std::string text;            // UTF-8
  std::vector<TextSpan> data;  // in order; they neither overlap nor touch, and none is empty

  MarkedText& operator+=(std::string_view own) {
    text += own;
    return *this;
  }
  MarkedText& operator+=(char own) {
    text += own;
    return *this;
  }
  // Appends `part`, which lies in `whole`, a text with these spans of data.
  void append(std::string_view whole, std::span<const TextSpan> whole_data, std::string_view part);
  void append(const MarkedText& other) { append(other.text, other.data, other.text); }
  // Everything from `begin` on is data.
  void mark(size_t begin = 0);
  // Leaves the first `size` bytes.
  void cut(size_t size);
  size_t num_bytes() const { return text.size() + data.size() * sizeof(TextSpan); }

 private:
  void add_span(size_t begin, size_t end);
};

}  // namespace quire
