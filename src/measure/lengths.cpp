#include "measure/lengths.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/error.h"

namespace quire::load {
namespace {

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t colon = text.find(':');
    parts.push_back(text.substr(0, colon));
    if (colon == std::string_view::npos) return parts;
    text.remove_prefix(colon + 1);
  }
}

// from_chars ignores the locale, which could give a comma another meaning.
template <typename T>
bool read(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_length(int64_t value) { return value >= 0 && value <= Lengths::kMax; }

}  // namespace

int64_t Draws::between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(uniform() * static_cast<double>(high - low + 1));
}

double Draws::exponential(double mean) { return -mean * std::log1p(-uniform()); }

double Draws::normal() {  // Box and Muller 1958; the second number is dropped, so each draw uses two
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t derived_seed(uint64_t seed, uint64_t purpose) { return philox(seed, purpose); }

Lengths Lengths::parse(std::string_view text, std::string_view what) {
  const std::vector<std::string_view> parts = split(text);
  Lengths lengths;
  if (parts.size() == 1 && read(parts[0], lengths.low) && is_length(lengths.low)) return fixed(lengths.low);
  if (parts.size() == 3 && parts[0] == "uniform" && read(parts[1], lengths.low) && read(parts[2], lengths.high) &&
      is_length(lengths.low) && is_length(lengths.high) && lengths.low <= lengths.high) {
    lengths.kind = Kind::kUniform;
    return lengths;
  }
  if (parts.size() == 4 && parts[0] == "lognormal" && read(parts[1], lengths.median) && read(parts[2], lengths.sigma) &&
      read(parts[3], lengths.high) && lengths.median >= 1 && lengths.sigma >= 0 && lengths.sigma <= 10 &&
      is_length(lengths.high) && lengths.high >= 1) {
    lengths.kind = Kind::kLognormal;
    return lengths;
  }
  fail(ErrorCode::kInvalidArgument,
       "{} is '{}'; write a number of tokens up to {}, uniform:LOW:HIGH, or lognormal:MEDIAN:SIGMA:MAX", what,
       printable(text, 60), kMax);
}

int64_t Lengths::draw(Draws& draws) const {
  switch (kind) {
    case Kind::kFixed: return low;
    case Kind::kUniform: return draws.between(low, high);
    case Kind::kLognormal: {
      const double value = std::min(median * std::exp(sigma * draws.normal()), static_cast<double>(high));
      return std::max<int64_t>(1, std::llround(value));
    }
  }
  return low;
}

std::string Lengths::text() const {
  switch (kind) {
    case Kind::kFixed: return fmt::format("{}", low);
    case Kind::kUniform: return fmt::format("uniform:{}:{}", low, high);
    case Kind::kLognormal: return fmt::format("lognormal:{}:{}:{}", median, sigma, high);
  }
  return "";
}

}  // namespace quire::load
