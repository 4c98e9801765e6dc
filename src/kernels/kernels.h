// The kernel table: all arithmetic of Quire, as plain functions on memory that the caller owns.
//
// A table is a struct of function pointers. The reference table (reference/) is complete, slow and readable; the table
// of an instruction set starts as its copy and replaces what it does better, so every entry has an oracle. Matrices are
// multiplied by a row of the table for each format: a format that an instruction set has nothing better for is decoded
// to floats, beside fast ones in the same model. Kernels do not allocate, know no model and no request, and never fail:
// shapes are checked by their callers. This header is included by files compiled for one instruction set: it holds
// plain data only, no inline functions.
//
// One answer: each output element is computed by a sequence of operations that depends only on its own row (token) and
// on absolute positions, never on the number of rows, the chunking of a prompt or the number of threads. Threads divide
// outputs or splits at fixed positions, never a sum. select_backend can also give a table that gives this up for dense
// matrices.
//
// A table computes on a Device (tensor/device.h). All arrays that a kernel reads or writes are in the memory of that
// device; the argument structs themselves, lists of them and the `src` of pack are in host memory. Kernels of a device
// other than the host only queue work; its shape may depend on the arguments, but not on the contents of arrays.
//
// Names: m is the number of rows, which are tokens of the batch; weights are [rows = out_features, cols = in_features],
// row-major as in files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/format.h"

