// The kernel table: everything Quire computes on numbers, as plain functions over caller-owned memory.
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
// outputs or position-anchored splits, never a reduction. A table may be had that gives this up for dense matrices
// (select_backend).
//
// A table computes on a Device (tensor/device.h). All arrays that a kernel reads or writes lie in the memory of that
// device; the argument structs themselves, lists of them and the `src` of pack lie in the host's. Kernels of a device
// other than the host only queue work: its shape may follow from the arguments, never from what arrays hold.
//
// Names: m rows = tokens of the batch; weights are [rows = out_features, cols = in_features], row-major as in files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/format.h"

namespace quire {

// Where a kernel runs: a pool that calls body(context, tile, thread) once per tile, thread in [0, num_threads), and for
// a table that computes on a device the stream its work is queued on.
struct Exec {
  using Body = void (*)(void* context, int64_t tile, int thread);
  void (*run)(void* pool, int64_t num_tiles, Body body, void* context);
  void* pool;
  int num_threads;
  void* stream = nullptr;        // Device::stream
  std::byte* scratch = nullptr;  // Kernels::scratch_bytes of the device's memory; calls use it one after the other
};

// How a vector table walks a matrix; never what it gives. The inflection points differ by machine and shape (the
// heuristic data flow of FlashDecoding++, arXiv 2311.01282); `quire tune` measures them.
struct MatmulTuning {
  int16_t packed_tokens = 24;  // up to so many rows of x, codes are decoded in registers, again for each tile of rows
  int16_t few_tokens = 16;     // up to so many, a tile of the thread pool has few_panels, else many_panels
  int16_t few_panels = 1;      // in [1, kMaxTaskPanels]
  int16_t many_panels = 8;     // likewise
  int32_t fetch_ahead = 6144;  // bytes from what is multiplied to what is fetched from memory
};
inline constexpr int kMaxTaskPanels = 8;

// A weight matrix in the layout its table wants; made by Kernels::pack, read by the same table's matmul only.
struct PackedMatrix {
  Format format = Format::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;  // packed_bytes(format, rows, cols) bytes, 64-byte aligned
  MatmulTuning tuning = {};
  bool is_dense = false;  // by Kernels::pack_dense, dense_bytes(format, rows, cols) bytes
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
  const float* bias = nullptr;         // [weights.rows] or none
  float* y = nullptr;                  // [m, y_stride]
  int64_t y_stride = 0;                // floats between rows of y, >= weights.rows
  bool accumulate = false;             // y += instead of y = (the residual stream)
  const MatmulInput* input = nullptr;  // rows of this output's own, y [input->num_rows, y_stride]; null: the call's
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
  const float* norm = nullptr;  // [head_dim]: every head is normed with these weights first; or none
  float norm_eps = 0.0f;
};

// Mixture of experts. A slot is one choice of one row; slots are sorted by expert.
struct Routing {
  int num_experts = 0;
  int per_row = 0;        // experts of a row
  bool normalize = true;  // the chosen weights are divided by their sum
};

struct ExpertSlots {
  int32_t* slots = nullptr;  // [num_rows, per_row] ascending within a row
  float* weights = nullptr;  // [num_rows, per_row]
  int32_t* rows = nullptr;   // [num_rows * per_row] the row of every slot
  int32_t* first = nullptr;  // [num_experts + 1] where each expert's slots start
};

// One matrix of every expert.
struct ExpertMatrices {
  PackedMatrix like;                      // format, rows and cols of each
  const PackedMatrix* experts = nullptr;  // [num_experts], an array
  float* y = nullptr;                     // [num_rows of the input, like.rows] contiguous
};

// The chosen experts' outputs on their way back to the rows of the batch.
struct ExpertRows {
  const float* from = nullptr;  // [last - first, dim] rows of slots [first, last)
  int32_t first = 0;
  int32_t last = 0;
  const int32_t* slots = nullptr;  // [num_rows, per_row] ascending within a row
  const float* weights = nullptr;  // [num_rows, per_row]
  int per_row = 0;
};

// Paged K and V of one layer. A block holds kKvBlockSize consecutive positions of one sequence; inside it every KV head
// has one K tile and one V tile. Block b, head h: k + (b * num_kv_heads + h) * kv_tile_bytes(k_format, head_dim).
//
// Floats (kF32, kF16, kBF16, kF8_E4M3): K is [head_dim, kKvBlockSize] (dimension-major: the scores of neighbouring
// positions are one vector), V is [kKvBlockSize, head_dim].
// kQ8_0 and kQ4_0: kKvScaleGroup dimensions of one position share an f16 scale, as in those formats' blocks; head_dim
// is rounded up to whole groups. A tile is its groups one after another, each kKvScaleGroup * kKvBlockSize codes and
// then the scales [kKvBlockSize]. Two neighbouring terms of a sum lie together, to be multiplied as pairs of 16 bits:
// with d the dimension inside the group and p the position, a code's byte is
//          K                                         V
//   Q8_0   (d / 2 * kKvBlockSize + p) * 2 + d % 2    (p / 2 * kKvScaleGroup + d) * 2 + p % 2
//   Q4_0   the same of d % 16                        (p / 2 * 16 + d % 16) * 2 + p % 2
// and Q4_0 keeps code + 8 in the low half of it for d < 16, in the high half otherwise.
inline constexpr int kKvBlockSize = 32;
inline constexpr int32_t kNoBlock = -1;  // an empty entry of a block table
inline constexpr int kKvScaleGroup = 32;

inline constexpr int kMaxHeadDim = 512;

// Bytes of a tile, a multiple of 64; 0 for a format that KV cannot have. head_dim is a multiple of 8.
int64_t kv_tile_bytes(Format format, int64_t head_dim);

struct KvLayer {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  Format k_format = Format::kF16;  // K and V may differ
  Format v_format = Format::kF16;
  int num_kv_heads = 0;
  int head_dim = 0;  // at most kMaxHeadDim
  // The heads of K or of V lie there as hadamard_heads makes them, and so must queries; a sum of weighted V is to be
  // multiplied once more.
  bool hadamard_k = false;
  bool hadamard_v = false;
};

// What a batch adds to the cache beside its keys.
struct KvWrite {
  KvLayer kv;
  const float* v = nullptr;        // [num_rows, num_kv_heads, head_dim]
  int64_t v_stride = 0;            // floats between rows
  const int64_t* slots = nullptr;  // [num_rows]
  int64_t num_rows = 0;
};

// One sequence's part of the batch.
struct AttentionSequence {
  int64_t first_row = 0;       // of q and out
  int64_t num_rows = 0;        // query tokens, at consecutive positions
  int64_t first_position = 0;  // position of the first query token; K/V of all positions up to and including
                               // each query's own are in the cache already
  // Entry i: the block of positions [i * kKvBlockSize, ...), or kNoBlock: nobody sees these positions any more. Entries
  // before what the first query sees through its window are not read; those of the queries' own positions are blocks.
  const int32_t* block_table = nullptr;
};

struct AttentionArgs {
  const float* q = nullptr;  // [m, num_heads, head_dim], row stride q_stride floats
  int64_t q_stride = 0;
  float* out = nullptr;  // [m, num_heads, head_dim] contiguous
  KvLayer kv;
  const AttentionSequence* sequences = nullptr;
  int64_t num_sequences = 0;
  int64_t num_rows = 0;     // of all sequences together at most
  int64_t max_rows = 0;     // no sequence's num_rows is above it
  int64_t max_context = 0;  // no sequence's first_position + num_rows is above it
  int num_heads = 0;        // a multiple of kv.num_kv_heads; query head h reads KV head h / (num_heads / num_kv_heads)
  float scale = 0.0f;       // multiplies q . k
  float softcap = 0.0f;     // > 0: scores become cap * tanh(score / cap) (Gemma 2)
  int64_t window = 0;       // > 0: position p sees positions (p - window, p]
  // Read K and V of blocks that several sequences begin with once for all of them. Changes the speed only: off to
  // measure what it brings.
  bool share_prefixes = true;
  // Whether all sequences begin with the same block: a table that does not see them looks for more only then.
  bool begin_alike = false;
  std::byte* workspace = nullptr;  // attention_workspace_bytes(...), 64-byte aligned
};

// An upper bound of what one attention call will be asked for, to size its workspace.
struct AttentionLimits {
  int num_threads = 1;
  int64_t max_rows = 0;       // tokens in a batch
  int64_t max_sequences = 0;  // sequences in a batch
  int64_t max_context = 0;    // positions of one sequence
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
};

// The tokens of rows whose embeddings are wanted.
struct EmbeddedTokens {
  const int32_t* ids = nullptr;     // [num_rows]; -1 - r stands for chosen[r]
  const int32_t* chosen = nullptr;  // what sample_rows left, -1 there counting as token 0; null where no id is negative
};

// How the token after one row of logits is chosen; the steps are those of decoding/sampler.h.
struct SamplingRow {
  double random = 0.0;       // the draw's number, uniform in [0, 1)
  float temperature = 0.0f;  // 0: the likeliest token
  int32_t top_k = 0;         // keep the k likeliest; 0 or less: all
  float top_p = 1.0f;        // keep the smallest likeliest set of at least this mass; above 0
  float min_p = 0.0f;        // keep tokens of at least min_p x the likeliest one's probability
};

// Which form of its input rows a matmul reads: MatmulInput::f32 or MatmulInput::packed.
enum class RowForm : uint8_t { kFloats, kPacked };

// How a table multiplies by the matrices of one format. All null where it cannot (a table of the host can always).
struct FormatKernels {
  RowForm input;
  // Bytes of the packed matrix; 0 for a width that it cannot multiply.
  size_t (*packed_bytes)(Format format, int64_t rows, int64_t cols);
  // Repacks row-major blocks as they lie in a file. src and dst do not overlap; the bytes of dst are fully determined.
  void (*pack)(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst);
  // y[o] = input * weights[o]^T (+ bias) for every output; outputs share the input (QKV, gate and up) or bring their
  // own (experts). Formats whose rows have the same matmul may come in one call.
  void (*matmul)(const Exec& exec, const MatmulInput& input, const MatmulOutput* outputs, int num_outputs);
  // For every one of the matrices and every e: rows [first[e] - first[0], first[e + 1] - first[0]) of y = those rows of
  // the input * experts[e]^T. Null: by matmul, an output with rows of its own for every expert that has rows.
  void (*matmul_experts)(const Exec& exec, const MatmulInput& input, const int32_t* first, int num_experts,
                         const ExpertMatrices* matrices, int num_matrices);
};

struct Kernels {
  const char* name;  // "reference", "avx2", "avx512", "cuda"

