#include "decoding/generation_defaults.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

SamplingParams of(const char* config) {
  return with_generation_config(default_sampling(), parse_json(config, "test").as_object());
}

TEST(GenerationDefaults, TheModelsFileWinsOverQuiresOwn) {
  const SamplingParams own = default_sampling();
  EXPECT_EQ(json::serialize(to_json(own)),
            R"({"temperature":8E-1,"top_k":40,"top_p":9.5E-1,"min_p":0E0,"typical_p":1E0,"repetition_penalty":1E0,)"
            R"("presence_penalty":0E0,"frequency_penalty":0E0,"dry_multiplier":0E0,"dry_base":1.75E0,)"
            R"("dry_allowed_length":2,"dry_penalty_last_n":-1,"top_n_sigma":0E0,"dynatemp_range":0E0,)"
            R"("dynatemp_exponent":1E0,"xtc_probability":0E0,"xtc_threshold":1E-1,"mirostat":0,)"
            R"("mirostat_tau":5E0,"mirostat_eta":1E-1})");
  EXPECT_EQ(to_json(of("{}")), to_json(own));
  const SamplingParams model =
      of(R"({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "repetition_penalty": 1.05})");
  EXPECT_FLOAT_EQ(model.temperature, 0.6f);
  EXPECT_FLOAT_EQ(model.top_p, 0.9f);
  EXPECT_EQ(model.top_k, 20);
  EXPECT_FLOAT_EQ(model.min_p, 0.01f);
  EXPECT_FLOAT_EQ(model.repetition_penalty, 1.05f);
  EXPECT_FLOAT_EQ(of(R"({"do_sample": false, "temperature": 0.6})").temperature, 0.0f);
  EXPECT_FLOAT_EQ(of(R"({"do_sample": true})").temperature, own.temperature);
}

TEST(GenerationDefaults, AWrongTypeNamesTheFileAndTheKey) {
  // The last would be 40 in 32 bits.
  for (const char* config : {R"({"top_k": "many"})", R"({"top_k": 4294967336})"}) {
    try {
      of(config);
      ADD_FAILURE() << config;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("generation_config.json"), std::string::npos) << message;
      EXPECT_NE(message.find("top_k"), std::string::npos) << message;
    }
  }
}

}  // namespace
}  // namespace quire
