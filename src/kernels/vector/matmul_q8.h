// The int8 form of a row, and a decoded panel times such rows. See math.h for how files of this folder are used.
//
// One element of the result is one chain of operations: for every group of 32 columns in ascending order, the exact
// integer sum times the weight's scale, rounded once, then a fused multiply-add of that with the activation's scale;
// for formats with a minimum, another of minimum and sum of activations. Nothing depends on the tokens beside it.
#pragma once

namespace quire {
namespace {

// 256 columns of a row. Everything is beside everything that is read with it, at offsets known to the compiler.
struct Q8Block {
  int8_t codes[kBlockColumns];
  float scale[kBlockGroups];
  int32_t start[kBlockGroups];           // what a sum of products starts from: kMagicBits - kCodeZero * sum of codes
  float sum[kBlockGroups];               // scale * sum of codes
  int32_t half_start[2 * kBlockGroups];  // the same of half groups
  float half_sum[2 * kBlockGroups];
};

// Rows are an odd number of cache lines apart, so that the same columns of several tokens do not share a cache set.
size_t q8_bytes(int64_t cols) {
  const auto bytes = static_cast<size_t>(divide_up(cols, kBlockColumns)) * sizeof(Q8Block);
  return ((bytes + 63) / 64 | 1) * 64;
}

// The values of one group; the contract is reference/matmul.cpp's quantize_group.
inline void quantize_group(const float* x, int group, Q8Block& out) {
  constexpr float kSmallestMax = 0x1p-100f;
  Vec largest = set1(0);
  Vec poison = set1(0);  // 0 times an infinity or a NaN is a NaN
  for (int i = 0; i < kGroup; i += kLanes) {
    largest = max(largest, abs(load(x + i)));
    poison = fma(load(x + i), set1(0), poison);
  }
  const float not_finite = sum_lanes(poison);
  const float peak = max_lanes(largest);
  const bool has_codes = not_finite == 0 && peak >= kSmallestMax;
  const float scale = has_codes ? peak / 127.0f : not_finite;
  int sums[2] = {0, 0};
  for (int half = 0; half < 2; ++half) {
    Vec sum = set1(0);
    for (int i = half * kGroup / 2; i < (half + 1) * kGroup / 2; i += kLanes) {
      const Vec code = has_codes ? round_nearest(mul(load(x + i), set1(127.0f / peak))) : set1(0);
      store_i8(out.codes + group * kGroup + i, code);
      sum = add(sum, code);
    }
    sums[half] = static_cast<int>(sum_lanes(sum));
    out.half_start[2 * group + half] = kMagicBits - kCodeZero * sums[half];
    out.half_sum[2 * group + half] = scale * static_cast<float>(sums[half]);
  }
  out.scale[group] = scale;
  out.start[group] = kMagicBits - kCodeZero * (sums[0] + sums[1]);
  out.sum[group] = scale * static_cast<float>(sums[0] + sums[1]);
}

void quantize_rows(const Exec& exec, const float* x, int64_t num_rows, int64_t cols, std::byte* q8) {
  for_slices(exec, num_rows, cols, [=](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      auto* blocks = reinterpret_cast<Q8Block*>(q8 + static_cast<size_t>(row) * q8_bytes(cols));
      if (cols % kBlockColumns != 0) blocks[cols / kBlockColumns] = {};
      for (int64_t k = 0; k < cols; k += kGroup) {
        quantize_group(x + row * cols + k, static_cast<int>(k % kBlockColumns / kGroup), blocks[k / kBlockColumns]);
      }
    }
  });
}

// What one multiplication reads and adds to: a decoded part of a panel and the same columns of some tokens.
struct PartProduct {
  const std::byte* codes;
  const PanelFactors* factors;
  int groups;
  const std::byte* q8;  // Q8Block of the first token
  size_t q8_stride;     // bytes between tokens
  float* sums;          // [tokens, kPanelRows]
  // Weights that will be read next, fetched meanwhile: bytes_ahead per round.
  const std::byte* ahead;
  int bytes_ahead;
};

template <bool kHalves, bool kMins, int kTokens>
void multiply_part(const PartProduct& p) {
  constexpr int kParts = kHalves ? 2 : 1;  // of a group, with factors of their own
  constexpr int kWords = kGroupWords / kParts;
  // Cache lines of a token's block that this version reads: one of each token that comes next is fetched per round.
  constexpr int kLines = static_cast<int>((kHalves ? sizeof(Q8Block) : offsetof(Q8Block, half_start)) + 63) / 64;
  const std::byte* codes = p.codes;
  const PanelFactors* factors = p.factors;
  float* const all_sums = p.sums;
  const int num_parts = p.groups * kParts;
  const Q8Block* x[kTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    x[t] = reinterpret_cast<const Q8Block*>(p.q8 + static_cast<size_t>(t) * p.q8_stride);
  }
  const std::byte* ahead = p.ahead;
  for (int part = 0; part < num_parts; ++part) {
    if (part < kLines) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t)
        prefetch(reinterpret_cast<const std::byte*>(x[t]) + kTokens * p.q8_stride + 64 * part);
    }
    for (int byte = 0; byte < p.bytes_ahead; byte += 64) fetch_far(ahead + byte);
    ahead += p.bytes_ahead;
    Bytes sums[kTokens][kPanelVectors];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Bytes start = load_word(kHalves ? x[t]->half_start + part : x[t]->start + part);
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) sums[t][v] = start;
    }
    const int first = part * kWords * 4;
