#include "decoding/sampling_params.h"

#include "base/error.h"

namespace quire {
namespace {

void check_range(const char* field, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, it must be between {} and {}", field, value, low, high);
  }
}

void check_above_zero(const char* field, float value, float high) {
  if (!(value > 0.0f && value <= high)) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, it must be above 0 and at most {}", field, value, high);
  }
}

}  // namespace

void SamplingParams::validate(int64_t vocab_size) const {
  check_range("temperature", temperature, 0.0, 100.0);
  check_range("top_k", top_k, -1, 1 << 30);
  check_above_zero("top_p", top_p, 1.0f);
  check_range("min_p", min_p, 0.0, 1.0);
  check_above_zero("typical_p", typical_p, 1.0f);
  check_above_zero("repetition_penalty", repetition_penalty, 10.0f);
  check_range("presence_penalty", presence_penalty, -2.0, 2.0);
  check_range("frequency_penalty", frequency_penalty, -2.0, 2.0);
  check_range("min_tokens", min_tokens, 0, 1 << 30);
  check_range("logprobs", num_logprobs, -1, static_cast<double>(vocab_size));
  for (const auto& [id, bias] : logit_bias) {
    if (id < 0 || id >= vocab_size) {
      fail(ErrorCode::kInvalidArgument, "logit_bias names token {}, the vocabulary has ids 0 to {}", id,
           vocab_size - 1);
    }
    check_range("logit_bias", bias, -100.0, 100.0);
  }
}

}  // namespace quire
