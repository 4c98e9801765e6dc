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

void check_id(const char* field, int32_t id, int64_t vocab_size) {
  if (id < 0 || id >= vocab_size) {
    fail(ErrorCode::kInvalidArgument, "{} names token {}, the vocabulary has ids 0 to {}", field, id, vocab_size - 1);
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
    check_id("logit_bias", id, vocab_size);
    check_range("logit_bias", bias, -100.0, 100.0);
  }
  for (const int32_t id : logprob_token_ids) check_id("logprob_token_ids", id, vocab_size);
  if (allowed_token_ids != nullptr) {
    for (const int32_t id : *allowed_token_ids) check_id("allowed_token_ids", id, vocab_size);
  }
  if (bad_words != nullptr) {
    for (const std::vector<int32_t>& word : *bad_words) {
      for (const int32_t id : word) check_id("bad_words", id, vocab_size);
    }
  }
  check_range("top_n_sigma", top_n_sigma, -1.0, 100.0);
  check_range("dynatemp_range", dynatemp.range, 0.0, 100.0);
  check_range("dynatemp_exponent", dynatemp.exponent, 0.0, 100.0);
  check_range("dry_multiplier", dry.multiplier, 0.0, 100.0);
  check_range("dry_base", dry.base, 1.0, 100.0);
  check_range("dry_allowed_length", dry.allowed_length, 0, 1 << 30);
  check_range("dry_penalty_last_n", dry.penalty_last_n, -1, 1 << 30);
  check_range("xtc_probability", xtc.probability, 0.0, 1.0);
  check_range("xtc_threshold", xtc.threshold, 0.0, 1.0);
  check_range("mirostat", mirostat.version, 0, 2);
  check_range("mirostat_tau", mirostat.tau, 0.0, 100.0);
  check_range("mirostat_eta", mirostat.eta, 0.0, 10.0);
}

}  // namespace quire
