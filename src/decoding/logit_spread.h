// Steps that look at how far the logits are spread. Pure functions.
#pragma once

#include <span>

#include "decoding/sampling_params.h"

namespace quire {

// Top-n-sigma (Tang et al., arXiv 2411.07641): the least logit that is kept, n standard deviations of the finite logits
// below the greatest. `top`: the greatest, finite.
float top_n_sigma_floor(std::span<const float> logits, float top, float n);

// Dynamic temperature (llama.cpp, pull request 4972): between temperature - range and temperature + range, by the
// entropy of the tokens' distribution as a share of the greatest possible one, to the power of `exponent`. At least
// kMinTemperature. `top`: the greatest logit, finite.
float dynamic_temperature(std::span<const float> logits, float top, float temperature, const DynamicTemperature& by);

}  // namespace quire
