// One stripe of positions of an attention job: scores, softmax (attention_softmax.h), weighted V. attention_job.h
// defines the job, math.h says how the files of this folder are used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_job.h"
#include "kernels/vector/attention_softmax.h"
#include "kernels/vector/code_product.h"
#include "kernels/vector/math.h"

namespace quire {
namespace {

// Neighbouring tiles of one stripe for neighbouring rows of one head. Pointers of tiles that no row sees are not set.
struct Visit {
  int64_t stripe;
  int first_tile;  // tiles [first_tile, end_tile) of the stripe
  int end_tile;
  int first;  // rows [first, end) of the job
  int end;
  const std::byte* k[kStripeTiles];
  const std::byte* v[kStripeTiles];
  const std::byte* later_k[kStripeTiles];  // tiles of a later visit, to be prefetched
  const std::byte* later_v[kStripeTiles];
};

struct Positions {
  int64_t least;
  int64_t most;
};
inline Positions positions_of(const Job& job, int first, int rows) {
  Positions range = {job.scratch.position[first], job.scratch.position[first]};
  for (int row = first + 1; row < first + rows; ++row) {
    range.least = smaller(range.least, job.scratch.position[row]);
    range.most = larger(range.most, job.scratch.position[row]);
  }
  return range;
}

// num_positions is 0 when no row sees a position.
inline RowTile make_row_tile(const Job& job, const Visit& visit, int first, int rows) {
  const Positions range = positions_of(job, first, rows);
  const int64_t begin = visit.stripe * kStripe;
  const int64_t low = larger(visit.first_tile, (job.first_visible(range.least) - begin) / kTile);
  const int64_t high = smaller(visit.end_tile * kTile, range.most + 1 - begin);
  if (low * kTile >= high) return {first, rows, 0, 0, 0, nullptr};
  return {.first = first,
          .rows = rows,
          .first_tile = static_cast<int>(low),
          .end_tile = static_cast<int>(divide_up(high, kTile)),
          .num_positions = static_cast<int>(high - low * kTile),
          .weights = job.scratch.weights};
}

// Whether the tiles of a visit are converted in the scratch first: when several row tiles read them, or when the V rows
// are not whole vectors. Otherwise they are read where they lie.
struct TileSources {
  bool wide_k;
  bool wide_v;
};
TileSources open_tiles(const Job& job, const Visit& visit, bool one_row_tile) {
  const KvLayer& kv = job.args->kv;
  const AttentionProducts& products = *job.products;
  const RowTile all = make_row_tile(job, visit, visit.first, visit.end - visit.first);
  const auto widens = [&products, one_row_tile](Format format) {
    return !one_row_tile && !(products.keeps_f32 && format == Format::kF32) && !is_quantised(format);
  };
  const bool odd_v = !is_quantised(kv.v_format) && kv.head_dim % products.column_step != 0;
  const TileSources sources = {widens(kv.k_format), widens(kv.v_format) || odd_v};
  const int64_t width = padded(kv.head_dim);
  for (int tile = all.first_tile; tile < all.end_tile; ++tile) {
    if (sources.wide_k) {
      products.widen({kv.k_format, visit.k[tile], visit.later_k[tile], kv.head_dim, kTile},
                     job.scratch.k + tile * kTile * width, kTile);
    }
    if (sources.wide_v) {  // the rest of the scratch keeps old values, which no row reads
      const int64_t written = smaller(kTile, all.num_positions - (tile - all.first_tile) * kTile);
      products.widen({kv.v_format, visit.v[tile], visit.later_v[tile], written, kv.head_dim},
                     job.scratch.v + tile * kTile * width, width);
    }
  }
  return sources;
}

// Computes the scores of one tile.
void score_floats(const Job& job, const Visit& visit, const RowTile& t, int tile, bool wide) {
  const KvLayer& kv = job.args->kv;
  TileProduct product;
  product.left = job.scratch.q + t.first * kLeftStride;
  product.right[0] =
      wide ? static_cast<const void*>(job.scratch.k + tile * kTile * padded(kv.head_dim)) : visit.k[tile];
  product.next[0] = wide ? nullptr : visit.later_k[tile];
  product.right_stride = kTile;
  product.depth = product.part_depth = kv.head_dim;
  product.c = t.weights + tile * kTile;
  product.c_stride = kLeftStride;
  product.columns = kTile;
  job.products->multiply(kv.k_format, product, t.rows);
}

// The groups from `first` on that share a scale end here.
inline int64_t end_of_sharing(Format format, int64_t first, int64_t head_dim) {
  return smaller(first + sharing_groups(format), num_groups(head_dim));
}

void score_codes(const Job& job, const Visit& visit, const RowTile& t, int tile) {
  const KvLayer& kv = job.args->kv;
  const int64_t bytes = group_bytes(kv.k_format, false);
  CodeProduct product;
  product.c = t.weights + tile * kTile;
  product.c_stride = kLeftStride;
  for (int64_t g = 0; g < num_groups(kv.head_dim); g += product.num_parts) {
    product.left = reinterpret_cast<const int32_t*>(job.scratch.q + t.first * kLeftStride) + g * kGroupPairs;
    product.num_parts = static_cast<int>(end_of_sharing(kv.k_format, g, kv.head_dim) - g);
    for (int part = 0; part < product.num_parts; ++part) {
      product.group[part] = visit.k[tile] + (g + part) * bytes;
      product.next[part] = visit.later_k[tile] + (g + part) * bytes;
    }
    const int64_t scales = scales_at(kv.k_format, false, kv.head_dim, g);
    product.scales = reinterpret_cast<const uint16_t*>(visit.k[tile] + scales);
    prefetch_far(visit.later_k[tile] + scales);
    product.from_zero = g == 0;
    k_code_product(kv.k_format, product, t.rows);
  }
}

void score_tile(const Job& job, const Visit& visit, const RowTile& t, int tile, bool wide = false) {
  is_quantised(job.args->kv.k_format) ? score_codes(job, visit, t, tile) : score_floats(job, visit, t, tile, wide);
}

// Converts the weights of the row tile to the form of the products.
void narrow_weights(const Job& job, const RowTile& t) {
  if (is_quantised(job.args->kv.v_format) || job.products->narrow == nullptr) return;
  for (int r = 0; r < t.rows; ++r) {
    float* const weights = t.weights + r * kLeftStride;
    job.products->narrow(weights, t.end_tile * kTile, weights + kStripe);
  }
}

// Adds the weighted V of tiles [first, end) to the sums, multiplied by `shrink` before.
void add_values(const Job& job, const Visit& visit, const RowTile& t, int first, int end, const float* shrink,
                bool wide) {
  const KvLayer& kv = job.args->kv;
  const int64_t width = padded(kv.head_dim);
  const bool is_narrow = job.products->narrow != nullptr;
  TileProduct product;
  product.left = is_narrow ? t.weights + kStripe + first * kTile / 2 : t.weights + first * kTile;
  product.right_stride = wide ? width : kv.head_dim;
  product.depth = static_cast<int>(smaller(end * kTile, t.first_tile * kTile + t.num_positions)) - first * kTile;
  product.part_depth = kTile;
  product.c = job.scratch.sums + t.first * width;
  product.c_stride = width;
  product.columns = static_cast<int>(divide_up(kv.head_dim, kLanes) * kLanes);
  product.shrink = shrink;
  for (int tile = first; tile < end; ++tile) {
    product.right[tile - first] = wide ? static_cast<const void*>(job.scratch.v + tile * kTile * width) : visit.v[tile];
    product.next[tile - first] = wide ? nullptr : visit.later_v[tile];
  }
  job.products->multiply(kv.v_format, product, t.rows);
}

void add_value_codes(const Job& job, const Visit& visit, const RowTile& t, const Softmax& softmax) {
  const KvLayer& kv = job.args->kv;
  const int64_t bytes = group_bytes(kv.v_format, true);
  alignas(64) float factor[kLanes];
  CodeProduct product;
  product.left = reinterpret_cast<const int32_t*>(t.weights + kStripe) + t.first_tile * kGroupPairs;
  product.num_parts = t.end_tile - t.first_tile;
  product.c_stride = padded(kv.head_dim);
  product.shrink = softmax.shrink;
  product.factor = factor;
  for (int64_t g = 0; g < num_groups(kv.head_dim);) {
    const uint16_t* scales[kStripeTiles];
    for (int part = 0; part < product.num_parts; ++part) {
      const int64_t at = scales_at(kv.v_format, true, kv.head_dim, g);
      scales[part] = reinterpret_cast<const uint16_t*>(visit.v[t.first_tile + part] + at);
      prefetch_far(visit.later_v[t.first_tile + part] + at);
    }
    quantise_weights(scales, t, softmax, factor);
    for (const int64_t end = end_of_sharing(kv.v_format, g, kv.head_dim); g < end; ++g) {
      for (int part = 0; part < product.num_parts; ++part) {
        product.group[part] = visit.v[t.first_tile + part] + g * bytes;
        product.next[part] = visit.later_v[t.first_tile + part] + g * bytes;
      }
      product.c = job.scratch.sums + t.first * product.c_stride + g * kKvGroup;
      v_code_product(kv.v_format, product, t.rows);
    }
  }
}

void walk_stripe(const Job& job, const Visit& visit) {
  const int num_row_tiles = static_cast<int>(divide_up(visit.end - visit.first, job.row_tile));
  const int row_tile = static_cast<int>(divide_up(visit.end - visit.first, num_row_tiles));
  const TileSources sources = open_tiles(job, visit, num_row_tiles == 1);
  for (int first = visit.first; first < visit.end; first += row_tile) {
    const int rows = static_cast<int>(smaller(row_tile, visit.end - first));
    const RowTile t = make_row_tile(job, visit, first, rows);
    if (t.num_positions == 0) continue;
    for (int tile = t.first_tile; tile < t.end_tile; ++tile) score_tile(job, visit, t, tile, sources.wide_k);
    Softmax softmax;
    apply_softmax(job, visit.stripe, t, softmax);
    narrow_weights(job, t);
    if (is_quantised(job.args->kv.v_format)) {
      add_value_codes(job, visit, t, softmax);
    } else {
      add_values(job, visit, t, t.first_tile, t.end_tile, softmax.shrink, sources.wide_v);
    }
  }
}

// ---- decode ----

// The most heads of a job that are computed side by side.
constexpr int kHeadsAbreast = 16;

// One head of several in a stripe.
struct HeadInStripe {
  Visit visit;
  RowTile rows;
  Softmax softmax;
};

// Whether the heads of a job are computed side by side, tile by tile: each has one row tile that reads K and V where
// they lie.
inline bool reads_heads_abreast(const Job& job) {
  const KvLayer& kv = job.args->kv;
  return job.num_members == 1 && job.head_rows <= job.row_tile &&
         (is_quantised(kv.v_format) || kv.head_dim % job.products->column_step == 0);
}

// The tiles of all heads of a block lie side by side, so this reads them as one stream of memory, at the rate of such a
// stream; head by head it would be many short ones. The operations on a row are the same.
void walk_heads_abreast(const Job& job, HeadInStripe* heads, int num_heads) {
  alignas(64) float ones[kLanes];
  store(ones, set1(1.0f));
  const Visit& visit = heads[0].visit;  // all heads see the same positions
  for (int i = 0; i < num_heads; ++i) {
    heads[i].rows = make_row_tile(job, heads[i].visit, heads[i].visit.first, job.head_rows);
    heads[i].rows.weights = job.scratch.weights + heads[i].visit.first * int64_t{kLeftStride};
  }
  const int first_tile = heads[0].rows.first_tile;
  const int end_tile = heads[0].rows.end_tile;
  for (int tile = first_tile; tile < end_tile; ++tile) {
    for (int i = 0; i < num_heads; ++i) score_tile(job, heads[i].visit, heads[i].rows, tile);
  }
  for (int i = 0; i < num_heads; ++i) {
    apply_softmax(job, visit.stripe, heads[i].rows, heads[i].softmax);
    narrow_weights(job, heads[i].rows);
    if (is_quantised(job.args->kv.v_format)) add_value_codes(job, heads[i].visit, heads[i].rows, heads[i].softmax);
  }
  if (is_quantised(job.args->kv.v_format)) return;
  for (int tile = first_tile; tile < end_tile; ++tile) {
    for (int i = 0; i < num_heads; ++i) {
      const float* const shrink = tile == first_tile ? heads[i].softmax.shrink : ones;
      add_values(job, heads[i].visit, heads[i].rows, tile, tile + 1, shrink, /*wide=*/false);
    }
  }
}

}  // namespace
}  // namespace quire
