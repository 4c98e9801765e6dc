// Numbers drawn for a workload: how many tokens a prompt or an answer has. Values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/random.h"

namespace quire::load {

// The numbers of one seed, one after the other.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}

  double uniform() { return quire::uniform(seed_, counter_++); }  // in [0, 1)
  int64_t between(int64_t low, int64_t high);                     // both included
  double exponential(double mean);
  double normal();  // mean 0, deviation 1

 private:
  uint64_t seed_;
  uint64_t counter_ = 0;
};

// A seed for one purpose: a change in what one part of a workload draws does not change the other parts.
uint64_t derived_seed(uint64_t seed, uint64_t purpose);

struct Lengths {
  enum class Kind : uint8_t { kFixed, kUniform, kLognormal };
  Kind kind = Kind::kFixed;
  int64_t low = 0;    // the fixed number, or the least of a uniform draw
  int64_t high = 0;   // the most; no draw is above it
  double median = 0;  // lognormal
  double sigma = 0;   // lognormal: the deviation of the logarithm; 1 and above has a heavy tail
  static constexpr int64_t kMax = int64_t{1} << 20;

  static Lengths fixed(int64_t value) { return {.low = value, .high = value}; }
  // "50", "uniform:10:100" or "lognormal:MEDIAN:SIGMA:MOST". Throws Error naming `what`.
  static Lengths parse(std::string_view text, std::string_view what);

  int64_t draw(Draws& draws) const;
  std::string text() const;  // as parse() reads it
};

}  // namespace quire::load
