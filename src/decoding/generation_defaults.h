// What sampling parameters are when a request does not name them: one place for the command line, the page and the API.
#pragma once

#include "base/json.h"
#include "decoding/sampling_params.h"

namespace quire {

// Quire's own, where the model says nothing: temperature 0.8, the 40 likeliest tokens, nucleus 0.95.
SamplingParams default_sampling();
// `base` with what a model's generation_config.json says in its place. Throws Error naming the file and the key for a
// value of another type.
SamplingParams with_generation_config(SamplingParams base, const json::object& generation_config);
// The parameters that have defaults, by the names of request fields.
json::object to_json(const SamplingParams& params);

}  // namespace quire