namespace quire {

// Where a kernel runs: a pool that calls body(context, task, thread) once per task, thread in [0, num_threads), and for
// a table that computes on a device the stream its work is queued on.
struct Exec {
  using Body = void (*)(void* context, int64_t task, int thread);
  void (*run)(void* pool, int64_t num_tasks, Body body, void* context);
  void* pool;
  int num_threads;
  void* stream = nullptr;        // Device::stream
  std::byte* scratch = nullptr;  // [Kernels::scratch_bytes] device memory, which consecutive calls share
};

// How a vector table walks a matrix. It changes the speed, never the result. The best values differ by machine and
// shape (the heuristic data flow of FlashDecoding++, arXiv 2311.01282); `quire tune` measures them.
struct MatmulTuning {
  // Up to this many rows of x, weights are decoded in registers, again for each tile of rows.
  int16_t packed_tokens = 24;
  int16_t few_tokens = 16;     // up to this many rows of x, a task has few_panels panels, above it many_panels
  int16_t few_panels = 1;      // in [1, kMaxTaskPanels]
  int16_t many_panels = 8;     // likewise
  int16_t one_panels = 1;      // likewise, for a single row of x
  int32_t fetch_ahead = 6144;  // the distance in bytes from the multiplication to the prefetch
  int32_t one_fetch = 6144;    // the same for a single row of x; 0: no prefetch
};
inline constexpr int kMaxTaskPanels = 8;

// A weight matrix in the layout of its table; Kernels::pack makes it, and only the same table's matmul reads it.
struct PackedMatrix {
  Format format = Format::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;  // packed_bytes(format, rows, cols) bytes, 64-byte aligned
  MatmulTuning tuning = {};
  bool is_dense = false;  // made by Kernels::pack_dense, with dense_bytes(format, rows, cols) bytes
};

// The m input rows of one or more matrices: as floats, packed, or both (see Kernels::takes_packed).
struct MatmulInput {
  int64_t num_rows = 0;               // m
  int64_t cols = 0;                   // in_features
  const float* f32 = nullptr;         // [m, cols], rows contiguous
  const std::byte* packed = nullptr;  // [m, packed_row_bytes(cols)], made by Kernels::pack_rows; 64-byte aligned
};

inline constexpr int64_t kPackedColumnMultiple = 32;  // the columns of packed rows come in whole groups

// What pack_rows packs: num_rows rows of x, one after the other and as they are unless lists say otherwise.
struct RowsToPack {
  const float* x = nullptr;  // rows of cols floats, contiguous
  int64_t num_rows = 0;
  int64_t cols = 0;
  const int32_t* rows = nullptr;  // [num_rows] the row of x that each packed row is
  // [cols] value c of a packed row is value columns[c] of its row of x: the order of a matrix's columns (GPTQ with
  // act-order).
  const int32_t* columns = nullptr;
  // Rows of experts, each in the order of its expert: rows [first[e] - first[0], first[e + 1] - first[0]) are in the
  // order expert_columns[e].
  int num_experts = 0;
  const int32_t* first = nullptr;                  // [num_experts + 1]
  const int32_t* const* expert_columns = nullptr;  // [num_experts] lists like `columns`, or null: as they are
};

struct MatmulOutput {
  PackedMatrix weights;
  const float* bias = nullptr;         // [weights.rows], or null
  float* y = nullptr;                  // [m, y_stride]
  int64_t y_stride = 0;                // floats between rows of y, >= weights.rows
  bool accumulate = false;             // add to y instead of overwriting it (the residual stream)
  const MatmulInput* input = nullptr;  // this output's own rows, y [input->num_rows, y_stride]; null: those of the call
};

enum class Activation : uint8_t { kSilu, kGeluTanh, kGelu };

// RMSNorm (arXiv 1910.07467) of rows: x / sqrt(mean(x^2) + eps) * weight.
struct RowNorm {
  const float* x = nullptr;       // [num_rows, dim]
  int64_t x_stride = 0;           // floats between rows
  const float* weight = nullptr;  // [dim]
  float eps = 0.0f;
  int64_t num_rows = 0;
  int64_t dim = 0;
};

// activation(gate) * up of rows.
struct RowGate {
  Activation kind = Activation::kSilu;
  const float* gate = nullptr;  // [num_rows, dim]
  int64_t gate_stride = 0;      // floats between rows
  const float* up = nullptr;    // [num_rows, dim]
  int64_t up_stride = 0;        // floats between rows
  int64_t num_rows = 0;
  int64_t dim = 0;
};

// Rotary embedding (RoPE, arXiv 2104.09864) of heads: the first 2 * half_dim elements of each turn in pairs (i, i +
// half_dim), or (2i, 2i + 1) when interleaved.
struct Rotation {
  const float* cos_sin = nullptr;  // [num_rows, 2, half_dim]
  int head_dim = 0;
  int half_dim = 0;
  bool interleaved = false;
};

// The heads of one kind (queries, keys) in the rows of a batch.
struct HeadRows {
  float* x = nullptr;  // [num_rows, num_heads, head_dim]
  int64_t stride = 0;  // floats between rows
  int num_heads = 0;
  const float* norm = nullptr;  // [head_dim]: every head is normed with these weights first; or null
  float norm_eps = 0.0f;
};

// Mixture of experts. An assignment is one chosen expert of one row; assignments are sorted by expert.
struct Routing {
  int num_experts = 0;
  int per_row = 0;        // experts of a row
  bool normalize = true;  // the chosen weights are divided by their sum
};

struct ExpertAssignments {
  int32_t* assignments = nullptr;  // [num_rows, per_row] ascending within a row
  float* weights = nullptr;        // [num_rows, per_row]
  int32_t* rows = nullptr;         // [num_rows * per_row] the row of each assignment
  int32_t* first = nullptr;        // [num_experts + 1] where each expert's assignments start
};

// One matrix of every expert.
struct ExpertMatrices {
  PackedMatrix like;                      // format, rows and cols of each
  const PackedMatrix* experts = nullptr;  // [num_experts], an array
  float* y = nullptr;                     // [num_rows of the input, like.rows] contiguous
};

// The outputs of the chosen experts, to be added to the rows of the batch.
struct ExpertRows {
  const float* from = nullptr;  // [last - first, dim] rows of assignments [first, last)
  int32_t first = 0;
  int32_t last = 0;
  const int32_t* assignments = nullptr;  // [num_rows, per_row] ascending within a row
  const float* weights = nullptr;        // [num_rows, per_row]
  int per_row = 0;
};

// Paged K and V of one layer. A block holds kKvBlockSize consecutive positions of one sequence; inside it every KV head
// has one K tile and one V tile. Block b, head h: k + (b * num_kv_heads + h) * k_tile_bytes(k_format, head_dim).
//
// Floats (kF32, kF16, kBF16, kF8_E4M3): K is [head_dim, kKvBlockSize] (dimension-major: the scores of neighbouring
// positions are one vector), V is [kKvBlockSize, head_dim].
// kQ8_0 and kQ4_0: head_dim is rounded up to whole groups of kKvGroup dimensions. A tile is the codes of its groups,
// one group after another, and then f16 scales [number of scales][kKvBlockSize]. In Q8_0 every group has a scale; in
// Q4_0 two neighbouring groups share one (the last group may be alone), and K has codes of five bits, since an error of
// K costs several times as much as one of V (docs/decisions/0021-hadamard-before-4-bit-kv.md). Two neighbouring terms
// of a sum lie together, to be multiplied as pairs of 16 bits: with d the dimension inside the group and p the
// position, a code's byte is
//          K                                         V
//   Q8_0   (d / 2 * kKvBlockSize + p) * 2 + d % 2    (p / 2 * kKvGroup + d) * 2 + p % 2
//   Q4_0   the same of d % 16                        (p / 2 * 16 + d % 16) * 2 + p % 2
// Q4_0 keeps four bits in the low half of it for d < 16, in the high half otherwise: code + 8 of V, the low bits of
// code + 16 of K. The fifth bits of a group of K follow its bytes: bit d / 2 + d % 2 * 16 of a 32-bit word for each p.
inline constexpr int kKvBlockSize = 32;
inline constexpr int32_t kNoBlock = -1;  // an empty entry of a block table
inline constexpr int kKvGroup = 32;      // dimensions

inline constexpr int kMaxHeadDim = 512;

// Bytes of a tile of K or V, a multiple of 64; 0 for a format that KV cannot have. head_dim is a multiple of 8.
int64_t k_tile_bytes(Format format, int64_t head_dim);
int64_t v_tile_bytes(Format format, int64_t head_dim);

struct KvLayer {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  Format k_format = Format::kF16;  // may differ from v_format
  Format v_format = Format::kF16;
  int num_kv_heads = 0;
  int head_dim = 0;  // at most kMaxHeadDim
  // The heads of K or of V lie there as hadamard_heads makes them, and so must queries; a sum of weighted V is to be
  // multiplied once more.
  bool hadamard_k = false;
  bool hadamard_v = false;
};

// Where and what a batch writes to the cache, except its keys.
struct KvWrite {
  KvLayer kv;
  const float* v = nullptr;        // [num_rows, num_kv_heads, head_dim]
  int64_t v_stride = 0;            // floats between rows
  const int64_t* slots = nullptr;  // [num_rows]
  int64_t num_rows = 0;
};

// Positions [first, first + count) of block `from`, to be copied to the same places of block `to`.
struct KvCopy {
  int32_t from = kNoBlock;
  int32_t to = kNoBlock;
  int32_t first = 0;  // within the block
  int32_t count = 0;
};

// The rows of one sequence in the batch.
struct AttentionSequence {
  int64_t first_row = 0;       // of q and out
  int64_t num_rows = 0;        // query tokens, at consecutive positions
  int64_t first_position = 0;  // position of the first query token; K/V of all positions up to and including
                               // each query's own are in the cache already
  // Entry i: the block of positions [i * kKvBlockSize, (i + 1) * kKvBlockSize), or kNoBlock when no query sees them any
  // more. Entries before the window of the first query are not read; those of the queries' own positions must be
  // blocks.
  const int32_t* block_table = nullptr;
};

struct AttentionArgs {
  const float* q = nullptr;  // [m, num_heads, head_dim], row stride q_stride floats
  int64_t q_stride = 0;
  float* out = nullptr;  // [m, num_heads, head_dim] contiguous
  KvLayer kv;
  const AttentionSequence* sequences = nullptr;
  int64_t num_sequences = 0;
  int64_t num_rows = 0;     // an upper bound of the rows of all sequences together
  int64_t max_rows = 0;     // an upper bound of the rows of a sequence
  int64_t max_context = 0;  // an upper bound of first_position + num_rows of a sequence
  int num_heads = 0;        // a multiple of kv.num_kv_heads; query head h reads KV head h / (num_heads / num_kv_heads)
  float scale = 0.0f;       // multiplies q . k
  float softcap = 0.0f;     // > 0: scores become cap * tanh(score / cap) (Gemma 2)
  int64_t window = 0;       // > 0: position p sees positions (p - window, p]
  // Read the blocks that several sequences begin with once for all of them. This changes the speed only; switch it off
  // to measure its effect.
  bool share_prefixes = true;
  // Whether all sequences begin with the same block: a table that does not see them looks for more only then.
  bool begin_alike = false;
  std::byte* workspace = nullptr;  // attention_workspace_bytes(...), 64-byte aligned
};

// Upper bounds of all attention calls, from which the workspace is sized.
struct AttentionLimits {
  int num_threads = 1;
  int64_t max_rows = 0;       // tokens in a batch
  int64_t max_sequences = 0;  // sequences in a batch
  int64_t max_context = 0;    // positions of one sequence
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// The tokens whose embeddings are wanted, by row.
struct EmbeddedTokens {
  const int32_t* ids = nullptr;     // [num_rows]; -1 - r stands for chosen[r]
  const int32_t* chosen = nullptr;  // tokens from sample_rows; -1 there counts as token 0. Null when no id is negative
};

// How the token after one row of logits is chosen; the steps are those of decoding/sampler.h.
struct SamplingRow {
  double random = 0.0;       // the random number of the draw, uniform in [0, 1)
  float temperature = 0.0f;  // 0: the likeliest token
  int32_t top_k = 0;         // keep the k likeliest; 0 or less: all
  float top_p = 1.0f;        // keep the smallest likeliest set of at least this mass; above 0
  float min_p = 0.0f;        // keep tokens of at least min_p x the likeliest one's probability
};

// The arithmetic of multiplications by weights: what packed rows hold, and so which rows of a table multiply them. It
// never changes the layout of packed matrices.
enum class Activations : uint8_t {
  kInt8,  // codes of weights in integers, by int8 with a scale for each group
  kBf16,  // weights and activations, both rounded to bf16, summed in float
  kF32,   // codes of weights widened to floats, by floats
};
inline constexpr int kNumActivations = 3;

// Which form of its input rows a matmul reads: MatmulInput::f32 or MatmulInput::packed.
enum class RowForm : uint8_t { kFloats, kPacked };

// How a table multiplies by matrices of one format. All null if it cannot; a table of the host always can.
struct FormatKernels {
  RowForm input;
  // The bytes of the packed matrix; 0 for a width that the table cannot multiply.
  size_t (*packed_bytes)(Format format, int64_t rows, int64_t cols);
  // Packs row-major blocks as they are in a file. src and dst do not overlap; every byte of dst is determined by src.
  void (*pack)(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst);
  // y[o] = input * weights[o]^T (+ bias) for every output; outputs share the input (QKV, gate and up) or have their own
  // (experts). Formats whose rows have the same matmul may be mixed in one call.
  void (*matmul)(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs);
  // For every one of the matrices and every e: rows [first[e] - first[0], first[e + 1] - first[0]) of y = those rows of
  // the input * experts[e]^T. Null: matmul does it, with a separate output for every expert that has rows.
  void (*matmul_experts)(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                         const ExpertMatrices* matrices, int num_matrices);
};

struct Kernels {
  const char* name;  // "reference", "avx2", "avx512", "cuda"
  Activations activations;

