#include "compress/calibration/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "models/layers/linear.h"
#include "models/running/test_models.h"

namespace quire {
namespace {

using test::as_bytes;
using test::tiny_gguf;
using test::TinyGguf;

constexpr int64_t kInner = 96;

struct Tiny {
  explicit Tiny(const TinyGguf& model)
      : image(tiny_gguf(model)), checkpoint(Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf")) {}
  std::string image;
  std::unique_ptr<Checkpoint> checkpoint;
};

// Windows of different lengths.
std::vector<std::vector<int32_t>> windows() {
  std::vector<std::vector<int32_t>> result;
  for (const int length : {60, 33, 7}) {
    std::vector<int32_t>& window = result.emplace_back();
    for (int i = 0; i < length; ++i) window.push_back((i * 7 + length * i * i) % 64);
  }
  return result;
}

CalibrationOptions options(bool sees_replaced, int num_threads = 2) {
  return {.wanted = {.products = true, .sample_rows = 10}, .sees_replaced = sees_replaced, .num_threads = num_threads};
}

// All layers' statistics.
std::vector<CalibratedLayer> calibrate(Calibrator& calibrator, const std::function<void(CalibratedLayer&)>& replace) {
  std::vector<CalibratedLayer> layers;
  while (calibrator.next_layer() < calibrator.num_layers()) {
    layers.push_back(calibrator.see());
    if (replace) replace(layers.back());
    calibrator.pass();
  }
  return layers;
}

void expect_same(const std::vector<CalibratedLayer>& a, const std::vector<CalibratedLayer>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t layer = 0; layer < a.size(); ++layer) {
    ASSERT_EQ(a[layer].inputs.size(), b[layer].inputs.size());
    for (size_t i = 0; i < a[layer].inputs.size(); ++i) {
      const InputStatistics& left = a[layer].inputs[i];
      const InputStatistics& right = b[layer].inputs[i];
      EXPECT_EQ(left.square_sums, right.square_sums);
      EXPECT_EQ(left.largest, right.largest);
      EXPECT_EQ(left.products, right.products);
      EXPECT_EQ(left.sample, right.sample);
    }
  }
}

std::vector<float> floats_of(const Checkpoint& checkpoint, const std::string& name) {
  const TensorView view = checkpoint.tensor(name);
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dequantize(view, values);
  return values;
}

TEST(Calibrator, SeesEachInputOnce) {
  const Tiny tiny({.layers = 2});
  Calibrator calibrator(*tiny.checkpoint, windows(), options(false));
  const CalibratedLayer layer = calibrator.see();
  ASSERT_EQ(layer.matrices.size(), 7u);
  ASSERT_EQ(layer.inputs.size(), 4u);
  const std::vector<size_t> expected = {0, 0, 0, 1, 2, 2, 3};
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(layer.matrices[i].input, expected[i]) << layer.matrices[i].name;
  EXPECT_EQ(layer.matrices[6].name, "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(layer.matrices[6].cols, kInner);
  for (const InputStatistics& input : layer.inputs) {
    EXPECT_EQ(input.num_rows, 100);
    EXPECT_EQ(input.num_sample_rows(), 10);
  }
}

// The norm of the first layer makes its input of the embedding, so it can be computed here.
TEST(Calibrator, AddsUpWhatTheFormulaSays) {
  const Tiny tiny({.layers = 1});
  Calibrator calibrator(*tiny.checkpoint, windows(), options(false));
  const CalibratedLayer layer = calibrator.see();
  const InputStatistics& input = layer.inputs[0];
  const std::vector<float> table = floats_of(*tiny.checkpoint, "model.embed_tokens.weight");
  const std::vector<float> norm = floats_of(*tiny.checkpoint, "model.layers.0.input_layernorm.weight");
  const size_t cols = norm.size();
  std::vector<double> products(cols * cols), largest(cols);
  size_t row = 0;
  for (const std::vector<int32_t>& window : windows()) {
    for (const int32_t token : window) {
      const float* const embedded = &table[static_cast<size_t>(token) * cols];
      double squares = 0;
      for (size_t i = 0; i < cols; ++i) squares += static_cast<double>(embedded[i]) * embedded[i];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
      std::vector<double> x(cols);
      for (size_t i = 0; i < cols; ++i) x[i] = embedded[i] * scale * norm[i];
      for (size_t i = 0; i < cols; ++i) {
        largest[i] = std::max(largest[i], std::abs(x[i]));
        for (size_t j = 0; j < cols; ++j) products[i * cols + j] += x[i] * x[j];
      }
      for (size_t i = 0; row % 10 == 0 && i < cols; ++i) EXPECT_NEAR(input.sample[row / 10 * cols + i], x[i], 1e-4);
      ++row;
    }
  }
  for (size_t i = 0; i < cols; ++i) {
    EXPECT_NEAR(input.largest[i], largest[i], 1e-4);
    EXPECT_NEAR(input.square_sums[i], products[i * cols + i], 1e-3);
    for (size_t j = 0; j < cols; ++j) EXPECT_NEAR(input.products[i * cols + j], products[i * cols + j], 2e-3);
  }
}

TEST(Calibrator, GivesTheSameForAnyNumberOfThreads) {
  const Tiny tiny({.layers = 2, .format = Format::kQ8_0});
  Calibrator one(*tiny.checkpoint, windows(), options(true, 1)), three(*tiny.checkpoint, windows(), options(true, 3));
  expect_same(calibrate(one, {}), calibrate(three, {}));
  EXPECT_EQ(one.see_head().products, three.see_head().products);
}

TEST(Calibrator, SeesWhatReplacedMatricesGive) {
  const Tiny tiny({.layers = 2, .format = Format::kQ8_0});
  Calibrator plain(*tiny.checkpoint, windows(), options(false));
  const std::vector<CalibratedLayer> original = calibrate(plain, {});
  const auto replaced_by = [&](float factor) {
    Calibrator calibrator(*tiny.checkpoint, windows(), options(true));
    return calibrate(calibrator, [&](CalibratedLayer& layer) {
      for (const CalibratedMatrix& matrix : layer.matrices) {
        std::vector<float> values = floats_of(*tiny.checkpoint, matrix.name);
        std::ranges::for_each(values, [&](float& value) { value *= factor; });
        calibrator.overlay().replace(matrix.name, {matrix.rows, matrix.cols}, std::move(values));
      }
    });
  };
  expect_same(replaced_by(1.0f), original);
  const std::vector<CalibratedLayer> halves = replaced_by(0.5f);
  EXPECT_EQ(halves[0].inputs[0].square_sums, original[0].inputs[0].square_sums);
  EXPECT_NE(halves[1].inputs[0].square_sums, original[1].inputs[0].square_sums);
}

TEST(Calibrator, SeesEachExpertsRows) {
  const Tiny tiny({.layers = 1, .experts = 4, .experts_used = 2});
  Calibrator calibrator(*tiny.checkpoint, windows(), options(false));
  const CalibratedLayer layer = calibrator.see();
  ASSERT_EQ(layer.matrices.size(), 4u + 1 + 4 * 3);
  int64_t num_rows = 0;
  for (const CalibratedMatrix& matrix : layer.matrices) {
    if (matrix.name.ends_with("w2.weight")) num_rows += layer.inputs[matrix.input].num_rows;
  }
  EXPECT_EQ(num_rows, 100 * 2);
}

TEST(Calibrator, TakesTheMemoryOfALayerHoweverManyThereAre) {
  const auto bytes_of = [](int64_t layers) {
    const Tiny tiny({.layers = layers});
    Calibrator calibrator(*tiny.checkpoint, windows(), options(true));
    calibrate(calibrator, {});
    EXPECT_EQ(calibrator.residual_bytes(), 100 * 64 * sizeof(float));
    return calibrator.layer_bytes();
  };
  EXPECT_EQ(bytes_of(3), bytes_of(5));
}

TEST(Calibrator, RefusesWindowsThatTheModelCannotRead) {
  const Tiny tiny({.layers = 1, .context = 32});
  EXPECT_EQ(test::error_of([&] { Calibrator(*tiny.checkpoint, windows(), options(false)); }),
            "tiny.gguf: the calibration text has 3 windows of up to 60 tokens, expected 1 or more of up to 32");
}

}  // namespace
}  // namespace quire
