// Gathering, routing and the way back from the experts, against the reference table.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device/device_array.h"

namespace quire {
namespace {

class CudaExperts : public GpuTest {
 protected:
  CudaExperts() { fill_experts_cuda(cuda_); }

  ThreadPool pool_{1};
  Exec host_ = make_exec(pool_);
  Exec exec_ = gpu_exec();
  Kernels cuda_{};
  std::mt19937 random_{5};
};

TEST_F(CudaExperts, GatherRows) {
  for (size_t words : {1, 3, 4, 17, 64, 1028, 4100}) {
    std::vector<int32_t> from(words * 9);
    for (int32_t& x : from) x = static_cast<int32_t>(random_());
    const std::vector<int32_t> rows = {8, 0, 0, 5, 3, 8, 1};
    const DeviceArray<int32_t> device_from(from);
    const DeviceArray<int32_t> device_rows(rows);
    DeviceArray<int32_t> to(rows.size() * words);
    cuda_.gather_rows(exec_, reinterpret_cast<const std::byte*>(device_from.data()), words * 4, device_rows.data(),
                      static_cast<int64_t>(rows.size()), reinterpret_cast<std::byte*>(to.data()));
    const std::vector<int32_t> got = to.download();
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(std::memcmp(&got[i * words], &from[static_cast<size_t>(rows[i]) * words], words * 4), 0) << words;
    }
  }
}

struct Routed {
  std::vector<int32_t> slots, rows, first;
  std::vector<float> weights;
};

Routed route_on_host(const Exec& exec, const Routing& routing, std::vector<float> logits, int64_t num_rows) {
  const auto num_slots = static_cast<size_t>(num_rows * routing.per_row);
  Routed out{std::vector<int32_t>(num_slots), std::vector<int32_t>(num_slots),
             std::vector<int32_t>(static_cast<size_t>(routing.num_experts) + 1), std::vector<float>(num_slots)};
  reference_kernels().route_experts(exec, routing, logits.data(), num_rows,
                                    {out.slots.data(), out.weights.data(), out.rows.data(), out.first.data()});
  return out;
}

Routed route_on_device(const Exec& exec, const Kernels& cuda, const Routing& routing, const std::vector<float>& logits,
                       int64_t num_rows) {
  const auto num_slots = static_cast<size_t>(num_rows * routing.per_row);
  DeviceArray<float> device_logits(logits);
  DeviceArray<int32_t> slots(num_slots);
  DeviceArray<float> weights(num_slots);
  DeviceArray<int32_t> rows(num_slots);
  DeviceArray<int32_t> first(static_cast<size_t>(routing.num_experts) + 1);
  cuda.route_experts(exec, routing, device_logits.data(), num_rows,
                     {slots.data(), weights.data(), rows.data(), first.data()});
  return {slots.download(), rows.download(), first.download(), weights.download()};
}

void expect_same_weights(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i])) {
      EXPECT_TRUE(std::isnan(got[i]));
    } else {
      EXPECT_NEAR(got[i], want[i], 1e-6f);
    }
  }
}

TEST_F(CudaExperts, RouteExperts) {
  const struct {
    int num_experts, per_row;
    int64_t num_rows;
  } shapes[] = {{8, 2, 1}, {8, 2, 7}, {8, 8, 5}, {60, 4, 33}, {128, 8, 300}, {1, 1, 3}, {33, 32, 4}, {16, 3, 0}};
  for (const auto [num_experts, per_row, num_rows] : shapes) {
    for (const bool normalize : {true, false}) {
      const Routing routing{num_experts, per_row, normalize};
      std::vector<float> logits(static_cast<size_t>(num_rows * num_experts));
      std::normal_distribution<float> normal(0, 2);
      for (float& x : logits) x = normal(random_);
      const Routed want = route_on_host(host_, routing, logits, num_rows);
      const Routed got = route_on_device(exec_, cuda_, routing, logits, num_rows);
      EXPECT_EQ(got.slots, want.slots) << num_experts;
      EXPECT_EQ(got.rows, want.rows) << num_experts;
      EXPECT_EQ(got.first, want.first) << num_experts;
      expect_same_weights(got.weights, want.weights);
    }
  }
}

TEST_F(CudaExperts, RoutesEqualLogitsAndNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Routing routing{6, 3, true};
  const std::vector<float> logits = {
      1,    1,    1,    1,    1,    1,     // the lower numbers
      0,    2,    0,    2,    0,    2,     //
      1,    nan,  2,    3,    0,    -1,    // all NaN after the softmax
      inf,  0,    1,    2,    3,    4,     // likewise
      -inf, -inf, -inf, -inf, -inf, 5,     // zeros after the first
      -1e4, -2e4, 3e4,  -inf, 0,    -3e4,  //
  };
  const Routed want = route_on_host(host_, routing, logits, 6);
  const Routed got = route_on_device(exec_, cuda_, routing, logits, 6);
  EXPECT_EQ(got.slots, want.slots);
  EXPECT_EQ(got.rows, want.rows);
  EXPECT_EQ(got.first, want.first);
  expect_same_weights(got.weights, want.weights);
}

TEST_F(CudaExperts, AddExpertRows) {
  for (int64_t dim : {1, 7, 96, 1028, 2050}) {
    const int64_t rows = 4;
    const int per_row = 3;
    const std::vector<int32_t> slots = {0, 5, 9, 1, 6, 10, 2, 3, 11, 4, 7, 8};
    std::normal_distribution<float> normal;
    std::vector<float> from(static_cast<size_t>(12 * dim));
    std::vector<float> weights(slots.size());
    std::vector<float> y(static_cast<size_t>(rows * dim));
    for (auto* values : {&from, &weights, &y}) {
      for (float& x : *values) x = normal(random_);
    }
    const DeviceArray<float> device_from(from);
    const DeviceArray<float> device_weights(weights);
    const DeviceArray<int32_t> device_slots(slots);
    DeviceArray<float> device_y(y);
    for (const auto& [first, last] : {std::pair{0, 5}, {5, 12}}) {
      ExpertRows experts{from.data() + first * dim, first, last, slots.data(), weights.data(), per_row};
      reference_kernels().add_expert_rows(host_, experts, rows, dim, y.data());
      experts.from = device_from.data() + first * dim;
      experts.slots = device_slots.data();
      experts.weights = device_weights.data();
      cuda_.add_expert_rows(exec_, experts, rows, dim, device_y.data());
    }
    EXPECT_EQ(device_y.download(), y) << dim;
  }
}

}  // namespace
}  // namespace quire