  // ---- matmul -----------------------------------------------------------------------------------------------------
  // How matrices are walked unless `quire tune` found something better on the machine.
  MatmulTuning usual_tuning;
  FormatKernels formats[kNumFormats];  // by Format
  const FormatKernels& format_kernels(Format format) const;
  // Those of the format's row; 0 bytes where the table cannot multiply the matrix.
  size_t packed_bytes(Format format, int64_t rows, int64_t cols) const;
  void pack(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst) const;
  bool takes_packed(Format format) const;
  // Every output or matrix by the row of its format; the input has the forms that these rows read.
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
  size_t scratch_bytes;  // of Exec::scratch
  // Packed rows: the form in which the table's matmul wants them, in a layout of its own. On the CPU it is int8: groups
  // of 32 values share a float scale max|x| / 127, codes round to nearest; beside them stand the sums that matmul
  // wants. On CUDA it is int8 in groups of 64, and bf16 for formats that it does not multiply in integers. cols is a
  // multiple of kPackedColumnMultiple. A group that holds an infinity or a NaN gets the scale NaN; one with max|x| <
  // 2^-100 counts as zeros.
  size_t (*packed_row_bytes)(int64_t cols);
  void (*pack_rows)(const Exec& exec, const RowsToPack& rows, std::byte* packed);
  // pack_rows of what rms_norm and gated_activation give, bit for bit, without the floats in between.
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
  // Rotates every head in place; norms are left out.
  void (*rope)(const Exec& exec, const HeadRows& heads, int64_t num_rows, const Rotation& rotation);
  // For every part: rms_norm of its heads, if it has a norm, and rope.
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
  // equals; NaN counts as the smallest. A row's choices ascend by expert, an expert's slots by row. Overwrites logits.
  void (*route_experts)(const Exec& exec, const Routing& routing, float* logits, int64_t num_rows,
                        const ExpertSlots& out);
  // y[row] += weights[row][j] * from[slots[row][j] - first], one after the other for j ascending whose slot is in
  // [first, last); with first = 0, y starts from zeros. y [num_rows, dim] contiguous.
  void (*add_expert_rows)(const Exec& exec, const ExpertRows& experts, int64_t num_rows, int64_t dim, float* y);
  // x = cap * tanh(x / cap), n floats.
  void (*softcap)(const Exec& exec, float* x, int64_t n, float cap);

