#include "compress/blocks/block_search.h"

#include <algorithm>

#include "base/check.h"
#include "compress/blocks/point_search.h"
#include "compress/methods/group_fit.h"
#include "tensor/float8.h"
#include "tensor/formats/blocks.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr int kMostPasses = 4;  // of going down; the error hardly falls after the second

// How far around the largest element a scale is searched, in shares of the range of the levels.
struct Reach {
  float inside;
  float beyond;
  int steps;
};

// The nearest f16 and its two neighbours. Zero has one of its own sign.
std::array<uint16_t, 3> f16_around(float value) {
  const uint16_t centre = f32_to_f16(value);
  const bool is_least = (centre & 0x7fff) == 0;
  return {centre, static_cast<uint16_t>(centre + 1), static_cast<uint16_t>(is_least ? centre : centre - 1)};
}

template <int N, typename Levels>
void store_codes(const float* x, float scale, const Levels& levels, int* codes) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  for (int i = 0; i < N; ++i) codes[i] = levels.code(x[i] * inverse);
}

// x ~ d * level, one f16 for the block.
template <typename Levels>
void search_scaled(const float* x, const float* w, const Levels& levels, Reach reach, BlockParts& parts) {
  const float wanted = fit_scale<32>(x, w, levels, reach.inside, reach.beyond, reach.steps);
  float best_error = kNoFit;
  for (const uint16_t d : f16_around(wanted)) {
    const float error = scaled_error<32>(x, w, f16_to_f32(d), levels);
    if (!(error < best_error)) continue;
    best_error = error;
    parts.d = d;
  }
  store_codes<32>(x, f16_to_f32(parts.d), levels, parts.codes);
}

// x ~ 2^(e - 128) * level.
void search_power_of_two(const float* x, const float* w, const TableLevels& levels, BlockParts& parts) {
  const float largest = std::abs(largest_magnitude<32>(x));
  const int middle = largest > 0 ? std::ilogb(largest) - 2 + 127 : 0;
  float best_error = kNoFit;
  for (int e = middle - 2; e <= middle + 1; ++e) {
    const auto exponent = static_cast<uint8_t>(std::clamp(e, 0, 254));
    const float error = scaled_error<32>(x, w, e8m0_half_to_f32(exponent), levels);
    if (!(error < best_error)) continue;
    best_error = error;
    parts.d = exponent;
  }
  store_codes<32>(x, e8m0_half_to_f32(static_cast<uint8_t>(parts.d)), levels, parts.codes);
}

template <int N>
void store_affine_codes(const float* x, Affine fit, float max_code, int* codes) {
  const float inverse = fit.scale > 0 ? 1 / fit.scale : 0;
  for (int i = 0; i < N; ++i) {
    codes[i] = static_cast<int>(round_within(all_four((x[i] + fit.minimum) * inverse), 0, max_code)[0]);
  }
}

// x ~ d * q + m, both f16. After d is rounded m is fitted again.
void search_affine(const float* x, const float* w, float max_code, BlockParts& parts) {
  const Affine wanted = fit_affine<32>(x, w, max_code, /*is_free=*/true, 0.25f, 20);
  float best_error = kNoFit;
  for (const uint16_t d : f16_around(wanted.scale)) {
    for (const uint16_t m : f16_around(-wanted.minimum)) {
      const float error = affine_error<32>(x, w, {f16_to_f32(d), -f16_to_f32(m)}, max_code);
      if (!(error < best_error)) continue;
      best_error = error;
      parts.d = d;
      parts.minimum = m;
    }
  }
  store_affine_codes<32>(x, {f16_to_f32(parts.d), -f16_to_f32(parts.minimum)}, max_code, parts.codes);
}

// The integer near `value`, as far as [low, high] goes.
int nearest_integer(float value, int low, int high) {
  return static_cast<int>(round_within(all_four(value), static_cast<float>(low), static_cast<float>(high))[0]);
}

// Blocks of 256 in groups of N: x ~ d * n * level, with an integer n for each group from `lowest` to -lowest - 1.
template <int N, typename Levels>
class GroupedScales {
 public:
  GroupedScales(const float* x, const float* w, const Levels& levels, int lowest)
      : x_(x), w_(w), levels_(levels), lowest_(lowest) {}

