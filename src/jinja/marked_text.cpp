#include "jinja/marked_text.h"

#include <algorithm>

namespace quire {

void MarkedText::append(std::string_view whole, std::span<const TextSpan> whole_data, std::string_view part) {
  if (part.empty()) return;
  const auto first = static_cast<size_t>(part.data() - whole.data());
  const size_t last = first + part.size();
  const size_t at = text.size();
  auto span = std::ranges::upper_bound(whole_data, first, {}, &TextSpan::end);
  for (; span != whole_data.end() && span->begin < last; ++span) {
    add_span(at + std::max(span->begin, first) - first, at + std::min(span->end, last) - first);
  }
  text.append(part);
}

void MarkedText::mark(size_t begin) {
  while (!data.empty() && data.back().begin >= begin) data.pop_back();
  if (begin < text.size()) add_span(begin, text.size());
}

void MarkedText::cut(size_t size) {
  text.resize(std::min(size, text.size()));
  while (!data.empty() && data.back().begin >= text.size()) data.pop_back();
  if (!data.empty()) data.back().end = std::min(data.back().end, text.size());
}

void MarkedText::add_span(size_t begin, size_t end) {
  if (!data.empty() && data.back().end >= begin) {
    data.back().end = end;
  } else {
    data.push_back({begin, end});
  }
}

}  // namespace quire
