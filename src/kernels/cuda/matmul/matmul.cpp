// The matmul entries of the CUDA table: which kernel, in which shape of blocks, for which outputs.
#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

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

bool takes_packed(Format format) { return tile_format(format).has_value(); }

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

// The formats with tiles of the same kind share kernels.
Format tiles_of(Format format) { return format == Format::kQ5_0 ? Format::kQ8_0 : format; }

void launch_format(Format format, const TilesLaunch& tiles) {
  switch (tiles_of(format)) {
    case Format::kF16: return launch_tiles<Format::kF16>(tiles);
    case Format::kBF16: return launch_tiles<Format::kBF16>(tiles);
    case Format::kQ8_0: return launch_tiles<Format::kQ8_0>(tiles);
    case Format::kQ4_0: return launch_tiles<Format::kQ4_0>(tiles);
    case Format::kQ4_1: return launch_tiles<Format::kQ4_1>(tiles);
    case Format::kQ5_1: return launch_tiles<Format::kQ5_1>(tiles);
    case Format::kQ2_K: return launch_tiles<Format::kQ2_K>(tiles);
    case Format::kQ3_K: return launch_tiles<Format::kQ3_K>(tiles);
    case Format::kQ4_K: return launch_tiles<Format::kQ4_K>(tiles);
    case Format::kQ5_K: return launch_tiles<Format::kQ5_K>(tiles);
    case Format::kQ6_K: return launch_tiles<Format::kQ6_K>(tiles);
    case Format::kIQ4_NL: return launch_tiles<Format::kIQ4_NL>(tiles);
    case Format::kIQ4_XS: return launch_tiles<Format::kIQ4_XS>(tiles);
    case Format::kMXFP4: return launch_tiles<Format::kMXFP4>(tiles);
    case Format::kI4_G32: return launch_tiles<Format::kI4_G32>(tiles);
    case Format::kI4_G128: return launch_tiles<Format::kI4_G128>(tiles);
    case Format::kI8_G128: return launch_tiles<Format::kI8_G128>(tiles);
    case Format::kF8_G128: return launch_tiles<Format::kF8_G128>(tiles);
    default: CHECK(!"a format that has tiles");
  }
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
    const bool fits = job_.num_parts < kMaxMatmulParts && tiles_of(format) == tiles_of(format_) && x == job_.x &&
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
  table.packed_bytes = cuda_packed_bytes;
  table.pack = pack;
  table.takes_packed = takes_packed;
  table.packed_row_bytes = packed_row_bytes;
  table.matmul = matmul;
  table.matmul_experts = matmul_experts;
}

}  // namespace quire
