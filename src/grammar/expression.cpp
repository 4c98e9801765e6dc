#include "grammar/expression.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "grammar/character_classes.h"
#include "text/utf8.h"

namespace quire {
namespace {

using Id = RegularLanguages::Id;
constexpr int64_t kMaxAssertedCopies = 8;

// What a part of an expression matches, apart by the assertions within it: [0] none, [1] those that can only hold at
// the end of the text ($), [2] at its begin (^), [3] both.
using Asserted = std::array<Id, 4>;
constexpr size_t kAtEnd = 1, kAtBegin = 2;
constexpr Asserted kNone = {RegularLanguages::kNothing, RegularLanguages::kNothing, RegularLanguages::kNothing,
                            RegularLanguages::kNothing};

Asserted plain(Id id) {
  Asserted all = kNone;
  all[0] = id;
  return all;
}

class ExpressionReader {
 public:
  ExpressionReader(RegularLanguages& regular, std::string_view pattern, bool is_anchored, const GrammarLimits& limits)
      : regular_(regular), is_anchored_(is_anchored), limits_(limits) {
    if (pattern.size() > limits.max_text_bytes) {
      fail(ErrorCode::kLimit, "an expression of {} bytes; at most {} are read", pattern.size(), limits.max_text_bytes);
    }
    if (!is_valid_utf8(pattern)) fail(ErrorCode::kInvalidArgument, "an expression is not valid UTF-8");
    for_each_character(pattern, [&](char32_t code, size_t begin, size_t) {
      text_.push_back(code);
      offsets_.push_back(begin);
    });
    offsets_.push_back(pattern.size());
  }

  Id read() {
    std::vector<Id> whole;
    do {
      const auto [anywhere, at_begin] = top_alternative();
      whole.push_back(is_anchored_ ? anywhere : regular_.concat(regular_.any_text(), anywhere));
      whole.push_back(at_begin);
    } while (take('|'));
    if (at_ < text_.size()) refuse(ErrorCode::kInvalidArgument, "a ')' without its '('");
    return regular_.any_of(std::move(whole));
  }

 private:
  [[noreturn]] void refuse(ErrorCode code, std::string_view what) const {
    fail(code, "regular expression, byte {}: {}", offsets_[std::min(at_, text_.size())], what);
  }

  bool at_end() const { return at_ >= text_.size(); }
  bool sees(std::u32string_view word) const { return std::u32string_view(text_).substr(at_).starts_with(word); }
  bool take(char32_t code) {
    if (at_end() || text_[at_] != code) return false;
    ++at_;
    return true;
  }
  bool take(std::u32string_view word) {
    if (!sees(word)) return false;
    at_ += word.size();
    return true;
  }

  // ---- Languages apart by assertions

  Id when_empty(Id id) const {
    return regular_.is_nullable(id) ? RegularLanguages::kEmpty : RegularLanguages::kNothing;
  }

  Asserted join(const Asserted& left, const Asserted& right) {
    Asserted all = kNone;
    for (size_t i = 0; i < 4; ++i) {
      for (size_t k = 0; k < 4; ++k) {
        if (left[i] == RegularLanguages::kNothing || right[k] == RegularLanguages::kNothing) continue;
        const Id first = (k & kAtBegin) != 0 ? when_empty(left[i]) : left[i];
        const Id second = (i & kAtEnd) != 0 ? when_empty(right[k]) : right[k];
        all[i | k] = regular_.any_of({all[i | k], regular_.concat(first, second)});
      }
    }
    return all;
  }

  Asserted either(const Asserted& a, const Asserted& b) {
    Asserted all;
    for (size_t i = 0; i < 4; ++i) all[i] = regular_.any_of({a[i], b[i]});
    return all;
  }

  Asserted repeated(const Asserted& inner, int64_t min, int64_t max) {
    const Id plain_part = inner[0];
    if (inner == plain(plain_part)) return plain(regular_.repeat(plain_part, min, max));
    if (min > kMaxAssertedCopies || max > kMaxAssertedCopies) {
      refuse(ErrorCode::kUnsupported, "an anchor in a part that is repeated many times");
    }
    Asserted all = plain(RegularLanguages::kEmpty);
    for (int64_t i = 0; i < min; ++i) all = join(all, inner);
    if (max != kNoMaximum) {
      const Asserted optional = either(inner, plain(RegularLanguages::kEmpty));
      for (int64_t i = min; i < max; ++i) all = join(all, optional);
      return all;
    }
    // Only the first repetition can be at the begin, only the last one at the end.
    const Id star = regular_.repeat(plain_part, 0, kNoMaximum);
    Asserted any = plain(star);
    any[kAtBegin] = regular_.concat(inner[kAtBegin], star);
    any[kAtEnd] = regular_.concat(star, inner[kAtEnd]);
    any[kAtBegin | kAtEnd] = regular_.any_of(
        {inner[kAtBegin | kAtEnd], regular_.concat(inner[kAtBegin], regular_.concat(star, inner[kAtEnd]))});
    return join(all, any);
  }

