// Rotary position embeddings (RoFormer, arXiv 2104.09864): the angles of each position under every known scaling. cos
// and sin are computed once per step and shared by all layers with equal settings. A token's angles depend only on its
// position, on which side of the RoPE switch its sequence is, and the settings, so chunking and batching cannot change
// them. All arithmetic is float32 in Hugging Face's order.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/step.h"

namespace quire {

enum class RopeScaling : uint8_t {
  kNone,
  kLinear,    // frequencies / factor
  kDynamic,   // NTK-aware base that grows with the position, beyond max_positions only
  kLlama3,    // long wavelengths / factor, with a smooth passage (Llama 3.1)
  kYarn,      // arXiv 2309.00071
  kLongRope,  // frequencies / a list of factors, one list for short and one for long sequences (arXiv 2402.13753)
};

struct RopeSettings {
  RopeScaling scaling = RopeScaling::kNone;
  double theta = 10000.0;
  int dim = 0;  // rotated elements of a head, even
  double factor = 1.0;
  int64_t max_positions = 0;           // kDynamic: positions without scaling
  int64_t original_max_positions = 0;  // kLlama3, kYarn, kLongRope: positions of the first training
  double low_freq_factor = 1.0;        // kLlama3
  double high_freq_factor = 4.0;       // kLlama3
  double beta_fast = 32.0;             // kYarn
  double beta_slow = 1.0;              // kYarn
  bool truncate = true;                // kYarn: whole dimensions as bounds of the ramp
  std::vector<float> short_factors;    // kLongRope: [dim / 2]
  std::vector<float> long_factors;     // kLongRope: [dim / 2]
  float attention_factor = 1.0f;       // multiplies cos and sin

  bool operator==(const RopeSettings&) const = default;
};

// [dim / 2] frequencies for a token of a sequence of `length` positions.
std::vector<float> rope_frequencies(const RopeSettings& settings, int64_t length);

class Rotary {
 public:
  explicit Rotary(const RopeSettings& settings);

  const RopeSettings& settings() const { return settings_; }
  int half_dim() const { return settings_.dim / 2; }
  // Computes the angles of positions [0, num_positions) once for all steps, which then only copy them: 4 * dim bytes of
  // the host's memory for each, twice that with factors for long sequences.
  void remember(int64_t num_positions);
  // cos_sin [step.num_rows, 2, half_dim], as Kernels::rope wants it, in the host's memory.
  void fill(const Step& step, float* cos_sin) const;

 private:
  void fill_row(int64_t position, bool is_long, float* cos_sin) const;
  void compute_row(int64_t position, bool is_long, float* cos_sin) const;

  RopeSettings settings_;
  std::vector<float> frequencies_;       // of sequences within the (original) maximum
  std::vector<float> long_frequencies_;  // kLongRope: of longer sequences
  std::vector<float> remembered_[2];     // [num_positions, 2, half_dim] of shorter, of longer sequences
};

}  // namespace quire