#pragma GCC unroll 16
    for (int word = 0; word < kWords; ++word) {
      Bytes w[kPanelVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) w[v] = load_bytes(codes + (v * kGroupWords + word) * kVectorBytes);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Bytes a = load_word(x[t]->codes + first + 4 * word);
#pragma GCC unroll 16
        for (int v = 0; v < kPanelVectors; ++v) sums[t][v] = dot4(sums[t][v], w[v], a);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < kPanelVectors; ++v) {
      const Vec scale = load(factors->scale[v]);
      const Vec unmagic = load(factors->unmagic[v]);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        float* at = all_sums + t * kPanelRows + v * kLanes;
        const Vec scaled = fma(as_floats(sums[t][v]), scale, unmagic);
        Vec sum = fma(scaled, set1(x[t]->scale[part / kParts]), load(at));
        if constexpr (kMins) {
          sum = fma(load(factors->min[v]), set1(kHalves ? x[t]->half_sum[part] : x[t]->sum[part]), sum);
        }
        store(at, sum);
      }
    }
    ++factors;
    // The words of both halves of a group alternate with those of the other vector of rows.
    codes +=
        kHalves && part % 2 == 0 ? kWords * kVectorBytes : kDecodedGroupBytes - (kParts - 1) * kWords * kVectorBytes;
  }
}

using MultiplyPart = void (*)(const PartProduct&);

template <bool kHalves, bool kMins, int kTokens = kTokenTile>
MultiplyPart multiply_part_for(int tokens) {
  if constexpr (kTokens > 1) {
    if (tokens < kTokens) return multiply_part_for<kHalves, kMins, kTokens - 1>(tokens);
  }
  return multiply_part<kHalves, kMins, kTokens>;
}

// See MultiplyPanels.
template <Format kFormat>
void multiply_code_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                          int64_t num_tokens, float* sums) {
  constexpr CodeScheme kScheme = scheme_of(kFormat);
  constexpr BlockLayout kLayout = block_layout(kScheme);
  constexpr bool kHalves = kScheme.sub_scales == 2 * kBlockGroups;
  constexpr int kAheadBytes = (kLayout.group_bytes + kLayout.header_bytes / kBlockGroups) / (kHalves ? 2 : 1);
  const size_t q8_stride = q8_bytes(w.cols);
  const int64_t stride = panel_bytes(kFormat, w.cols);
  const std::byte* part = w.data + first * stride;
  const std::byte* q8 = x.q8 + static_cast<size_t>(first_token) * q8_stride;
  DecodedPanel decoded;
  for (int64_t k = 0; k < w.cols; k += kBlockColumns) {
    const auto groups = static_cast<int>((w.cols - k < kBlockColumns ? w.cols - k : kBlockColumns) / kGroup);
    for (int i = 0; i < count; ++i) {
      const std::byte* packed = part + i * stride;
      const std::byte* codes = decode_part<kFormat>(packed, groups, decoded);
      float* panel_sums = sums + i * num_tokens * kPanelRows;
      for_token_tiles(num_tokens, [&](int64_t token, int tokens) {
        multiply_part_for<kHalves, kScheme.has_min>(tokens)(
            {codes, decoded.factors, groups, q8 + static_cast<size_t>(token) * q8_stride, q8_stride,
             panel_sums + token * kPanelRows, packed + kFetchAhead, token == 0 ? kAheadBytes : 0});
      });
    }
    part += kLayout.header_bytes + groups * kLayout.group_bytes;
    q8 += sizeof(Q8Block);
  }
}

}  // namespace
}  // namespace quire
