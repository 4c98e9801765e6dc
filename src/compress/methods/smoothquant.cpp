#include "compress/methods/smoothquant.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "compress/blocks/row_strip.h"
#include "compress/methods/clip.h"
#include "tensor/formats/conversions.h"

namespace quire {
namespace {

constexpr float kLargestCode = 127;
constexpr int kAlphas = 21;

float alpha_at(int index) { return static_cast<float>(index) / (kAlphas - 1); }

float largest_of(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  return largest;
}

// Of every channel.
struct Reach {
  std::vector<float> inputs;
  std::vector<float> weights;
};

Reach reach_of(std::span<const FloatMatrix> matrices, const InputStatistics& input, const Folding& folding) {
  Reach reach = {std::vector<float>(static_cast<size_t>(folding.num_channels)),
                 std::vector<float>(static_cast<size_t>(folding.num_channels))};
  for (int64_t col = 0; col < input.cols; ++col) {
    const auto channel = static_cast<size_t>(folding.channel_of(col));
    reach.inputs[channel] = std::max(reach.inputs[channel], input.largest[static_cast<size_t>(col)]);
  }
  for (const FloatMatrix& matrix : matrices) {
    CHECK(matrix.cols == input.cols);
    for (int64_t row = 0; row < matrix.rows; ++row) {
      const std::span<const float> weights = matrix.row(row);
      for (int64_t col = 0; col < matrix.cols; ++col) {
        float& largest = reach.weights[static_cast<size_t>(folding.channel_of(col))];
        largest = std::max(largest, std::abs(weights[static_cast<size_t>(col)]));
      }
    }
  }
  return reach;
}

std::vector<float> factors_of(const Reach& reach, float alpha) {
  std::vector<float> factors;
  for (size_t i = 0; i < reach.inputs.size(); ++i) {
    const bool is_used = reach.inputs[i] > 0 && reach.weights[i] > 0;
    const float factor = is_used ? std::pow(reach.inputs[i], alpha) / std::pow(reach.weights[i], 1 - alpha) : 1.0f;
    factors.push_back(std::clamp(factor, 1e-5f, 1e5f));
  }
  return factors;
}

// The sample [rows, cols] divided by the factors, each row rounded to 8 bits.
std::vector<float> rounded_inputs(const InputStatistics& input, std::span<const float> column_factors) {
  std::vector<float> rounded(input.sample.size());
  const size_t cols = column_factors.size();
  for (size_t first = 0; first < rounded.size(); first += cols) {
    const std::span<float> row = std::span(rounded).subspan(first, cols);
    for (size_t i = 0; i < cols; ++i) row[i] = input.sample[first + i] / column_factors[i];
    const float scale = largest_of(row) / kLargestCode;
    for (float& x : row) x = scale > 0 ? scale * round_within(x / scale, -kLargestCode, kLargestCode) : 0;
  }
  return rounded;
}

// A strip's rows times the factors, each rounded to 8 bits.
std::vector<float> rounded_strip(const FloatMatrix& matrix, int64_t first_row, std::span<const float> column_factors) {
  std::vector<float> strip(static_cast<size_t>(matrix.cols * kStripRows));
  std::vector<float> row(column_factors.size());
  for (int64_t r = first_row; r < std::min(first_row + kStripRows, matrix.rows); ++r) {
    for (size_t i = 0; i < row.size(); ++i) row[i] = matrix.row(r)[i] * column_factors[i];
    const ScaleZero scale = scale_of_range(row, kW8A8Grid);
    for (size_t i = 0; i < row.size(); ++i) {
      strip[i * kStripRows + static_cast<size_t>(r - first_row)] = value_of(code_of(row[i], scale, kW8A8Grid), scale);
    }
  }
  return strip;
}

// What the strip gives for every row of inputs [rows, cols]: [rows][16].
std::vector<float> outputs_of(std::span<const float> strip, std::span<const float> inputs) {
  const auto cols = static_cast<int64_t>(strip.size()) / kStripRows;
  std::vector<float> outputs(inputs.size() / static_cast<size_t>(cols) * kStripRows);
  const WeightedSums<float> sums = {inputs.data(), cols, strip.data(), kStripRows, cols};
  sums.compute(static_cast<int64_t>(inputs.size()) / cols, outputs.data());
  return outputs;
}

}  // namespace

std::vector<float> smoothing_factors(std::span<const FloatMatrix> matrices, const InputStatistics& input,
                                     const Folding& folding, float alpha) {
  return factors_of(reach_of(matrices, input, folding), alpha);
}

float search_alpha(std::span<const FloatMatrix> matrices, const InputStatistics& input, const Folding& folding,
                   ThreadPool& threads) {
  CHECK(input.num_sample_rows() > 0);
  const Reach reach = reach_of(matrices, input, folding);
  std::vector<std::vector<float>> factors(kAlphas);  // of columns
  std::vector<std::vector<float>> inputs(kAlphas);
  threads.parallel_for(kAlphas, [&](int64_t i, int) {
    const auto at = static_cast<size_t>(i);
    factors[at] = factors_of_columns(folding, factors_of(reach, alpha_at(static_cast<int>(i))), input.cols);
    inputs[at] = rounded_inputs(input, factors[at]);
  });
  std::array<double, kAlphas> total = {};
  for (const FloatMatrix& matrix : matrices) {
    std::vector<std::array<double, kAlphas>> errors(static_cast<size_t>(num_strips(matrix.rows)));
    threads.parallel_for(num_strips(matrix.rows), [&](int64_t strip, int) {
      const int64_t first_row = strip * kStripRows;
      const std::vector<float> exact = outputs_of(load_strip(matrix, first_row, {}), input.sample);
      for (size_t i = 0; i < kAlphas; ++i) {
        const std::vector<float> rounded = outputs_of(rounded_strip(matrix, first_row, factors[i]), inputs[i]);
        double sum = 0;
        for (size_t o = 0; o < exact.size(); ++o) {
          const double difference = double{exact[o]} - double{rounded[o]};
          sum += difference * difference;
        }
        errors[static_cast<size_t>(strip)][i] = sum;
      }
    });
    for (const auto& of_strip : errors) {
      for (size_t i = 0; i < kAlphas; ++i) total[i] += of_strip[i];
    }
  }
  return alpha_at(static_cast<int>(std::ranges::min_element(total) - total.begin()));
}

}  // namespace quire