  void search(Reach reach, BlockParts& parts) {
    for (int g = 0; g < kGroups; ++g) {
      wanted_[g] = fit_scale<N>(x_ + N * g, w_ + N * g, levels_, reach.inside, reach.beyond, reach.steps);
    }
    const float largest = largest_magnitude<kGroups>(wanted_);
    Choice best = choose(0);
    if (largest != 0) {
      for (const float share : {1.0f, 0.97f, 0.94f, 0.9f, 0.85f}) {
        keep_better(choose(f32_to_f16(largest / (share * static_cast<float>(lowest_)))), best);
      }
      for (int pass = 0; pass < kMostPasses; ++pass) {
        if (!keep_better(choose(best_d(best)), best)) break;
      }
    }
    parts.d = best.d;
    for (int g = 0; g < kGroups; ++g) {
      parts.scales[g] = best.scales[g];
      store_codes<N>(x_ + N * g, f16_to_f32(best.d) * static_cast<float>(best.scales[g]), levels_, parts.codes + N * g);
    }
  }

 private:
  static constexpr int kGroups = 256 / N;
  struct Choice {
    uint16_t d = 0;
    int scales[kGroups] = {};
    float error = 0;
  };

  static bool keep_better(const Choice& choice, Choice& best) {
    if (!(choice.error < best.error)) return false;
    best = choice;
    return true;
  }

  // The best integers near those that were wanted.
  Choice choose(uint16_t d16) const {
    Choice choice = {.d = d16};
    const float d = f16_to_f32(d16);
    for (int g = 0; g < kGroups; ++g) {
      const int centre = d == 0 ? 0 : nearest_integer(wanted_[g] / d, lowest_, -lowest_ - 1);
      float least = kNoFit;
      for (int n = std::max(lowest_, centre - 1); n <= std::min(-lowest_ - 1, centre + 1); ++n) {
        const float error = scaled_error<N>(x_ + N * g, w_ + N * g, d * static_cast<float>(n), levels_);
        if (!(error < least)) continue;
        least = error;
        choice.scales[g] = n;
      }
      choice.error += least;
    }
    return choice;
  }

  // The best d for the integers and codes of a choice.
  uint16_t best_d(const Choice& choice) const {
    float xl = 0;
    float ll = 0;
    for (int g = 0; g < kGroups; ++g) {
      const auto n = static_cast<float>(choice.scales[g]);
      if (n == 0 || choice.d == 0) continue;
      const LevelSums sums = level_sums<N>(x_ + N * g, w_ + N * g, 1 / (f16_to_f32(choice.d) * n), levels_);
      xl += n * sums.xl;
      ll += n * n * sums.ll;
    }
    return ll > 0 ? f32_to_f16(xl / ll) : choice.d;
  }

  const float* x_;
  const float* w_;
  const Levels& levels_;
  int lowest_;
  float wanted_[kGroups] = {};
};

// Blocks of 256 in groups of N: x ~ d * n * q - dmin * m, with integers n and m of 0 to max_integer for each group.
template <int N>
class GroupedMinimums {
 public:
  GroupedMinimums(const float* x, const float* w, int max_code, int max_integer)
      : x_(x), w_(w), max_code_(static_cast<float>(max_code)), max_integer_(max_integer) {}

  void search(BlockParts& parts) {
    Affine largest;
    for (int g = 0; g < kGroups; ++g) {
      wanted_[g] = fit_affine<N>(x_ + N * g, w_ + N * g, max_code_, /*is_free=*/false, 0.25f, 16);
      largest = {std::max(largest.scale, wanted_[g].scale), std::max(largest.minimum, wanted_[g].minimum)};
    }
    const auto most = static_cast<float>(max_integer_);
    Choice best = choose(f32_to_f16(largest.scale / most), f32_to_f16(largest.minimum / most));
    for (const Affine share : {Affine{0.94f, 1}, Affine{1, 0.94f}, Affine{0.94f, 0.94f}, Affine{0.88f, 0.88f}}) {
      keep_better(
          choose(f32_to_f16(share.scale * largest.scale / most), f32_to_f16(share.minimum * largest.minimum / most)),
          best);
    }
    for (int pass = 0; pass < kMostPasses; ++pass) {
      const Affine scales = best_scales(best);
      if (!keep_better(choose(f32_to_f16(scales.scale), f32_to_f16(scales.minimum)), best)) break;
    }
    parts.d = best.d;
    parts.minimum = best.dmin;
    for (int g = 0; g < kGroups; ++g) {
      parts.scales[g] = best.scales[g];
      parts.minimums[g] = best.minimums[g];
      store_affine_codes<N>(x_ + N * g, fit_of(best, g), max_code_, parts.codes + N * g);
    }
  }

 private:
  static constexpr int kGroups = 256 / N;
  struct Choice {
    uint16_t d = 0;
    uint16_t dmin = 0;
    int scales[kGroups] = {};
    int minimums[kGroups] = {};
    float error = 0;
  };

  static bool keep_better(const Choice& choice, Choice& best) {
    if (!(choice.error < best.error)) return false;
    best = choice;
    return true;
  }

  static Affine fit_of(const Choice& choice, int g) {
    return {f16_to_f32(choice.d) * static_cast<float>(choice.scales[g]),
            f16_to_f32(choice.dmin) * static_cast<float>(choice.minimums[g])};
  }

