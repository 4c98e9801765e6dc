// The matmul entries of the CUDA table: which kernel, in which shape of blocks, for which outputs.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/device/staging.h"
#include "kernels/cuda/matmul/dense_matmul.h"
#include "kernels/cuda/matmul/matmul_launch.h"
#include "kernels/cuda/matmul/pack.h"

namespace quire {
namespace {

// Blocks that keep an H100 or H200 busy, one on each multiprocessor. Decides about speed only.
constexpr int64_t kBusyBlocks = 132;

size_t packed_row_bytes(int64_t cols) { return static_cast<size_t>(compact_row_bytes(cols)); }

// Straight into the pinned memory of uploads, on the threads of exec.
void pack(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) {
  const size_t bytes = cuda_packed_bytes(format, rows, cols);
  if (format == Format::kF32) {
    return gpu_staging(exec).upload(dst, bytes, 1, [src](size_t first, std::span<std::byte> piece) {
      std::memcpy(piece.data(), src + first, piece.size());
    });
  }
  const size_t row_bytes = weight_format(format).bytes_of(cols);
  const size_t tile_row_bytes = packed_tile_row_bytes(format, cols);
  gpu_staging(exec).upload(dst, bytes, tile_row_bytes, [&](size_t first, std::span<std::byte> piece) {
    const auto pack_one = [&](int64_t index) {
      const size_t offset = static_cast<size_t>(index) * tile_row_bytes;
      const int64_t row = static_cast<int64_t>((first + offset) / tile_row_bytes) * kTileRows;
      pack_tile_row(format, std::min<int64_t>(kTileRows, rows - row), cols, src + static_cast<size_t>(row) * row_bytes,
                    piece.data() + offset);
    };
    const Exec::Body body = [](void* context, int64_t index, int) {
      (*static_cast<const decltype(pack_one)*>(context))(index);
    };
    const auto count = static_cast<int64_t>(piece.size() / tile_row_bytes);
    exec.run(exec.pool, count, body, const_cast<void*>(static_cast<const void*>(&pack_one)));
  });
}

// rows: of all weights of the launch. tokens: of one matrix.
BlockChoice choose_blocks(int64_t rows, int64_t tokens) {
  const auto blocks = [&](int64_t size) { return ceil_div(rows, size) * ceil_div(tokens, size); };
  if (tokens <= 8) return BlockChoice::kEightTokens;
  if (tokens <= 16) return BlockChoice::kSixteenTokens;
  if (tokens > 64 && blocks(128) >= kBusyBlocks) return BlockChoice::kLargeSquare;
  if (tokens > 32 ? blocks(64) >= kBusyBlocks / 2 : blocks(64) >= 2 * kBusyBlocks) return BlockChoice::kSmallSquare;
  return BlockChoice::kThirtyTwoTokens;
}

// The formats with tiles of the same kind share the kernels of the first one.
constexpr Format first_with(TileFormat tile) {
  const MatrixTile* entry = kMatrixTiles.data();
  while (entry->tile != tile) ++entry;
  return entry->format;
}

// F32 has no tiles.
Format kernels_of(Format format) {
  const std::optional<TileFormat> tile = tile_format(format);
  return tile ? first_with(*tile) : format;
}

// In the order of kMatrixTiles.
constexpr auto kLaunches = []<size_t... kEntry>(std::index_sequence<kEntry...>) {
  return std::array{launch_tiles<first_with(kMatrixTiles[kEntry].tile)>...};
}
(std::make_index_sequence<kMatrixTiles.size()>());

void launch_format(Format format, const TilesLaunch& tiles) {
  const auto entry = std::ranges::find(kMatrixTiles, format, &MatrixTile::format);
  CHECK(entry != kMatrixTiles.end());
  kLaunches[static_cast<size_t>(entry - kMatrixTiles.begin())](tiles);
}

void launch_job(const Exec& exec, Format format, const MatmulJob& job) {
  if (job.num_parts == 0 || job.num_rows == 0) return;
  if (format == Format::kF32) return launch_matmul_f32(job, gpu_stream(exec));
  int64_t rows = 0;
  for (int i = 0; i < job.num_parts; ++i) rows += job.parts[i].rows;
  const int64_t experts = std::max(1, job.num_experts);
  const int64_t busy_experts = std::min(experts, job.num_rows);
  launch_format(format, {.job = job,
                         .shape = choose_blocks(rows * busy_experts, ceil_div(job.num_rows, experts)),
                         .stream = gpu_stream(exec)});
}

// Gathers parts into launches: as long as they have the same kind of tiles and the same input.
class Launches {
 public:
  explicit Launches(const Exec& exec) : exec_(exec) {}

  void add(Format format, const MatmulInput& input, const MatmulPart& part) {
    const std::byte* x = format == Format::kF32 ? reinterpret_cast<const std::byte*>(input.f32) : input.packed;
    const bool fits = job_.num_parts < kMaxMatmulParts && kernels_of(format) == kernels_of(format_) && x == job_.x &&
                      input.num_rows == job_.num_rows;
    if (!fits) {
      finish();
      format_ = format;
      job_.x = x;
      job_.num_rows = input.num_rows;
      job_.cols = input.cols;
    }
    if (part.rows > 0) job_.parts[job_.num_parts++] = part;
  }

  void finish() {
    launch_job(exec_, format_, job_);
    job_.num_parts = 0;
  }

  void set_experts(const int32_t* first, int num_experts) {
    job_.first = first;
    job_.num_experts = num_experts;
  }

 private:
  const Exec& exec_;
  Format format_ = Format::kF32;
  MatmulJob job_;
};

void matmul(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs) {
  Launches launches(exec);
  std::optional<DenseMatmul> dense;
  for (int i = 0; i < num_outputs; ++i) {
    const MatmulOutput& output = outputs[i];
    const MatmulInput& own = output.input != nullptr ? *output.input : input;
    if (output.weights.is_dense) {
      if (!dense) dense.emplace(exec);
      dense->multiply(own, output);
      continue;
    }
    launches.add(output.weights.format, own,
                 {.weights = output.weights.data,
                  .bias = output.bias,
                  .y = output.y,
                  .y_stride = output.y_stride,
                  .rows = output.weights.rows,
                  .accumulate = output.accumulate});
  }
  launches.finish();
}

void matmul_experts(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                    const ExpertMatrices* matrices, int num_matrices) {
  Launches launches(exec);
  launches.set_experts(first, num_experts);
  for (int i = 0; i < num_matrices; ++i) {
    const ExpertMatrices& matrix = matrices[i];
    launches.add(matrix.like.format, input,
                 {.experts = matrix.experts, .y = matrix.y, .y_stride = matrix.like.rows, .rows = matrix.like.rows});
  }
  launches.finish();
}

}  // namespace

void fill_matmul_cuda(Kernels& table) {
  const auto fill = [&table](Format format, RowForm input) {
    table.formats[static_cast<size_t>(format)] = {.input = input,
                                                  .packed_bytes = cuda_packed_bytes,
                                                  .pack = pack,
                                                  .matmul = matmul,
                                                  .matmul_experts = matmul_experts};
  };
  fill(Format::kF32, RowForm::kFloats);
  for (const MatrixTile& entry : kMatrixTiles) fill(entry.format, RowForm::kPacked);
  table.mixes_expert_formats = false;
  table.enough_expert_rows = std::numeric_limits<int64_t>::max();
  table.dense_bytes = [](Format, int64_t, int64_t) { return size_t{0}; };
  table.pack_dense = pack;
  table.packed_row_bytes = packed_row_bytes;
}

}  // namespace quire