  // ---- Look-ahead: what follows it, up to the end of the text, is intersected with it.

  struct ToEnd {  // texts up to the end: from anywhere, and from the begin of the text
    Id anywhere, at_begin;
  };

  ToEnd to_end(const Asserted& part, bool may_continue) {
    const Id tail = may_continue ? regular_.any_text() : RegularLanguages::kEmpty;
    return {regular_.any_of({regular_.concat(part[0], tail), part[kAtEnd]}),
            regular_.any_of({regular_.concat(part[kAtBegin], tail), part[kAtBegin | kAtEnd]})};
  }

  ToEnd join(const Asserted& left, const ToEnd& right) {
    const Id to_end = right.anywhere;
    return {regular_.any_of({regular_.concat(left[0], to_end), regular_.concat(left[kAtEnd], when_empty(to_end))}),
            regular_.any_of({regular_.concat(left[kAtBegin], to_end),
                             regular_.concat(left[kAtBegin | kAtEnd], when_empty(to_end)),
                             regular_.concat(when_empty(left[0]), right.at_begin),
                             regular_.concat(when_empty(left[kAtBegin]), right.at_begin),
                             regular_.concat(when_empty(left[kAtEnd]), when_empty(right.at_begin))})};
  }

  ToEnd with_look_ahead(const ToEnd& rest, const Asserted& ahead, bool is_negative) {
    const ToEnd seen = to_end(ahead, true);
    if (is_negative) {
      if (seen.at_begin != RegularLanguages::kNothing) {
        refuse(ErrorCode::kUnsupported, "'^' within a negative look-ahead");
      }
      const Id none = regular_.negate(seen.anywhere);
      return {regular_.all_of({rest.anywhere, none}), regular_.all_of({rest.at_begin, none})};
    }
    return {regular_.all_of({rest.anywhere, seen.anywhere}),
            regular_.any_of({regular_.all_of({rest.at_begin, regular_.any_of({seen.anywhere, seen.at_begin})}),
                             regular_.all_of({rest.anywhere, seen.at_begin})})};
  }

  ToEnd top_alternative() {
    struct LookAhead {
      Asserted before, ahead;
      bool is_negative;
    };
    std::vector<LookAhead> look_aheads;
    Asserted part = plain(RegularLanguages::kEmpty);
    std::vector<Asserted> items;
    const auto flush = [&] {
      part = plain(RegularLanguages::kEmpty);
      for (size_t i = items.size(); i-- > 0;) part = join(items[i], part);
      items.clear();
    };
    while (!at_end() && text_[at_] != '|' && text_[at_] != ')') {
      if (sees(U"(?=") || sees(U"(?!")) {
        const bool is_negative = text_[at_ + 2] == '!';
        at_ += 3;
        const Asserted ahead = group_body();
        flush();
        look_aheads.push_back({part, ahead, is_negative});
      } else {
        items.push_back(term());
      }
    }
    flush();
    ToEnd rest = to_end(part, !is_anchored_);
    for (size_t i = look_aheads.size(); i-- > 0;) {
      rest = join(look_aheads[i].before, with_look_ahead(rest, look_aheads[i].ahead, look_aheads[i].is_negative));
    }
    return rest;
  }

  // ---- Syntax

  Asserted group_body() {
    if (++depth_ > limits_.max_depth) refuse(ErrorCode::kLimit, "groups are nested too deep");
    std::vector<Id> plain_choices;  // most are: joined at once
    Asserted all = kNone;
    do {
      const Asserted one = alternative();
      if (one == plain(one[0])) {
        plain_choices.push_back(one[0]);
      } else {
        all = either(all, one);
      }
    } while (take('|'));
    plain_choices.push_back(all[0]);
    all[0] = regular_.any_of(std::move(plain_choices));
    if (!take(')')) refuse(ErrorCode::kInvalidArgument, "a '(' without its ')'");
    --depth_;
    return all;
  }

