// Converts rows of a packed matrix to floats. It reads the same tiles as matmul, so that a model whose head and
// embedding are tied stores the matrix once.
#include "base/check.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/matmul/dense_rows.h"
#include "kernels/cuda/matmul/matmul_decode.h"
#include "kernels/cuda/rows/row_parts.h"

namespace quire {
namespace {

constexpr int kThreads = 128;  // each has four columns of a row

struct EmbeddingJob {
  const std::byte* matrix;
  int64_t cols;
  EmbeddedTokens tokens;
  float scale;
  float* out;
  Fours fours;  // rows of `out`
};

__device__ __forceinline__ int64_t token_of(const EmbeddingJob& job, int64_t row) {
  const int32_t id = job.tokens.ids[row];
  return id >= 0 ? id : max(job.tokens.chosen[-1 - id], 0);
}

// Element i of the lane's four elements in its upper or lower row.
__device__ __forceinline__ float element(const uint32_t (&fragment)[4], bool upper, int i) {
  const uint32_t pair = upper ? fragment[i / 2 * 2] : fragment[i / 2 * 2 + 1];
  return bf16_to_float(static_cast<uint16_t>(i % 2 == 0 ? pair : pair >> 16));
}

// The values of the codes of four columns of a row.
template <TileFormat kFormat>
__device__ __forceinline__ void read_codes(const std::byte* tile, int row, int column, float (&values)[4]) {
  const std::byte* codes = tile + column / kMmaColumns * mma_code_bytes(kFormat);
  const int lane = row % 8 * 4 + column % kMmaColumns / 4;
  if constexpr (reads_int8_rows(kFormat)) {
    const auto* mine = reinterpret_cast<const int8_t*>(codes + lane * code_bits(kFormat) + row / 8 * 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = mine[i];
  } else {
    uint32_t zero = 0;
    if constexpr (kFormat.codes == CodeKind::kInt4) zero = group_zero<kFormat>(tile, row, column);
    uint32_t fragments[num_fragments(kFormat)][4];
    decode_fragments<kFormat>(codes, lane, {zero, zero}, fragments);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[i] = element(fragments[0], row < 8, i);
      if constexpr (num_fragments(kFormat) == 2) values[i] += element(fragments[1], row < 8, i);
    }
  }
}

// The weights of four columns of a row of a tile.
template <TileFormat kFormat>
__device__ __forceinline__ float4 read_tile(const std::byte* tile, int row, int column) {
  float values[4];
  read_codes<kFormat>(tile, row, column, values);
  if constexpr (kFormat.scales != ScaleKind::kNone) {
    const GroupScale group = group_scale<kFormat>(tile, row, column);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = group.scale * values[i] + group.min;
  }
  return make_float4(values[0], values[1], values[2], values[3]);
}

// The template parameter is the format, because nvcc 13 does not compile kernels whose parameter is a struct.
template <Format kWeights>
constexpr TileFormat kTilesRead = *tile_format(kWeights);

template <Format kWeights>
__global__ void __launch_bounds__(kThreads) embed_tiles(const EmbeddingJob job) {
  constexpr TileFormat kFormat = kTilesRead<kWeights>;
  constexpr int kColumns = tile_columns(kFormat);
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x);
  if (first >= job.cols) return;
  const int64_t token = token_of(job, blockIdx.x);
  const int64_t tile = token / kTileRows * tiles_along(job.cols, kFormat) + first / kColumns;
  const float4 values = read_tile<kFormat>(job.matrix + tile * tile_layout(kFormat).bytes,
                                           static_cast<int>(token % kTileRows), static_cast<int>(first % kColumns));
  store_four(job.out + blockIdx.x * job.cols, first, job.fours, multiply(job.scale, values));
}

__global__ void __launch_bounds__(kThreads) embed_floats(const EmbeddingJob job, Fours from_fours) {
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x);
  if (first >= job.cols) return;
  const float* from = reinterpret_cast<const float*>(job.matrix) + token_of(job, blockIdx.x) * job.cols;
  store_four(job.out + blockIdx.x * job.cols, first, job.fours,
             multiply(job.scale, load_four(from, first, from_fours)));
}

// The kernel of the format; searches the list from kIndex on.
template <size_t kIndex = 0>
void launch_tiles_of(Format format, dim3 grid, Stream stream, const EmbeddingJob& job) {
  if constexpr (kIndex == kMatrixTiles.size()) {
    CHECK(!"a format that has tiles");
  } else {
    if (kMatrixTiles[kIndex].format != format) return launch_tiles_of<kIndex + 1>(format, grid, stream, job);
    launch(embed_tiles<kMatrixTiles[kIndex].format>, grid, kThreads, 0, stream, job);
  }
}

}  // namespace

void embed_rows(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                float scale, float* out) {
  if (matrix.is_dense) return embed_dense_rows(exec, matrix, tokens, num_rows, scale, out);
  const EmbeddingJob job{matrix.data, matrix.cols, tokens, scale, out, {matrix.cols, in_fours(out, matrix.cols)}};
  const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(matrix.cols, 4 * kThreads)));
  if (matrix.format != Format::kF32) return launch_tiles_of(matrix.format, grid, gpu_stream(exec), job);
  launch(embed_floats, grid, kThreads, 0, gpu_stream(exec), job,
         Fours{matrix.cols, in_fours(matrix.data, matrix.cols)});
}

}  // namespace quire
