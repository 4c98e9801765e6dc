#include "jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : owned_(normalize_newlines(source)), source_(owned_) {
    if (!source_.empty() && source_.back() == '\n') source_.remove_suffix(1);
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  enum class Tag { kOutput, kBlock, kComment };

  void add(TokenKind kind, std::string text) { tokens_.push_back(Token{kind, line_, std::move(text)}); }

  bool looking_at(std::string_view text) const { return source_.substr(at_).starts_with(text); }

  // Moves on, counting lines and remembering whether the next data starts a line.
  void advance(size_t num_bytes) {
    const std::string_view passed = source_.substr(at_, num_bytes);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    if (!passed.empty()) line_starting_ = passed.back() == '\n';
    at_ += num_bytes;
  }

  size_t space_length(size_t from) const {
    const std::string_view rest = source_.substr(from);
    return rest.size() - strip_space(rest, true, false).size();
  }

  // Template data up to the next tag, then the tag.
  void lex_data() {
    size_t open = at_;
    for (;; ++open) {
      open = std::min(source_.find('{', open), source_.size());
      if (open + 1 >= source_.size()) open = source_.size();
      if (open == source_.size() || source_[open + 1] == '{' || source_[open + 1] == '%' || source_[open + 1] == '#')
        break;
    }
    if (open == source_.size()) {
      add(TokenKind::kText, std::string(source_.substr(at_)));
      advance(source_.size() - at_);
      return;
    }
    const char kind = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    add_text_before(open, sign, kind != '{');
    const size_t begin_size = sign == '-' || sign == '+' ? 3 : 2;
    if (kind == '{') {
      add(TokenKind::kOutputBegin, "");
      advance(begin_size);
      lex_expression(Tag::kOutput);
    } else if (kind == '#') {
      skip_comment(begin_size);
    } else if (const size_t raw = raw_begin_length(begin_size); raw > 0) {
      lex_raw(raw);
    } else {
      add(TokenKind::kBlockBegin, "");
      advance(begin_size);
      lex_expression(Tag::kBlock);
    }
  }

  void add_text_before(size_t open, char sign, bool strips_line) {
    std::string_view text = source_.substr(at_, open - at_);
    const std::string_view whole = text;
    if (sign == '-') {
      text = strip_space(text, false, true);
    } else if (sign != '+' && strips_line) {
      const size_t newline = text.rfind('\n');
      const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_start > 0 || line_starting_) && strip_space(text.substr(line_start), true, false).empty()) {
        text = text.substr(0, line_start);
      }
    }
    if (!text.empty()) add(TokenKind::kText, std::string(text));
    advance(whole.size());
  }

  // The length of a closing tag here, with the whitespace it takes along; 0 when there is none.
  size_t end_length(std::string_view mark, bool trims_newline) const {
    if (looking_at("-" + std::string(mark))) return mark.size() + 1 + space_length(at_ + mark.size() + 1);
    if (trims_newline && looking_at("+" + std::string(mark))) return mark.size() + 1;
    if (!looking_at(mark)) return 0;
    const bool newline = trims_newline && source_.substr(at_ + mark.size()).starts_with('\n');
    return mark.size() + (newline ? 1 : 0);
  }

  void skip_comment(size_t begin_size) {
    const int begin_line = line_;
    advance(begin_size);
    while (at_ < source_.size()) {
      if (const size_t length = end_length("#}", true); length > 0) {
        advance(length);
        return;
      }
      advance(std::min(source_.find_first_of("#-+", at_ + 1), source_.size()) - at_);
    }
    syntax_error(begin_line, "a comment is not closed with #}");
  }

  // The length of "{% raw %}" here, 0 when the tag is another one.
  size_t raw_begin_length(size_t begin_size) const {
    size_t i = at_ + begin_size;
    i += space_length(i);
    if (!source_.substr(i).starts_with("raw")) return 0;
    i += 3;
    i += space_length(i);
    if (source_.substr(i).starts_with("%}")) return i + 2 - at_;
    if (!source_.substr(i).starts_with("-%}")) return 0;
    return i + 3 + space_length(i + 3) - at_;
  }

  void lex_raw(size_t begin_length) {
    const int begin_line = line_;
    advance(begin_length);
    for (size_t open = at_;; ++open) {
      open = source_.find("{%", open);
      if (open == std::string_view::npos) syntax_error(begin_line, "a raw block is not closed with endraw");
      const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
      size_t i = open + (sign == '-' || sign == '+' ? 3 : 2);
      i += space_length(i);
      if (!source_.substr(i).starts_with("endraw")) continue;
      i += 6;
      i += space_length(i);
      const size_t before = at_;
      at_ = i;
      const size_t end = end_length("%}", true);
      at_ = before;
      if (end == 0) continue;
      add_text_before(open, sign, true);
      advance(i + end - open);
      return;
    }
  }

  void lex_expression(Tag tag) {
    const int begin_line = line_;
    std::string open_brackets;
    while (at_ < source_.size()) {
      if (open_brackets.empty()) {
        const size_t length = tag == Tag::kOutput ? end_length("}}", false) : end_length("%}", true);
        if (length > 0) {
          add(tag == Tag::kOutput ? TokenKind::kOutputEnd : TokenKind::kBlockEnd, "");
          advance(length);
          return;
        }
      }
      lex_token(open_brackets);
    }
    syntax_error(begin_line, tag == Tag::kOutput ? "{{ is not closed with }}" : "{% is not closed with %}");
  }

  void lex_token(std::string& open_brackets) {
    if (const size_t blanks = space_length(at_); blanks > 0) return advance(blanks);
    const char c = source_[at_];
    if (is_ascii_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string(c);
    const auto [point, num_bytes] = decode_at(source_, at_);
    if (is_word(point)) return lex_name();
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      balance(op, open_brackets);
      add(TokenKind::kOperator, std::string(op));
      return advance(op.size());
    }
    syntax_error(line_, fmt::format("unexpected character '{}'", printable(source_.substr(at_, num_bytes))));
  }

  void balance(std::string_view op, std::string& open_brackets) const {
    if (op == "(") open_brackets += ')';
    if (op == "[") open_brackets += ']';
    if (op == "{") open_brackets += '}';
    if (op != ")" && op != "]" && op != "}") return;
    if (open_brackets.empty()) syntax_error(line_, fmt::format("unexpected '{}'", op));
    if (open_brackets.back() != op[0]) {
      syntax_error(line_, fmt::format("unexpected '{}', expected '{}'", op, open_brackets.back()));
    }
    open_brackets.pop_back();
  }

  // Digits with single underscores between them, from `from`.
  size_t digits_length(size_t from, std::string_view allowed) const {
    size_t i = from;
    while (i < source_.size()) {
      const size_t digit = source_[i] == '_' && i > from ? i + 1 : i;
      if (digit >= source_.size() || allowed.find(source_[digit]) == std::string_view::npos) break;
      i = digit + 1;
    }
    return i - from;
  }

  void lex_number() {
    constexpr std::string_view kDigits = "0123456789";
    const bool after_dot = !tokens_.empty() && at_ > 0 && source_[at_ - 1] == '.';
    const size_t whole = digits_length(at_, kDigits);
    size_t end = at_ + whole;
    bool is_float = false;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_ascii_digit(source_[end + 1])) {
        end += 1 + digits_length(end + 1, kDigits);
        is_float = true;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (const size_t size = digits_length(exponent, kDigits); size > 0) {
          end = exponent + size;
          is_float = true;
        }
      }
    }
    if (is_float) return add_float(end);
    if (source_[at_] != '0') return add_integer(at_, end, 10);
    const char marker = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : ' ';
    const unsigned base = marker == 'x' ? 16 : (marker == 'o' ? 8 : (marker == 'b' ? 2 : 10));
    const std::string_view allowed =
        base == 16 ? "0123456789abcdefABCDEF_" : (base == 8 ? "01234567_" : (base == 2 ? "01_" : "0"));
    if (base != 10) {
      if (const size_t size = digits_length(at_ + 2, allowed); size > 0)
        return add_integer(at_ + 2, at_ + 2 + size, base);
    }
    add_integer(at_, at_ + digits_length(at_, "0"), 10);
  }

  void add_float(size_t end) {
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    add(TokenKind::kFloat, digits);
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().floating);
    if (result.ec == std::errc::result_out_of_range) {
      const bool tiny = digits.find("e-") != std::string::npos || digits.find("E-") != std::string::npos;
      tokens_.back().floating = tiny ? 0.0 : HUGE_VAL;
    }
    advance(end - at_);
  }

  void add_integer(size_t from, size_t end, unsigned base) {
    Int number = 0;
    for (const char c : source_.substr(from, end - from)) {
      if (c == '_') continue;
      const int digit = is_ascii_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
      if (__builtin_mul_overflow(number, static_cast<Int>(base), &number) ||
          __builtin_add_overflow(number, static_cast<Int>(digit), &number)) {
        fail(ErrorCode::kLimit, "an integer needs more than 128 bits (chat template, line {})", line_);
      }
    }
    add(TokenKind::kInteger, std::string(source_.substr(at_, end - at_)));
    tokens_.back().integer = number;
    advance(end - at_);
  }

  void lex_name() {
    size_t end = at_;
    while (end < source_.size()) {
      const auto [point, num_bytes] = decode_at(source_, end);
      if (!is_word(point)) break;
      end += num_bytes;
    }
    add(TokenKind::kName, std::string(source_.substr(at_, end - at_)));
    advance(end - at_);
  }

  void lex_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) syntax_error(line_, "a string is not closed");
    add(TokenKind::kString, unescape(source_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1 - at_);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];  // a string never ends in a single backslash
      constexpr std::string_view kNames = "\n\\'\"abfnrtv";
      constexpr std::string_view kMeanings("\0\\'\"\a\b\f\n\r\t\v", 11);
      if (const size_t simple = kNames.find(c); simple != std::string_view::npos) {
        if (c != '\n') out += kMeanings[simple];
      } else if (c >= '0' && c <= '7') {
        uint32_t value = 0;
        const size_t end = std::min(i + 3, text.size());
        for (; i < end && text[i] >= '0' && text[i] <= '7'; ++i)
          value = value * 8 + static_cast<uint32_t>(text[i] - '0');
        --i;
        append_utf8(out, value);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        i += append_hex(out, text.substr(i + 1), c == 'x' ? 2 : (c == 'u' ? 4 : 8));
      } else if (c == 'N') {
        syntax_error(line_, "\\N{...} in a string is not supported");
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  size_t append_hex(std::string& out, std::string_view digits, size_t count) const {
    uint32_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + std::min(count, digits.size()), value, 16);
    if (result.ec != std::errc() || static_cast<size_t>(result.ptr - digits.data()) != count || value > 0x10FFFF) {
      syntax_error(line_, "a string has a malformed \\x, \\u or \\U escape");
    }
    if (value >= 0xD800 && value < 0xE000)
      syntax_error(line_, "a string has a lone surrogate, which UTF-8 cannot hold");
    append_utf8(out, value);
    return count;
  }

  std::string owned_;
  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

void syntax_error(int line, const std::string& message) {
  throw Error(ErrorCode::kCorrupt, fmt::format("{} (chat template, line {})", message, line));
}

}  // namespace quire::jinja
