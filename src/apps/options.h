// Command line flags that several commands share. Each flag carries the field's names (llama.cpp's and vLLM's), and can
// be set by an environment variable QUIRE_<LONG_NAME>; the command line wins.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/flags/command.h"
#include "decoding/generation_defaults.h"
#include "dialogue/text_processor.h"
#include "models/running/model_runner.h"
#include "models/synthetic/synthetic_checkpoint.h"

namespace quire {

// "f16", "bfloat16" ...; nothing for a name that this build does not know.
std::optional<Format> find_kv_type(std::string_view name);
// What find_kv_type() knows, for messages.
inline constexpr const char* kKvTypes = "f32, f16, bf16, fp8, q8_0 or q4_0";
FlagValue kv_type(std::optional<Format>& to);
FlagValue activations_value(Activations& to);
FlagValue activations_value(std::optional<Activations>& to);  // "auto" too: nothing

struct ModelOptions {
  std::string model;
  std::string shape;  // instead of a model: random weights of this shape
  std::string weights = "Q4_0";
  std::optional<uint64_t> context_size;
  std::optional<uint64_t> memory_bytes;
  std::optional<Format> kv_format;
  std::optional<Format> k_format;
  std::optional<Format> v_format;
  bool no_kv_hadamard = false;
  std::string device;
  std::string isa;
  std::optional<Activations> activations;  // nothing: the usual ones of the model
  bool one_answer = true;
  std::string quantize;  // a name of RunnerOptions::weight_format; empty: none
  std::string tuning = "auto";
  std::string weight_cache = "auto";
  int threads = 0;
  std::string processors = "auto";
  bool huge_pages = true;
  int tensor_parallel = 1;
  int64_t max_sequences = 1;
  int64_t max_batch_tokens = 512;

  void add_model(Command& command);     // the positional MODEL
  void add_shape(Command& command);     // --shape and --format, after add_model: then MODEL may be left out
  void add_kv_types(Command& command);  // of both, of K, of V
  void add_limits(Command& command);    // context, sequences, KV types, memory
  void add_machine(Command& command);   // threads and where they run, kernel table, activations
  void add_compute(Command& command);   // these, the table's tuning, batch size
  // For this model. Without one, activations are the usual ones.
  RunnerOptions runner_options(const Checkpoint* checkpoint = nullptr) const;
  Activations activations_for(const Checkpoint* checkpoint) const;
  // The model, or weights of the shape: to be measured, or only to plan for. Throws Error for neither.
  std::unique_ptr<Checkpoint> open(SyntheticContent content = SyntheticContent::kRandom) const;
};

struct SamplingOptions {
  SamplingParams params = default_sampling();
  std::vector<std::string> logit_bias;    // "ID:BIAS"
  std::vector<std::string> dry_breakers;  // empty: the default ones; "none": none
  std::vector<std::string> stop;
  int64_t max_tokens = -1;
  bool ignore_eos = false;
  int64_t seed = -1;                 // negative: a new one each time
  const Command* command = nullptr;  // of the flags; without one, none was given

  void add(Command& to);
  void add_defaults(Command& to);  // those of them that requests of a server have defaults for
  // Values the user gave win over the model's generation_config.json, and that over Quire's own defaults.
  SamplingParams resolve(const json::object* generation_config) const;
  // Sets the breakers of DRY, which a request may turn on. Takes a pass over the vocabulary.
  void find_breakers(SamplingParams& resolved, const Tokenizer& tokenizer) const;

 private:
  void add_dry(Command& to);
};

// --chat-template: a file, or the template itself; and how to read what the model writes.
struct ChatTemplateOption {
  std::string text;
  std::string tool_format;
  std::string reasoning_format;
  std::string rerank_by;

  void add(Command& to, bool with_tools);  // tools: of a server, whose requests bring them
  // Replaces the model's own, if the flags were given. Throws Error for a file that cannot be read, a template that
  // cannot be parsed and a name that is unknown.
  void apply_to(TextProcessor& to) const;

 private:
  void apply_template(TextProcessor& to) const;
};

}  // namespace quire
