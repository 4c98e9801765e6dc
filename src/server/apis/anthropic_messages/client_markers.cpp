#include "server/apis/anthropic_messages/client_markers.h"

#include <algorithm>

namespace quire {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

std::string_view without_billing_line(std::string_view text) {
  constexpr std::string_view kHeader = "x-anthropic-billing-header:";
  const size_t first = std::min(text.find_first_not_of(kSpaces), text.size());
  if (!text.substr(first).starts_with(kHeader)) return text;
  const size_t line_end = text.find('\n', first);
  return line_end == std::string_view::npos ? std::string_view() : text.substr(line_end + 1);
}

// The bytes of a whole budget mark at the beginning of `text`, 0 when there is none.
size_t budget_mark_bytes(std::string_view text) {
  constexpr std::string_view kOpen = "<total_tokens>", kClose = " tokens left</total_tokens>";
  if (!text.starts_with(kOpen)) return 0;
  const size_t number_end = std::min(text.find_first_not_of("0123456789,_", kOpen.size()), text.size());
  if (number_end == kOpen.size() || !text.substr(number_end).starts_with(kClose)) return 0;
  return number_end + kClose.size();
}

}  // namespace

std::string without_client_markers(std::string_view text) {
  text = without_billing_line(text);
  std::string out;
  bool ends_in_mark = false;
  while (!text.empty()) {
    const size_t open = std::min(text.find('<'), text.size());
    if (open > 0) {
      out += text.substr(0, open);
      ends_in_mark = ends_in_mark && text.substr(0, open).find_first_not_of(kSpaces) == std::string_view::npos;
      text.remove_prefix(open);
    } else if (const size_t mark = budget_mark_bytes(text); mark > 0) {
      // Older marks stay in the prompt: the white space between them goes with them.
      out.erase(out.find_last_not_of(kSpaces) + 1);
      ends_in_mark = true;
      text.remove_prefix(mark);
    } else {
      out += text.front();
      ends_in_mark = false;
      text.remove_prefix(1);
    }
  }
  if (ends_in_mark) out.erase(out.find_last_not_of(kSpaces) + 1);
  return out;
}

}  // namespace quire