  Asserted alternative() {
    std::vector<Asserted> items;
    while (!at_end() && text_[at_] != '|' && text_[at_] != ')') items.push_back(term());
    Asserted all = plain(RegularLanguages::kEmpty);
    for (size_t i = items.size(); i-- > 0;) all = join(items[i], all);
    return all;
  }

  Asserted term() {
    if (take('^')) return assertion(kAtBegin);
    if (take('$')) return assertion(kAtEnd);
    const Asserted inner = atom();
    int64_t min = 1, max = 1;
    if (!quantifier(min, max)) return inner;
    take('?');  // lazy: the same language
    return repeated(inner, min, max);
  }

  static Asserted assertion(size_t which) {
    Asserted all = kNone;
    all[which] = RegularLanguages::kEmpty;
    return all;
  }

  bool quantifier(int64_t& min, int64_t& max) {
    if (take('*')) return min = 0, max = kNoMaximum, true;
    if (take('+')) return min = 1, max = kNoMaximum, true;
    if (take('?')) return min = 0, max = 1, true;
    const size_t before = at_;
    if (!take('{')) return false;
    const auto first = number();
    if (!first) return at_ = before, false;
    min = max = *first;
    if (take(',')) max = number().value_or(kNoMaximum);
    if (!take('}')) return at_ = before, false;
    if (max != kNoMaximum && max < min) refuse(ErrorCode::kInvalidArgument, "a repetition whose bounds are reversed");
    if (std::max(min, max) > limits_.max_repeats) refuse(ErrorCode::kLimit, "a repetition counts too far");
    return true;
  }

  std::optional<int64_t> number() {
    if (at_end() || text_[at_] < '0' || text_[at_] > '9') return std::nullopt;
    int64_t value = 0;
    for (; !at_end() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = std::min<int64_t>(10 * value + (text_[at_] - '0'), int64_t{1} << 40);
    }
    return value;
  }

  Asserted atom() {
    const char32_t code = text_[at_];
    if (code == '*' || code == '+' || code == '?') refuse(ErrorCode::kInvalidArgument, "nothing to repeat");
    if (code == '(') return group();
    if (code == '[') return plain(regular_.character(bracket()));
    if (code == '.') return ++at_, plain(regular_.character(all_but_line_terminators()));
    if (code == '\\') return plain(regular_.character(escape(false)));
    ++at_;
    return plain(regular_.character({{code, code}}));
  }

  Asserted group() {
    if (sees(U"(?<=") || sees(U"(?<!")) refuse(ErrorCode::kUnsupported, "look-behind is not supported");
    if (sees(U"(?=") || sees(U"(?!")) {
      refuse(ErrorCode::kUnsupported, "look-ahead is supported at the outermost level only");
    }
    ++at_;
    if (take(U"?<") || take(U"?P<")) {
      while (!at_end() && text_[at_] != '>') ++at_;
      if (!take('>')) refuse(ErrorCode::kInvalidArgument, "a group's name without its '>'");
    } else if (!take(U"?:") && sees(U"?")) {
      refuse(ErrorCode::kUnsupported, "this kind of group is not supported");
    }
    return group_body();
  }

  std::optional<char32_t> hexadecimal(size_t min_digits, size_t max_digits) {
    char32_t value = 0;
    size_t count = 0;
    for (; count < max_digits && !at_end(); ++count, ++at_) {
      const char32_t code = text_[at_];
      const bool is_letter = (code >= 'a' && code <= 'f') || (code >= 'A' && code <= 'F');
      if (!is_letter && (code < '0' || code > '9')) break;
      value = 16 * value + (is_letter ? (code | 0x20) - 'a' + 10 : code - '0');
    }
    if (count < min_digits) return std::nullopt;
    return value;
  }

  char32_t unicode_escape() {
    if (take('{')) {
      const auto value = hexadecimal(1, 7);
      if (!value || *value > 0x10FFFF || !take('}')) refuse(ErrorCode::kInvalidArgument, "a wrong \\u{...}");
      return *value;
    }
    const auto value = hexadecimal(4, 4);
    if (!value) refuse(ErrorCode::kInvalidArgument, "\\u without four hexadecimal digits");
    if (*value < 0xD800 || *value > 0xDBFF) return *value;
    const size_t before = at_;
    if (take(U"\\u")) {
      const auto low = hexadecimal(4, 4);
      if (low && *low >= 0xDC00 && *low <= 0xDFFF) return 0x10000 + ((*value - 0xD800) << 10) + (*low - 0xDC00);
    }
    at_ = before;
    return *value;
  }