  // ---- attention over paged KV ------------------------------------------------------------------------------------
  // Every head times an orthonormal Hadamard matrix, in place: outliers of a few dimensions are spread over all, so
  // that codes of four bits serve them (QuaRot, arXiv 2404.00456). Norms are left out. The matrix is its own inverse,
  // of the largest power of two that divides head_dim, along the diagonal; summed from the widest distance to the
  // nearest in float32, then scaled, with the same bits in every table.
  void (*hadamard_heads)(const Exec& exec, const HeadRows& heads, int64_t num_rows, int head_dim);
  // Stores k [num_rows, num_kv_heads, head_dim] (k_stride floats between rows) as it is and write.v, times the Hadamard
  // matrix if kv.hadamard_v, at slots[row] = block *
  // kKvBlockSize + offset. Slots of one call are distinct. Q8_0: scale = max|x| / 127; Q4_0: scale = x / -8 of the x
  // with the largest magnitude, the positive one of two; codes are x / scale rounded to nearest even, by the scale as
  // stored. A group with an infinity, a NaN or magnitudes that no f16 scale can follow reads back as NaN. E4M3 has no
  // scale: magnitudes above 448, infinities among them, become 448; a NaN stays one.
  void (*write_kv)(const Exec& exec, const KvWrite& write, const float* k, int64_t k_stride);
  // norm_rope of q and k, hadamard_heads of both if kv.hadamard_k, then write_kv of k; k itself changes in place too.
  void (*norm_rope_write_kv)(const Exec& exec, const HeadRows& q, const HeadRows& k, const KvWrite& write,
                             const Rotation& rotation);
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
