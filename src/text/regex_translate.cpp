#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode_versions.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr int kMaxClassDepth = 16;

constexpr std::string_view kSpaceItems =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

// One-letter category names of the general categories, in the order of utf8proc's enumeration.
constexpr std::array<std::string_view, 30> kCategoryNames = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};

bool is_binary_property(std::string_view name) {
  constexpr std::string_view kNames[] = {"Any",         "Alphabetic",      "Lowercase",   "Uppercase",
                                         "White_Space", "Emoji",           "Math",        "Dash",
                                         "Hex_Digit",   "ASCII_Hex_Digit", "ID_Start",    "ID_Continue",
                                         "XID_Start",   "XID_Continue",    "Ideographic", "Extended_Pictographic"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// PCRE2 takes a bare script name for its extensions too, Oniguruma only for the script itself.
std::string script_items(std::string_view name) {
  const bool han = name == "Han";  // with CJK extensions H and I
  return fmt::format("\\p{{sc:{}}}{}", name, han ? "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}" : "");
}

// Class items of \p{name}, with the characters that PCRE2's Unicode version may lack.
std::string category_items(std::string_view name) {
  std::string items = fmt::format("\\p{{{}}}", name);
  if (name.size() > 2 && !is_binary_property(name)) return script_items(name);
  if (name.empty() || name.size() > 2 || name[0] == 'C') return items;
  for (const CategoryRange& range : added_characters()) {
    if (kCategoryNames[range.category].substr(0, name.size()) == name) {
      items +=
          fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<uint32_t>(range.first), static_cast<uint32_t>(range.last));
    }
  }
  return items;
}

std::string word_items() {
  return "\\p{Alphabetic}" + category_items("L") + category_items("M") + category_items("Nd") + "\\p{Pc}";
}

// Oniguruma's names of POSIX brackets, usable as [[:name:]] and as \p{Name}.
std::string posix_items(std::string_view name) {
  std::string lower;
  for (const char c : name) lower.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  if (lower == "alpha") return "\\p{Alphabetic}" + category_items("L");
  if (lower == "alnum") return "\\p{Alphabetic}" + category_items("L") + category_items("Nd");
  if (lower == "digit") return category_items("Nd");
  if (lower == "space") return std::string(kSpaceItems);
  if (lower == "blank") return "\\p{Zs}\\x{9}";
  if (lower == "cntrl") return "\\p{Cc}";
  if (lower == "lower") return "\\p{Lowercase}" + category_items("Ll");
  if (lower == "upper") return "\\p{Uppercase}" + category_items("Lu");
  if (lower == "punct") return category_items("P");
  if (lower == "word") return word_items();
  if (lower == "xdigit") return "0-9a-fA-F";
  if (lower == "ascii") return "\\x{0}-\\x{7f}";
  return {};
}

// One set of characters: `items` is the inside of a bracket.
struct Set {
  std::string items;
  bool negated = false;
  std::string text() const { return fmt::format("[{}{}]", negated ? "^" : "", items); }
};

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  std::string run() {
    while (at_ < in_.size()) next();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "expression \"{}\": {} at byte {}", printable(in_), what, at_);
  }
  bool starts_with(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  void put_atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }

  void next() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (c == '[') return put_atom(bracket(0));
    if (c == '(') return open_group();
    if (c == ')') {
      if (!groups_.empty()) {
        atom_ = groups_.back();
        groups_.pop_back();
      }
      out_.push_back(c);
      ++at_;
      return;
    }
    if (c == '{') return interval();
    if (c != '*' && c != '+' && c != '?') {
      const size_t size = std::min<size_t>(utf8_size(c), in_.size() - at_);
      put_atom(in_.substr(at_, size));
      at_ += size;
      return;
    }
    out_.push_back(c);
    ++at_;
  }

  // Ruby's (?m) lets the dot match a newline; that is PCRE2's (?s). PCRE2's own (?m) is always on.
  void open_group() {
    groups_.push_back(out_.size());
    out_.push_back('(');
    ++at_;
    if (!starts_with("?") || starts_with("?<") || starts_with("?P")) return;
    out_.push_back('?');
    ++at_;
    while (at_ < in_.size() && std::string_view("imx-").find(in_[at_]) != std::string_view::npos) {
      out_.push_back(in_[at_] == 'm' ? 's' : in_[at_]);
      ++at_;
    }
    if (at_ < in_.size()) out_.push_back(in_[at_++]);  // ':' '=' '!' '>' '#' or ')'
    if (out_.back() == ')') groups_.pop_back();
  }

  // A + after an interval is possessive in PCRE2 and a second repetition in Ruby.
  void interval() {
    const size_t close = in_.find('}', at_);
    const bool digits = close != std::string_view::npos && close > at_ + 1 &&
                        in_.substr(at_ + 1, close - at_ - 1).find_first_not_of("0123456789,") == std::string_view::npos;
    if (!digits) {
      put_atom("\\{");
      ++at_;
      return;
    }
    const std::string_view counts = in_.substr(at_, close - at_ + 1);
    out_ += counts.starts_with("{,") ? "{0" + std::string(counts.substr(1)) : std::string(counts);
    at_ = close + 1;
    if (starts_with("+")) {
      out_.insert(atom_, "(?:");
      out_.push_back(')');
    }
  }

  void escape() {
    if (at_ + 1 >= in_.size()) refuse("a lone backslash");
    const bool word = starts_with("\\w") || starts_with("\\W");
    if (auto set = escaped_set()) {
      // Outside a class Oniguruma asks a table of Latin-1 that has the superscript digits and fractions too.
      if (word) set->items += "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
      return put_atom(set->text());
    }
    if (const std::string code = escaped_code(); !code.empty()) return put_atom(code);
    const size_t size = 1 + std::min<size_t>(utf8_size(in_[at_ + 1]), in_.size() - at_ - 1);
    put_atom(in_.substr(at_, size));
    at_ += size;
  }

  // \uHHHH, which PCRE2 does not read.
  std::string escaped_code() {
    if (!starts_with("\\u")) return {};
    const std::string_view digits = in_.substr(at_ + 2, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      refuse("\\u needs four hexadecimal digits");
    }
    at_ += 6;
    return fmt::format("\\x{{{}}}", digits);
  }

  std::optional<Set> escaped_set() {
    const char letter = in_[at_ + 1];
    const bool upper = letter >= 'A' && letter <= 'Z';
    std::optional<Set> set;
    switch (upper ? letter + 32 : letter) {
      case 's': set = Set{std::string(kSpaceItems), upper}; break;
      case 'w': set = Set{word_items(), upper}; break;
      case 'd': set = Set{category_items("Nd"), upper}; break;
      case 'h': set = Set{"0-9a-fA-F", upper}; break;
      case 'p': return property(upper);
      default: return std::nullopt;
    }
    at_ += 2;
    return set;
  }

  std::optional<Set> property(bool negated) {
    std::string_view name;
    if (at_ + 2 < in_.size() && in_[at_ + 2] == '{') {
      const size_t close = in_.find('}', at_);
      if (close == std::string_view::npos) refuse("an open \\p{");
      name = in_.substr(at_ + 3, close - at_ - 3);
      at_ = close + 1;
    } else {
      name = in_.substr(at_ + 2, 1);
      at_ += std::min<size_t>(3, in_.size() - at_);
    }
    if (name.starts_with("^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const std::string posix = posix_items(name);
    return Set{posix.empty() ? category_items(name) : posix, negated};
  }

  // Translates the bracket at at_. The result matches exactly one character: a plain bracket where possible, else a
  // group of alternatives and lookaheads.
  std::string bracket(int depth) {
    if (depth > kMaxClassDepth) refuse("classes nested too deeply");
    ++at_;
    const bool negated = starts_with("^");
    if (negated) ++at_;
    std::vector<std::string> operands;  // of &&
    std::string items;
    std::vector<std::string> others;  // alternatives that do not fit into a bracket
    bool first = true;
    for (;; first = false) {
      if (at_ >= in_.size()) refuse("an open class");
      if (in_[at_] == ']' && !first) break;
      if (starts_with("&&")) {
        operands.push_back(union_of(items, others));
        items.clear();
        others.clear();
        at_ += 2;
        continue;
      }
      class_item(depth, items, others);
    }
    ++at_;
    if (operands.empty() && others.empty()) return Set{items, negated}.text();
    operands.push_back(union_of(items, others));
    std::string all = "(?:";
    for (size_t i = 0; i + 1 < operands.size(); ++i) all += "(?=" + operands[i] + ")";
    all += operands.back() + ")";
    return negated ? "(?:(?!" + all + ")(?s:.))" : all;
  }

  void class_item(int depth, std::string& items, std::vector<std::string>& others) {
    if (starts_with("[:")) {
      const size_t close = in_.find(":]", at_ + 2);
      if (close != std::string_view::npos && close - at_ < 12) {
        std::string_view name = in_.substr(at_ + 2, close - at_ - 2);
        const bool negated = name.starts_with("^");
        if (negated) name.remove_prefix(1);
        std::string posix = posix_items(name);
        if (name == "punct") posix += category_items("S");
        if (posix.empty()) refuse("an unknown [:name:]");
        at_ = close + 2;
        return negated ? others.push_back(Set{posix, true}.text()) : void(items += posix);
      }
    }
    if (in_[at_] == '[') return others.push_back(bracket(depth + 1));
    if (in_[at_] == '\\') {
      if (at_ + 1 >= in_.size()) refuse("a lone backslash");
      if (const auto set = escaped_set()) {
        return set->negated ? others.push_back(set->text()) : void(items += set->items);
      }
      if (const std::string code = escaped_code(); !code.empty()) return void(items += code);
      items.push_back(in_[at_++]);
    } else if (in_[at_] == ']') {
      items.push_back('\\');  // first in the class: a literal
    }
    const size_t size = std::min<size_t>(utf8_size(in_[at_]), in_.size() - at_);
    items += in_.substr(at_, size);
    at_ += size;
  }

  static std::string union_of(const std::string& items, const std::vector<std::string>& others) {
    std::string all = items.empty() ? "" : "[" + items + "]";
    for (const std::string& other : others) all += (all.empty() ? "" : "|") + other;
    if (all.empty()) return "(?!)";
    return others.empty() ? all : "(?:" + all + ")";
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where the last atom starts in out_
  std::vector<size_t> groups_;  // where each open group starts in out_
};

}  // namespace

std::string translate_expression(std::string_view expression) { return Translator(expression).run(); }

}  // namespace quire