  Choice choose(uint16_t d16, uint16_t dmin16) const {
    Choice choice = {.d = d16, .dmin = dmin16};
    const float d = f16_to_f32(d16);
    const float dmin = f16_to_f32(dmin16);
    for (int g = 0; g < kGroups; ++g) {
      const int scale = d > 0 ? nearest_integer(wanted_[g].scale / d, 0, max_integer_) : 0;
      const int minimum = dmin > 0 ? nearest_integer(wanted_[g].minimum / dmin, 0, max_integer_) : 0;
      float least = kNoFit;
      for (int n = std::max(0, scale - 1); n <= std::min(max_integer_, scale + 1); ++n) {
        for (int m = std::max(0, minimum - 1); m <= std::min(max_integer_, minimum + 1); ++m) {
          const Affine fit = {d * static_cast<float>(n), dmin * static_cast<float>(m)};
          const float error = affine_error<N>(x_ + N * g, w_ + N * g, fit, max_code_);
          if (!(error < least)) continue;
          least = error;
          choice.scales[g] = n;
          choice.minimums[g] = m;
        }
      }
      choice.error += least;
    }
    return choice;
  }

  // The best d and dmin for the integers and codes of a choice.
  Affine best_scales(const Choice& choice) const {
    float aa = 0;  // sums over all elements of products of a = n * q, b = m and x
    float ab = 0;
    float bb = 0;
    float xa = 0;
    float xb = 0;
    for (int g = 0; g < kGroups; ++g) {
      const AffineSums sums = affine_sums<N>(x_ + N * g, w_ + N * g, fit_of(choice, g), max_code_);
      const auto n = static_cast<float>(choice.scales[g]);
      const auto m = static_cast<float>(choice.minimums[g]);
      aa += n * n * sums.qq;
      ab += n * m * sums.q;
      bb += m * m * sums.w;
      xa += n * sums.xq;
      xb += m * sums.x;
    }
    const float determinant = aa * bb - ab * ab;
    if (determinant > 0) {
      const Affine solved = {(xa * bb - xb * ab) / determinant, (xa * ab - xb * aa) / determinant};
      if (solved.scale > 0 && solved.minimum >= 0) return solved;
    }
    if (bb == 0 && aa > 0 && xa > 0) return {xa / aa, f16_to_f32(choice.dmin)};
    return {f16_to_f32(choice.d), f16_to_f32(choice.dmin)};
  }

  const float* x_;
  const float* w_;
  float max_code_;
  int max_integer_;
  Affine wanted_[kGroups] = {};
};

constexpr TableLevels kIQ4 = sorted_levels(kIQ4Levels);
constexpr TableLevels kMXFP4 = sorted_levels(kMXFP4Levels);

}  // namespace

bool has_block_search(Format format) { return block_packer(format) != nullptr; }

void search_block(Format format, const float* x, const float* w, BlockParts& parts) {
  switch (format) {
    case Format::kQ8_0: return search_scaled(x, w, WholeLevels{-127, 127, -127}, {0.02f, 0.02f, 9}, parts);
    case Format::kQ5_0: return search_scaled(x, w, WholeLevels{-16, 15, 0}, {0.12f, 0.25f, 16}, parts);
    case Format::kQ4_0: return search_scaled(x, w, WholeLevels{-8, 7, 0}, {0.15f, 0.45f, 18}, parts);
    case Format::kIQ4_NL: return search_scaled(x, w, kIQ4, {0.15f, 0.45f, 18}, parts);
    case Format::kMXFP4: return search_power_of_two(x, w, kMXFP4, parts);
    case Format::kQ4_1: return search_affine(x, w, 15, parts);
    case Format::kQ5_1: return search_affine(x, w, 31, parts);
    case Format::kQ3_K: return GroupedScales<16, WholeLevels>(x, w, {-4, 3, 0}, -32).search({0.25f, 0.6f, 17}, parts);
    case Format::kQ6_K:
      return GroupedScales<16, WholeLevels>(x, w, {-32, 31, 0}, -128).search({0.06f, 0.12f, 12}, parts);
    case Format::kIQ4_XS: return GroupedScales<32, TableLevels>(x, w, kIQ4, -32).search({0.15f, 0.45f, 18}, parts);
    case Format::kQ2_K: return GroupedMinimums<16>(x, w, 3, 15).search(parts);
    case Format::kQ4_K: return GroupedMinimums<32>(x, w, 15, 63).search(parts);
    case Format::kQ5_K: return GroupedMinimums<32>(x, w, 31, 63).search(parts);
    case Format::kIQ3_S: return search_points(x, w, parts);
    default: CHECK(false);
  }
}

}  // namespace quire
