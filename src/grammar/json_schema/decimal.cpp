#include "grammar/json_schema/decimal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <vector>

namespace quire::schema {
namespace {

constexpr uint64_t kMaxDivisor = 10'000;

// Builds the languages of decimal texts without a sign that compare with the bound.
class Magnitudes {
 public:
  Magnitudes(GrammarBuilder& builder, const Decimal& bound)
      : builder_(builder), whole_(bound.whole), fraction_(bound.fraction) {}

  Regex any() { return join({whole_number(), tail()}); }
  Regex equal() { return join({literal(whole_), fraction_.empty() ? zeros() : exact_fraction()}); }
  Regex above(bool is_exclusive);
  Regex below(bool is_exclusive);

 private:
  Regex literal(std::string_view text) { return builder_.literal(text); }
  Regex join(std::vector<Regex> parts) { return builder_.concat(parts); }
  Regex pattern(std::string_view text) { return builder_.expression(text, true); }
  Regex whole_number() { return pattern("0|[1-9][0-9]*"); }
  Regex digits() { return pattern("[0-9]*"); }
  Regex tail() { return pattern(R"((\.[0-9]+)?)"); }
  Regex zeros() { return pattern(R"((\.0+)?)"); }
  Regex exact_fraction() { return join({literal("." + fraction_), pattern("0*")}); }
  Regex digit(char first, char last) {
    return builder_.character({{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
  }
  Regex any_digits(size_t count) {
    return builder_.repeat(digit('0', '9'), static_cast<int64_t>(count), static_cast<int64_t>(count));
  }

  GrammarBuilder& builder_;
  const std::string& whole_;
  const std::string& fraction_;
};

Regex Magnitudes::above(bool is_exclusive) {
  const auto length = static_cast<int64_t>(whole_.size());
  std::vector<Regex> choices = {join({digit('1', '9'), builder_.repeat(digit('0', '9'), length), tail()})};
  for (size_t i = 0; i < whole_.size(); ++i) {
    if (whole_[i] == '9') continue;
    choices.push_back(join({literal(whole_.substr(0, i)), digit(static_cast<char>(whole_[i] + 1), '9'),
                            any_digits(whole_.size() - i - 1), tail()}));
  }
  const std::string point = whole_ + ".";
  for (size_t i = 0; i < fraction_.size(); ++i) {
    if (fraction_[i] == '9') continue;
    choices.push_back(
        join({literal(point + fraction_.substr(0, i)), digit(static_cast<char>(fraction_[i] + 1), '9'), digits()}));
  }
  const Regex some_more = pattern("[0-9]*[1-9][0-9]*");
  if (!fraction_.empty()) {
    choices.push_back(join({literal(point + fraction_), is_exclusive ? some_more : digits()}));
  } else {
    choices.push_back(is_exclusive ? join({literal(point), some_more}) : join({literal(whole_), tail()}));
  }
  return builder_.any_of(choices);
}

Regex Magnitudes::below(bool is_exclusive) {
  std::vector<Regex> choices = {builder_.nothing()};
  if (whole_.size() > 1) {
    const Regex shorter = builder_.repeat(digit('0', '9'), 0, static_cast<int64_t>(whole_.size()) - 2);
    choices.push_back(join({builder_.any_of(std::array{literal("0"), join({digit('1', '9'), shorter})}), tail()}));
  }
  for (size_t i = 0; i < whole_.size(); ++i) {
    const char lowest = i == 0 && whole_.size() > 1 ? '1' : '0';
    if (whole_[i] <= lowest) continue;
    choices.push_back(join({literal(whole_.substr(0, i)), digit(lowest, static_cast<char>(whole_[i] - 1)),
                            any_digits(whole_.size() - i - 1), tail()}));
  }
  if (!fraction_.empty()) choices.push_back(literal(whole_));
  const std::string point = whole_ + ".";
  for (size_t i = 0; i < fraction_.size(); ++i) {
    const Regex same = literal(point + fraction_.substr(0, i));
    if (i > 0) choices.push_back(same);
    if (fraction_[i] > '0') choices.push_back(join({same, digit('0', static_cast<char>(fraction_[i] - 1)), digits()}));
  }
  if (!is_exclusive) choices.push_back(equal());
  return builder_.any_of(choices);
}

Regex minus(GrammarBuilder& builder, Regex magnitude) {
  return builder.concat(std::array{builder.literal("-"), magnitude});
}

}  // namespace

Decimal Decimal::of(double value) {
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific);
  std::string_view shortest(buffer.data(), static_cast<size_t>(end.ptr - buffer.data()));
  Decimal decimal;
  decimal.is_negative = shortest.starts_with('-');
  if (decimal.is_negative) shortest.remove_prefix(1);
  const size_t e = shortest.find('e');
  int exponent = 0;
  const size_t sign = shortest[e + 1] == '+' ? 1 : 0;
  std::from_chars(shortest.data() + e + 1 + sign, shortest.data() + shortest.size(), exponent);
  std::string digits(shortest.substr(0, e));
  std::erase(digits, '.');
  const int point = exponent + 1;  // this many digits are before it
  if (point <= 0) digits.insert(0, static_cast<size_t>(1 - point), '0');
  const auto num_whole = static_cast<size_t>(std::max(point, 1));
  if (digits.size() < num_whole) digits.append(num_whole - digits.size(), '0');
  decimal.whole = digits.substr(0, num_whole);
  decimal.fraction = digits.substr(num_whole);
  while (decimal.fraction.ends_with('0')) decimal.fraction.pop_back();
  if (decimal.is_zero()) decimal.is_negative = false;
  return decimal;
}

Regex decimals_from(GrammarBuilder& builder, const Decimal& bound, bool is_exclusive) {
  Magnitudes magnitudes(builder, bound);
  if (bound.is_negative) {
    return builder.any_of(std::array{magnitudes.any(), minus(builder, magnitudes.below(is_exclusive))});
  }
  const Regex above = magnitudes.above(is_exclusive);
  if (!bound.is_zero() || is_exclusive) return above;
  return builder.any_of(std::array{above, minus(builder, magnitudes.equal())});
}

Regex decimals_to(GrammarBuilder& builder, const Decimal& bound, bool is_exclusive) {
  Magnitudes magnitudes(builder, bound);
  if (bound.is_negative) return minus(builder, magnitudes.above(is_exclusive));
  const Regex below = magnitudes.below(is_exclusive);
  const Regex negative = bound.is_zero() && is_exclusive ? magnitudes.above(true) : magnitudes.any();
  return builder.any_of(std::array{below, minus(builder, negative)});
}

Regex decimals_equal(GrammarBuilder& builder, const Decimal& value) {
  const Regex magnitude = Magnitudes(builder, value).equal();
  if (value.is_zero()) return builder.any_of(std::array{magnitude, minus(builder, magnitude)});
  return value.is_negative ? minus(builder, magnitude) : magnitude;
}

std::optional<Regex> decimals_multiple_of(GrammarBuilder& builder, const Decimal& divisor) {
  const std::string digits = (divisor.whole == "0" ? "" : divisor.whole) + divisor.fraction;
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size());
  uint64_t number = 0;  // the divisor, its fraction's digits counted
  const char* end = digits.data() + digits.size();
  if (std::from_chars(digits.data() + first, end, number).ptr != end || number > kMaxDivisor) {
    return std::nullopt;
  }
  // A number with fewer digits after the point is read as if zeros followed.
  std::vector<Regex> choices;
  uint64_t scale = 1;
  for (size_t num_digits = divisor.fraction.size() + 1; num_digits-- > 0;) {
    const std::string places = num_digits == 0 ? "" : fmt::format("\\.[0-9]{{{}}}", num_digits);
    const Regex shape = builder.expression("-?(0|[1-9][0-9]*)" + places, true);
    const auto reduced = static_cast<uint32_t>(number / std::gcd(number, scale));
    const Regex multiples = reduced == 1 ? shape : builder.all_of(std::array{shape, builder.multiple_of(reduced)});
    const bool is_last = num_digits == divisor.fraction.size();
    const Regex zeros = builder.expression(!is_last ? "" : num_digits == 0 ? R"((\.0+)?)" : "0*", true);
    choices.push_back(builder.concat(std::array{multiples, zeros}));
    scale *= 10;
  }
  return builder.any_of(choices);
}

Regex with_exponents(GrammarBuilder& builder, Regex decimals) {
  struct Kind {
    std::string_view decimals, with_exponents;  // of no sign, not zero
  };
  constexpr std::string_view kDigits = "[0-9]*[1-9][0-9]*";
  const std::string small = fmt::format(R"(0\.{})", kDigits);
  const std::string any = fmt::format(R"((0|[1-9][0-9]*)\.{}|[1-9][0-9]*(\.[0-9]+)?)", kDigits);
  const std::string any_power = fmt::format("({})[eE][+\\-]?[0-9]{{1,2}}", any);
  const std::array<Kind, 2> kinds = {Kind{any, any_power}, Kind{small, R"([1-9](\.[0-9]+)?[eE]-(0?[1-9]|[1-9][0-9]))"}};
  std::vector<Regex> choices = {decimals};
  for (const std::string_view sign : {"", "-"}) {
    for (const Kind& kind : kinds) {
      const auto with_sign = [&](std::string_view magnitude) {
        return builder.concat(std::array{builder.literal(sign), builder.expression(magnitude, true)});
      };
      const Regex others = builder.all_of(std::array{with_sign(kind.decimals), builder.complement(decimals)});
      if (!builder.is_nothing(others)) continue;
      choices.push_back(with_sign(kind.with_exponents));
      break;
    }
  }
  return builder.any_of(choices);
}

}  // namespace quire::schema