  // ---- matmul -----------------------------------------------------------------------------------------------------
  // The default tuning, used unless `quire tune` has found something better on this machine.
  MatmulTuning usual_tuning;
  FormatKernels formats[kNumFormats];  // by Format
  const FormatKernels& format_kernels(Format format) const;
  // These use the row of the format; packed_bytes is 0 when the table cannot multiply the matrix.
  size_t packed_bytes(Format format, int64_t rows, int64_t cols) const;
  void pack(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) const;
  bool takes_packed(Format format) const;
  // Each output or matrix is multiplied by the row of its format; the input must have the forms that these rows read.
  void matmul(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs) const;
  void matmul_experts(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                      const ExpertMatrices* matrices, int num_matrices) const;
  bool mixes_expert_formats;  // whether the matrices of one kind may have several formats
  // So many rows are enough for a call of matmul_experts: where the host sees which experts have rows, it can take them
  // a few at a time and needs workspace for fewer rows. INT64_MAX where it does not: a call then has all rows of a
  // step.
  int64_t enough_expert_rows;
  // Packing in another layout, for matrices that matmul and embed_rows alone read: not experts'. 0 bytes for a matrix
  // that has none.
  size_t (*dense_bytes)(Format format, int64_t rows, int64_t cols);
  void (*pack_dense)(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst);
  size_t scratch_bytes;  // the size of Exec::scratch
  // Packed rows: the form in which the table's matmul reads rows, in the table's own layout; what they hold is
  // `activations`. Int8 on the CPU: groups of 32 values share a float scale max|x| / 127, codes are rounded to nearest;
  // sums of the codes are stored too. A group with an infinity or a NaN gets the scale NaN; one with max|x| < 2^-100
  // counts as zeros. Bf16: rounded to nearest even. On CUDA it is int8 in groups of 64, and bf16 for formats that are
  // not multiplied in integers. cols is a multiple of kPackedColumnMultiple; on the CPU, bf16 and f32 take any.
  size_t (*packed_row_bytes)(int64_t cols);
  void (*pack_rows)(const Exec& exec, const RowsToPack& rows, std::byte* packed);
  // rms_norm and gated_activation followed by pack_rows, with the same bits, but without storing the floats.
  void (*rms_norm_packed)(const Exec& exec, const RowNorm& norm, std::byte* packed);
  void (*gated_activation_packed)(const Exec& exec, const RowGate& gate, std::byte* packed);

