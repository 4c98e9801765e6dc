// Command line flags that several commands share. Each flag carries the field's names (llama.cpp's and vLLM's), and can
// be set by an environment variable QUIRE_<LONG_NAME>; the command line wins.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "decoding/sampling_params.h"
#include "models/model_runner.h"

namespace quire {

// Adds the environment variable to an option, from its first long name.
CLI::Option* with_environment(CLI::Option* option);

struct ModelOptions {
  std::string model;
  std::string context_size;
  std::string memory;
  std::string kv_type;
  std::string k_type;
  std::string v_type;
  std::string isa;
  int threads = 0;
  int64_t max_sequences = 1;
  int64_t max_batch_tokens = 512;

  void add_model(CLI::App& app);    // the positional MODEL
  void add_limits(CLI::App& app);   // context, sequences, KV types, memory
  void add_compute(CLI::App& app);  // threads, kernel table, batch size
  RunnerOptions runner_options() const;
};

struct SamplingOptions {
  SamplingParams params;
  std::vector<std::string> logit_bias;  // "ID:BIAS"
  std::vector<std::string> stop;
  int64_t max_tokens = -1;
  bool ignore_eos = false;
  int64_t seed = -1;  // negative: a new one each time
  CLI::App* app = nullptr;

  void add(CLI::App& app);
  // Values the user gave win over the model's generation_config.json, and that over Quire's own defaults.
  SamplingParams resolve(const json::object* generation_config) const;

 private:
  void take_defaults(const json::object& generation_config, SamplingParams& resolved) const;
};

}  // namespace quire