  CharacterRanges property(bool is_inverse) {
    std::string name;
    if (!take('{')) refuse(ErrorCode::kInvalidArgument, "\\p without '{'");
    while (!at_end() && text_[at_] != '}') append_utf8(name, text_[at_++]);
    if (!take('}')) refuse(ErrorCode::kInvalidArgument, "\\p{ without '}'");
    const auto ranges = unicode_property(name);
    if (!ranges) refuse(ErrorCode::kUnsupported, "the property '" + printable(name) + "' is not supported");
    return is_inverse ? inverse(*ranges) : *ranges;
  }

  CharacterRanges escape(bool in_class) {
    ++at_;
    if (at_end()) refuse(ErrorCode::kInvalidArgument, "a '\\' at the end");
    const char32_t code = text_[at_++];
    const auto one = [](char32_t character) { return CharacterRanges{{character, character}}; };
    switch (code) {
      case 'd': return ascii_digits();
      case 'D': return inverse(ascii_digits());
      case 'w': return ascii_word_characters();
      case 'W': return inverse(ascii_word_characters());
      case 's': return ecma_whitespace();
      case 'S': return inverse(ecma_whitespace());
      case 'p': return property(false);
      case 'P': return property(true);
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'v': return one('\v');
      case 'f': return one('\f');
      case 'r': return one('\r');
      case '0': return one(0);
      case 'x': {
        const auto value = hexadecimal(2, 2);
        if (!value) refuse(ErrorCode::kInvalidArgument, "\\x without two hexadecimal digits");
        return one(*value);
      }
      case 'u': return one(unicode_escape());
      case 'c': {
        if (at_end() || text_[at_] > 'z') refuse(ErrorCode::kInvalidArgument, "\\c without a letter");
        return one(text_[at_++] & 31);
      }
      case 'b':
        if (in_class) return one('\b');
        refuse(ErrorCode::kUnsupported, "\\b is not supported");
      default: break;
    }
    const bool is_letter = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
    if (code >= '1' && code <= '9') refuse(ErrorCode::kUnsupported, "back references are not supported");
    if (code == 'k' || code == 'B') refuse(ErrorCode::kUnsupported, "\\k and \\B are not supported");
    if (is_letter) refuse(ErrorCode::kInvalidArgument, "an unknown escape");
    return one(code);
  }

  CharacterRanges class_item() {
    if (text_[at_] == '\\') return escape(true);
    const char32_t code = text_[at_++];
    return {{code, code}};
  }

  CharacterRanges bracket() {
    const size_t begin = at_++;
    const bool is_inverse = take('^');
    CharacterRanges ranges;
    while (!at_end() && text_[at_] != ']') {
      const CharacterRanges first = class_item();
      const bool is_single = first.size() == 1 && first[0].first == first[0].second;
      const bool is_range = is_single && at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      if (!is_range) {
        ranges.insert(ranges.end(), first.begin(), first.end());
        continue;
      }
      ++at_;
      const CharacterRanges last = class_item();
      if (last.size() != 1 || last[0].first != last[0].second) {  // a '-' before a class stands for itself
        ranges.insert(ranges.end(), last.begin(), last.end());
        ranges.push_back(first[0]);
        ranges.emplace_back('-', '-');
        continue;
      }
      if (last[0].first < first[0].first) refuse(ErrorCode::kInvalidArgument, "a range whose bounds are reversed");
      ranges.emplace_back(first[0].first, last[0].first);
    }
    if (!take(']')) {
      at_ = begin;
      refuse(ErrorCode::kInvalidArgument, "a '[' without its ']'");
    }
    return is_inverse ? inverse(std::move(ranges)) : ranges;
  }

  RegularLanguages& regular_;
  bool is_anchored_;
  GrammarLimits limits_;
  std::u32string text_;
  std::vector<size_t> offsets_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

RegularLanguages::Id parse_expression(RegularLanguages& regular, std::string_view pattern, bool is_anchored,
                                      const GrammarLimits& limits) {
  return ExpressionReader(regular, pattern, is_anchored, limits).read();
}

}  // namespace quire