  // ---- rows -------------------------------------------------------------------------------------------------------
  // out [num_rows, dim], out_stride floats between rows; may be norm.x.
  void (*rms_norm)(const Exec& exec, const RowNorm& norm, float* out, int64_t out_stride);
  // x += rms_norm; x [num_rows, dim] contiguous.
  void (*add_rms_norm)(const Exec& exec, const RowNorm& norm, float* x);
  // x += y, n floats.
  void (*add)(const Exec& exec, float* x, const float* y, int64_t n);
  // out [num_rows, dim], out_stride floats between rows; may be gate.gate.
  void (*gated_activation)(const Exec& exec, const RowGate& gate, float* out, int64_t out_stride);
  // Rotates every head in place; ignores norms.
  void (*rope)(const Exec& exec, const HeadRows& heads, int64_t num_rows, const Rotation& rotation);
  // For every part: rms_norm of its heads if it has a norm, then rope.
  void (*norm_rope)(const Exec& exec, const HeadRows* parts, int num_parts, int64_t num_rows, const Rotation& rotation);
  // to[i] = from[rows[i]]; rows of row_bytes, a multiple of 4.
  void (*gather_rows)(const Exec& exec, const std::byte* from, size_t row_bytes, const int32_t* rows, int64_t num_rows,
                      std::byte* to);
  // out[row] = scale * the token's row of the matrix, dequantised; out [num_rows, matrix.cols]. The matrix is packed
  // or, if embeds_file_rows, in the host's memory with its rows as they lie in a file.
  bool embeds_file_rows;
  void (*embed_rows)(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                     float scale, float* out);
  // Softmax over each row of logits [num_rows, num_experts], then the per_row largest, the lower number first among
  // equals; NaN counts as the smallest. A row's choices ascend by expert, an expert's assignments by row. Overwrites
  // logits.
  void (*route_experts)(const Exec& exec, const Routing& routing, float* logits, int64_t num_rows,
                        const ExpertAssignments& out);
  // y[row] += weights[row][j] * from[assignments[row][j] - first], one after the other in ascending j, for those whose
  // assignment is in [first, last); with first = 0, y starts from zeros. y [num_rows, dim] contiguous.
  void (*add_expert_rows)(const Exec& exec, const ExpertRows& experts, int64_t num_rows, int64_t dim, float* y);
  // x = cap * tanh(x / cap), n floats.
  void (*softcap)(const Exec& exec, float* x, int64_t n, float cap);

