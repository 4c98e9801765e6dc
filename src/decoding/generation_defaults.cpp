#include "decoding/generation_defaults.h"

#include <cmath>

#include "base/error.h"

namespace quire {
namespace {

SamplingParams take(SamplingParams params, const json::object& config) {
  const auto take_real = [&](const char* key, float& value) {
    value = static_cast<float>(find_double(config, key, value));
  };
  take_real("temperature", params.temperature);
  take_real("top_p", params.top_p);
  take_real("min_p", params.min_p);
  take_real("repetition_penalty", params.repetition_penalty);
  const int64_t top_k = find_int(config, "top_k", params.top_k);
  params.top_k = static_cast<int32_t>(top_k);
  if (params.top_k != top_k) fail(ErrorCode::kCorrupt, "top_k is {}; at most {} is expected", top_k, INT32_MAX);
  if (!find_bool(config, "do_sample", true)) params.temperature = 0.0f;
  return params;
}

// The shortest decimal number that reads back as this float: 0.8, not 0.800000012.
double shortest(float value) { return std::stod(fmt::format("{}", value)); }

}  // namespace

SamplingParams default_sampling() {
  SamplingParams params;
  params.temperature = 0.8f;
  params.top_k = 40;
  params.top_p = 0.95f;
  return params;
}

SamplingParams with_generation_config(SamplingParams base, const json::object& generation_config) {
  try {
    return take(std::move(base), generation_config);
  } catch (const Error& error) {
    fail(error.code(), "generation_config.json: {}", error.what());
  }
}

json::object to_json(const SamplingParams& params) {
  return {{"temperature", shortest(params.temperature)},
          {"top_k", params.top_k},
          {"top_p", shortest(params.top_p)},
          {"min_p", shortest(params.min_p)},
          {"typical_p", shortest(params.typical_p)},
          {"repetition_penalty", shortest(params.repetition_penalty)},
          {"presence_penalty", shortest(params.presence_penalty)},
          {"frequency_penalty", shortest(params.frequency_penalty)},
          {"dry_multiplier", shortest(params.dry.multiplier)},
          {"dry_base", shortest(params.dry.base)},
          {"dry_allowed_length", params.dry.allowed_length},
          {"dry_penalty_last_n", params.dry.penalty_last_n},
          {"top_n_sigma", shortest(params.top_n_sigma)},
          {"dynatemp_range", shortest(params.dynatemp.range)},
          {"dynatemp_exponent", shortest(params.dynatemp.exponent)},
          {"xtc_probability", shortest(params.xtc.probability)},
          {"xtc_threshold", shortest(params.xtc.threshold)},
          {"mirostat", params.mirostat.version},
          {"mirostat_tau", shortest(params.mirostat.tau)},
          {"mirostat_eta", shortest(params.mirostat.eta)}};
}

}  // namespace quire
