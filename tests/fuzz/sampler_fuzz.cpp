// Any parameters that validate() lets through and any logits, a few tokens in a row: the sampler ends, its tokens are
// possible ones with finite log probabilities, and equal seeds choose equal tokens.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "base/error.h"
#include "decoding/sampler.h"

namespace quire {
namespace {

constexpr int64_t kMaxVocab = 600;
constexpr int kMaxSteps = 4;

// Values taken from the input's front; zeros when it has ended.
class Bytes {
 public:
  explicit Bytes(std::span<const uint8_t> left) : left_(left) {}

  template <typename T>
  T take() {
    T value{};
    const size_t size = std::min(sizeof value, left_.size());
    if (size > 0) std::memcpy(&value, left_.data(), size);
    left_ = left_.subspan(size);
    return value;
  }

  bool is_empty() const { return left_.empty(); }

 private:
  std::span<const uint8_t> left_;
};

void require(bool holds) {
  if (!holds) __builtin_trap();
}

std::shared_ptr<const TokenSequences> take_sequences(Bytes& bytes, size_t least) {
  TokenSequences sequences(bytes.take<uint8_t>() % 4);
  for (std::vector<int32_t>& sequence : sequences) {
    sequence.resize(least + bytes.take<uint8_t>() % 3);
    for (int32_t& id : sequence) id = bytes.take<uint8_t>();
  }
  std::ranges::sort(sequences);
  return std::make_shared<const TokenSequences>(std::move(sequences));
}

// Behind what inputs held before, and only where a byte says so.
void take_further_steps(Bytes& bytes, SamplingParams& params) {
  const auto steps = bytes.take<uint8_t>();
  if ((steps & 1) != 0) {
    params.dry.multiplier = bytes.take<float>();
    params.dry.base = bytes.take<float>();
    params.dry.allowed_length = bytes.take<int8_t>();
    params.dry.penalty_last_n = bytes.take<int8_t>();
    params.dry.breakers = take_sequences(bytes, 1);
  }
  if ((steps & 2) != 0) params.xtc = {.probability = bytes.take<float>(), .threshold = bytes.take<float>()};
  if ((steps & 4) != 0) {
    params.mirostat.version = bytes.take<uint8_t>() % 4;
    params.mirostat.tau = bytes.take<float>();
    params.mirostat.eta = bytes.take<float>();
  }
  if ((steps & 8) != 0) params.dynatemp = {.range = bytes.take<float>(), .exponent = bytes.take<float>()};
  if ((steps & 16) != 0) params.top_n_sigma = bytes.take<float>();
  if ((steps & 32) != 0) params.bad_words = take_sequences(bytes, 0);
  if ((steps & 64) != 0) {
    std::vector<int32_t> allowed;
    for (int left = bytes.take<uint8_t>() % 9; left > 0; --left) allowed.push_back(bytes.take<uint16_t>());
    params.allowed_token_ids = std::make_shared<const std::vector<int32_t>>(std::move(allowed));
  }
}

SamplingParams take_params(Bytes& bytes, int64_t vocab_size) {
  SamplingParams params;
  params.temperature = bytes.take<float>();
  params.top_p = bytes.take<float>();
  params.min_p = bytes.take<float>();
  params.typical_p = bytes.take<float>();
  params.repetition_penalty = bytes.take<float>();
  params.presence_penalty = bytes.take<float>();
  params.frequency_penalty = bytes.take<float>();
  params.top_k = bytes.take<int32_t>();
  params.min_tokens = bytes.take<uint8_t>() % 3;
  params.num_logprobs = static_cast<int32_t>(bytes.take<uint16_t>() % (vocab_size + 2)) - 1;
  for (int left = bytes.take<uint8_t>() % 4; left > 0; --left) {
    const int32_t id = bytes.take<uint16_t>();
    params.logit_bias.emplace_back(id, bytes.take<float>());
  }
  params.seed = bytes.take<uint64_t>();
  take_further_steps(bytes, params);
  return params;
}

void check_token(const SampledToken& token, std::span<const float> logits, int num_logprobs) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  require(token.id >= 0 && static_cast<size_t>(token.id) < logits.size());
  require(std::isfinite(logits[static_cast<size_t>(token.id)]));
  if (num_logprobs < 0) return;
  require(std::isfinite(token.logprob));
  require(token.rank >= 0 && static_cast<size_t>(token.rank) < logits.size());
  require(token.top.size() == static_cast<size_t>(num_logprobs));
  float last = kInfinity;
  for (const TokenLogprob& top : token.top) {
    require(top.logprob <= last && top.logprob < kInfinity);
    last = top.logprob;
  }
}

}  // namespace
}  // namespace quire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire;
  Bytes bytes({data, size});
  const int64_t vocab_size = 1 + bytes.take<uint16_t>() % kMaxVocab;
  const SamplingParams params = take_params(bytes, vocab_size);
  try {
    params.validate(vocab_size);
  } catch (const Error&) {
    return 0;
  }
  const std::vector<int32_t> prompt = {0, static_cast<int32_t>(vocab_size - 1), 0};
  const std::vector<int32_t> eog_ids = {static_cast<int32_t>(vocab_size / 2), 1 << 20};
  Sampler sampler(params, 0, prompt, eog_ids);
  Sampler again(params, 1, prompt, eog_ids);
  SamplerScratch scratch(vocab_size);
  SamplerScratch other_scratch(vocab_size);
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  for (int step = 0; step < kMaxSteps; ++step) {
    // After the end of the input the previous row is sampled again.
    for (float& logit : logits) {
      if (bytes.is_empty()) break;
      logit = bytes.take<float>();
    }
    if (const auto row = sampler.device_sampling())
      require(row->temperature == 0.0f || row->temperature >= kMinTemperature);
    const std::optional<SampledToken> token = sampler.sample(logits, scratch);
    const std::optional<SampledToken> same = again.sample(logits, other_scratch);
    require(token.has_value() == same.has_value());
    require(token.has_value() || sampler.num_generated() <= step);
    if (!token) continue;
    require(token->id == same->id);
    check_token(*token, logits, params.num_logprobs);
    const std::optional<SampledToken> report = report_token(logits, token->id, params.num_logprobs + 1, scratch);
    require(report.has_value() && std::isfinite(report->logprob));
  }
  return 0;
}