  // ---- attention over paged KV ------------------------------------------------------------------------------------
  // Every head times an orthonormal Hadamard matrix, in place: outliers of a few dimensions are spread over all, so
  // that codes of few bits serve them (QuaRot, arXiv 2404.00456). Norms are left out. The matrix is its own inverse,
  // of the largest power of two that divides head_dim, along the diagonal; summed from the widest distance to the
  // nearest in float32, then scaled, with the same bits in every table.
  void (*hadamard_heads)(const Exec& exec, const HeadRows& heads, int64_t num_rows, int head_dim);
  // Stores k [num_rows, num_kv_heads, head_dim] (k_stride floats between rows) as it is and write.v, times the Hadamard
  // matrix if kv.hadamard_v, at slots[row] = block *
  // kKvBlockSize + offset. Slots of one call are distinct. Q8_0: scale = max|x| / 127; Q4_0: scale = x / -16 in
  // K and x / -8 in V of the x with the largest magnitude, the positive one of two; codes are x / scale rounded to
  // nearest even, by the scale as stored. Dimensions that share a scale with an infinity, a NaN or magnitudes beyond
  // any f16 scale read back as NaN. E4M3 has no scale: magnitudes above 448, infinities among them, become 448; a NaN
  // stays one.
  void (*write_kv)(const Exec& exec, const KvWrite& write, const float* k, int64_t k_stride);
  // norm_rope of q and k, hadamard_heads of both if kv.hadamard_k, then write_kv of k; k itself changes in place too.
  void (*norm_rope_write_kv)(const Exec& exec, const HeadRows& q, const HeadRows& k, const KvWrite& write,
                             const Rotation& rotation);
  // Copies K and V of positions to other blocks of the layer, byte for byte: sequences that part within a block, such
  // as the branches of a tree of drafts, each have its beginning. copies [num_copies]; what they write is distinct, and
  // none reads what another one writes.
  void (*copy_kv)(const Exec& exec, const KvLayer& kv, const KvCopy* copies, int64_t num_copies);
  size_t (*attention_workspace_bytes)(const AttentionLimits& limits);
  // Causal softmax attention, tiles of kKvBlockSize positions with online softmax (arXiv 1805.02867, 2205.14135), long
  // contexts in splits anchored at fixed positions and merged in order (Flash-Decoding). Tiles without a block are
  // skipped and change no bit.
  void (*attention)(const Exec& exec, const AttentionArgs& args);

  // ---- sampling ---------------------------------------------------------------------------------------------------
  // 0: the table leaves it to decoding/sampler.h, and sample_rows is not called.
  int max_sampled_vocab;
  // tokens[row] from logits [num_rows, vocab_size] contiguous, rows [num_rows], vocab_size at most max_sampled_vocab:
  // the lowest id of equals, and -1 for a row with a NaN, +infinity or nothing finite.
  void (*sample_rows)(const Exec& exec, const float* logits, int64_t num_rows, int vocab_size, const SamplingRow* rows,
                      int32_t* tokens);
};

}  // namespace quire
