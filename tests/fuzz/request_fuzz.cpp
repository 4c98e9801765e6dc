// Any bytes as the body of each inference request: it is refused with an ApiError that names a field, or it is read.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/api_error.h"
#include "server/apis/apis.h"
#include "server/apis/error_form.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quire;
  static const Limits limits;
  static const SamplingParams sampling;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Api* const api : apis()) {
    for (const bool allow_templates : {false, true}) {
      try {
        const ApiRequest request = parse_request(body, *api,
                                                 {.limits = limits,
                                                  .default_sampling = sampling,
                                                  .vocab_size = 512,
                                                  .allow_request_templates = allow_templates});
        if (request.num_choices < 1 || request.num_choices > limits.choices) __builtin_trap();
        request.sampling.validate(512);
      } catch (const ApiError& error) {
        if (error.status() < 400 || error.status() >= 500 || kOpenAiErrors.body(error).empty()) __builtin_trap();
      }
    }
  }
  return 0;
}
