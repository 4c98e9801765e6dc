// Command line flags that several commands share. Each flag carries the field's names (llama.cpp's and vLLM's), and can
// be set by an environment variable QUIRE_<LONG_NAME>; the command line wins.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "decoding/sampling_params.h"
#include "models/running/model_runner.h"
#include "models/synthetic/synthetic_checkpoint.h"

namespace quire {

// Adds the environment variable to an option, from its first long name.
CLI::Option* with_environment(CLI::Option* option);

// An option whose one argument is a list with commas: --depth 0,512,4096.
template <typename T>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<T>& values, const std::string& text) {
  return app.add_option(name, values, text)->delimiter(',')->allow_extra_args(false);
}

// "f16", "bfloat16" ...: throws Error naming those this build knows.
Format parse_kv_type(const std::string& name);

struct ModelOptions {
  std::string model;
  std::string shape;  // instead of a model: random weights of this shape
  std::string weights = "Q4_0";
  std::string context_size;
  std::string memory;
  std::string kv_type;
  std::string k_type;
  std::string v_type;
  std::string device;
  std::string isa;
  bool one_answer = true;
  std::string tuning = "auto";
  int threads = 0;
  int tensor_parallel = 1;
  int64_t max_sequences = 1;
  int64_t max_batch_tokens = 512;

  void add_model(CLI::App& app);    // the positional MODEL
  void add_shape(CLI::App& app);    // --shape and --format, after add_model: then MODEL may be left out
  void add_limits(CLI::App& app);   // context, sequences, KV types, memory
  void add_machine(CLI::App& app);  // threads, kernel table
  void add_compute(CLI::App& app);  // these, the table's tuning, batch size
  RunnerOptions runner_options() const;
  // The model, or weights of the shape: to be measured, or only to plan for. Throws CLI::RequiredError for neither.
  std::unique_ptr<Checkpoint> open(SyntheticContent content = SyntheticContent::kRandom) const;
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
