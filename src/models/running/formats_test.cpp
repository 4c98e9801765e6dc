// Formats without a kernel of their own are decoded to floats: in models of nothing else, beside fast formats, and as
// experts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::Loaded;
using test::run;
using test::sequence;
using test::TinyGguf;

// How far logits may lie from the reference table's, relative to the largest.
constexpr double kOfFloats = 1e-4;
constexpr double kOfRoundedRows = 0.05;  // int8 activations: a value near the middle of two codes may go either way

struct Subject {
  const char* name;
  TinyGguf model;
  double bound;
};

const Subject kSubjects[] = {
    {"IQ3_S",
     {.hidden = 256, .inner = 256, .layers = 1, .heads = 16, .kv_heads = 4, .format = Format::kIQ3_S},
     kOfFloats},
    {"NVFP4", {.hidden = 128, .inner = 192, .heads = 8, .format = Format::kNVFP4}, kOfFloats},
    {"IQ3_S_beside_Q8_0",
     {.hidden = 256, .inner = 256, .layers = 1, .heads = 16, .format = Format::kQ8_0, .up_format = Format::kIQ3_S},
     kOfRoundedRows},
    {"NVFP4_beside_Q4_K",
     {.hidden = 256, .inner = 256, .layers = 1, .heads = 16, .format = Format::kQ4_K, .up_format = Format::kNVFP4},
     kOfRoundedRows},
    {"experts_in_NVFP4",
     {.architecture = "qwen3moe", .inner = 128, .experts = 8, .qk_norm = true, .format = Format::kNVFP4},
     kOfFloats},
    {"experts_in_NVFP4_beside_Q8_0",
     {.architecture = "qwen3moe",
      .inner = 128,
      .experts = 8,
      .qk_norm = true,
      .format = Format::kQ8_0,
      .up_format = Format::kNVFP4},
     kOfRoundedRows},
};

std::vector<std::string> host_tables() {
  std::vector<std::string> names;
  for (const Kernels* kernels : runnable_kernels()) names.emplace_back(kernels->name);
  return names;
}

class FormatsTest : public testing::TestWithParam<std::tuple<size_t, std::string>> {
 protected:
  const Subject& subject() const { return kSubjects[std::get<0>(GetParam())]; }
  const std::string& isa() const { return std::get<1>(GetParam()); }
};

TEST_P(FormatsTest, OneAnswerNearTheReferences) {
  std::vector<float> expected;
  for (const int num_threads : {1, 3}) {
    Loaded loaded(subject().model, isa(), num_threads);
    if (expected.empty()) expected = run(*loaded.runner, sequence(70, 1, 0), 70);
    SCOPED_TRACE(num_threads);
    test::expect_one_answer(*loaded.runner, expected);
  }
  Loaded reference(subject().model, "reference", 2);
  const std::vector<float> plain = run(*reference.runner, sequence(70, 1, 0), 70);
  ASSERT_EQ(plain.size(), expected.size());
  double largest = 0;
  double apart = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    ASSERT_TRUE(std::isfinite(expected[i])) << i;
    largest = std::max(largest, std::abs(double{plain[i]}));
    apart = std::max(apart, std::abs(double{plain[i]} - double{expected[i]}));
  }
  RecordProperty("apart", std::to_string(apart / largest));
  EXPECT_LE(apart, subject().bound * largest);
}

// A table of a device has no kernels of the host's to fall back on.
TEST(Formats, CudaRefusesByName) {
  if (!test::has_cuda()) GTEST_SKIP() << "no CUDA table in this build or on this machine";
  const std::string error = test::error_of([] { Loaded(kSubjects[0].model, "cuda", 1); });
  EXPECT_NE(error.find("is IQ3_S, which kernel table cuda does not multiply; it knows F32, F16"), std::string::npos)
      << error;
  EXPECT_NE(error.find("--device cpu"), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(Models, FormatsTest,
                         testing::Combine(testing::Range(size_t{0}, std::size(kSubjects)),
                                          testing::ValuesIn(host_tables())),
                         [](const auto& tested) {
                           return std::string(kSubjects[std::get<0>(tested.param)].name) + "_" +
                                  std::get<1>(tested.param);
                         });

}  // namespace
}  // namespace quire
