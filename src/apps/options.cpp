#include "apps/options.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "apps/loaded_model.h"
#include "apps/units.h"
#include "base/error.h"
#include "decoding/sampler_scratch.h"
#include "kernels/select.h"

namespace quire {
namespace {

std::pair<int32_t, float> parse_logit_bias(const std::string& text) {
  int32_t id = 0;
  float bias = 0.0f;
  const char* const end = text.data() + text.size();
  const auto [colon, id_error] = std::from_chars(text.data(), end, id);
  if (id_error == std::errc() && colon != end && *colon == ':') {
    const auto [rest, bias_error] = std::from_chars(colon + 1, end, bias);
    if (bias_error == std::errc() && rest == end) return {id, bias};
  }
  fail(ErrorCode::kInvalidArgument, "--logit-bias is '{}'; write a token id and a number, such as 15043:-2.5",
       printable(text, 40));
}

// What RunnerOptions::tuning_file wants of --tuning.
std::string tuning_file_of(const ModelOptions& options) {
  if (options.tuning == "none") return "";
  if (options.tuning == "auto") return tuning_cache_file(select_kernels(options.isa).name).string();
  std::error_code error;
  if (std::filesystem::exists(options.tuning, error)) return options.tuning;
  fail(ErrorCode::kNotFound, "there is no tuning file '{}'; 'quire tune MODEL --output FILE' writes one",
       printable(options.tuning));
}

}  // namespace

Format parse_kv_type(const std::string& name) {
  if (name == "f32" || name == "float32") return Format::kF32;
  if (name == "f16" || name == "float16" || name == "auto") return Format::kF16;
  if (name == "bf16" || name == "bfloat16") return Format::kBF16;
  if (name == "fp8" || name == "fp8_e4m3" || name == "f8_e4m3") return Format::kF8_E4M3;
  if (name == "q8_0" || name == "int8") return Format::kQ8_0;
  if (name == "q4_0" || name == "int4") return Format::kQ4_0;
  fail(ErrorCode::kInvalidArgument, "the KV cache type is '{}'; this build knows f32, f16, bf16, fp8, q8_0 and q4_0",
       printable(name, 40));
}

CLI::Option* with_environment(CLI::Option* option) {
  std::string name = option->get_lnames().at(0);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return option->envname("QUIRE_" + name);
}

void ModelOptions::add_model(CLI::App& app) {
  app.add_option("MODEL", model, "A .gguf file, a Hugging Face model directory, or 'demo' for the embedded model")
      ->required();
}

void ModelOptions::add_shape(CLI::App& app) {
  CLI::Option* const path = app.get_option("MODEL")->required(false);
  app.add_option("--shape", shape,
                 "Instead of MODEL: random weights of a published model's shape, such as llama-3.2-1b")
      ->excludes(path);
  app.add_option("--format", weights, "Format of the weights of --shape")->capture_default_str();
}

std::unique_ptr<Checkpoint> ModelOptions::open(SyntheticContent content) const {
  if (!shape.empty()) return open_synthetic(model_shape(shape), weights, content);
  if (model.empty()) throw CLI::RequiredError("MODEL");
  return open_checkpoint(model);
}

void ModelOptions::add_limits(CLI::App& app) {
  with_environment(app.add_option("-c,--ctx-size,--max-model-len,--context", context_size,
                                  "Positions of one sequence, for example 8192 or 32K (default: the model's own)"));
  with_environment(app.add_option("--sequences,--max-num-seqs,--parallel", max_sequences, "Sequences that run at once")
                       ->check(CLI::Range(1, 65536)));
  with_environment(app.add_option(
      "--kv-type,--kv-cache-dtype", kv_type,
      "Type of the KV cache: f32, f16 (default), bf16, fp8 (E4M3), q8_0 (or int8: half of f16) or q4_0 (int4)"));
  with_environment(app.add_option("--cache-type-k", k_type, "Type of K alone"));
  with_environment(app.add_option("--cache-type-v", v_type, "Type of V alone"));
  with_environment(
      app.add_option("--memory", memory, "Memory allowed in all, for example 8GiB (default: what is available)"));
}

void ModelOptions::add_machine(CLI::App& app) {
  with_environment(app.add_option("-t,--threads", threads, "Threads (default: every processor this process may use)")
                       ->check(CLI::Range(1, 1024)));
  with_environment(app.add_option("--isa", isa, "Kernel table: reference, avx2 or avx512 (default: the best here)"));
}

void ModelOptions::add_compute(CLI::App& app) {
  add_machine(app);
  with_environment(
      app.add_option("--device", device, "cpu or cuda (default: cuda in a build that has it, where there is a GPU)"));
  with_environment(app.add_option("--tensor-parallel,--tensor-parallel-size", tensor_parallel,
                                  "Ranks that divide every layer: GPUs, or groups of the CPU's threads")
                       ->check(CLI::Range(1, 64)));
  with_environment(
      app.add_flag("--one-answer,!--no-one-answer", one_answer,
                   "Answers whose bits do not hang on the batch (default). Without, cuBLASLt multiplies by "
                   "BF16 and FP8 matrices on a GPU"));
  with_environment(app.add_option(
      "--tuning", tuning, "File of 'quire tune': auto (default: what it left in the cache folder), a path, or none"));
  with_environment(
      app.add_option("--batch-size,--max-num-batched-tokens", max_batch_tokens, "Tokens of one step, at most")
          ->check(CLI::Range(1, 1 << 20)));
}

RunnerOptions ModelOptions::runner_options() const {
  RunnerOptions options;
  options.num_threads = threads;
  options.device = device;
  options.isa = isa;
  options.one_answer = one_answer;
  options.tensor_parallel = tensor_parallel;
  options.tuning_file = tuning_file_of(*this);
  options.sampling_bytes_per_token = SamplerScratch::kBytesPerToken;
  options.max_sequences = max_sequences;
  options.max_batch_tokens = std::max(max_batch_tokens, max_sequences);
  options.max_logit_rows = max_sequences;
  if (!context_size.empty() && context_size != "auto") {
    options.max_context = static_cast<int64_t>(parse_quantity(context_size, "--ctx-size"));
    if (options.max_context < 1) fail(ErrorCode::kInvalidArgument, "--ctx-size is 0; give at least 1 position");
  }
  if (!memory.empty()) {
    options.memory_bytes = parse_quantity(memory, "--memory");
    if (options.memory_bytes == 0) fail(ErrorCode::kInvalidArgument, "--memory is 0; give a size such as 8GiB");
  }
  if (!kv_type.empty()) options.k_format = options.v_format = parse_kv_type(kv_type);
  if (!k_type.empty()) options.k_format = parse_kv_type(k_type);
  if (!v_type.empty()) options.v_format = parse_kv_type(v_type);
  return options;
}

void SamplingOptions::add(CLI::App& to) {
  app = &to;
  params.temperature = 0.8f;
  params.top_k = 40;
  params.top_p = 0.95f;
  const std::string group = "Sampling";
  const auto add_flag = [&](CLI::Option* option) { with_environment(option->group(group)); };
  add_flag(to.add_option("-n,--max-tokens,--n-predict", max_tokens,
                         "Tokens to generate at most (-1: up to the context's end)")
               ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40).description("")));
  add_flag(
      to.add_option("--temperature,--temp", params.temperature, "0 takes the likeliest token; higher is more varied")
          ->capture_default_str());
  add_flag(to.add_option("--top-k", params.top_k, "Keep the k likeliest tokens; 0 keeps all")->capture_default_str());
  add_flag(to.add_option("--top-p", params.top_p, "Keep the likeliest tokens up to this mass")->capture_default_str());
  add_flag(
      to.add_option("--min-p", params.min_p, "Keep tokens of at least this share of the likeliest one's probability"));
  add_flag(to.add_option("--typical-p,--typical", params.typical_p,
                         "Keep the most typical tokens up to this mass; 1 is off"));
  add_flag(to.add_option("--repetition-penalty,--repeat-penalty", params.repetition_penalty,
                         "Above 1 discourages tokens seen before"));
  add_flag(to.add_option("--presence-penalty", params.presence_penalty,
                         "Subtracted from tokens already generated, -2 to 2"));
  add_flag(to.add_option("--frequency-penalty", params.frequency_penalty, "The same, once per occurrence"));
  add_flag(to.add_option("--logit-bias", logit_bias, "Add to a token's logit: ID:BIAS, repeatable"));
  add_flag(to.add_option("-s,--seed", seed, "The same seed gives the same text (default, or -1: a new one each time)")
               ->check(CLI::Range(int64_t{-1}, std::numeric_limits<int64_t>::max()).description("")));
  add_flag(to.add_option("--stop,--reverse-prompt", stop, "Stop before this text; repeatable"));
  add_flag(to.add_option("--min-tokens", params.min_tokens, "No end before this many tokens"));
  add_flag(to.add_flag("--ignore-eos", ignore_eos, "Go on past the model's end tokens"));
  add_flag(to.add_option("--logprobs", params.num_logprobs,
                         "Report each token's log probability and this many alternatives"));
}

void SamplingOptions::take_defaults(const json::object& config, SamplingParams& resolved) const {
  const auto given = [&](const char* name) { return app->count(name) > 0; };
  const auto take = [&](const char* flag, const char* key, float& value) {
    if (!given(flag)) value = static_cast<float>(find_double(config, key, value));
  };
  take("--temperature", "temperature", resolved.temperature);
  take("--top-p", "top_p", resolved.top_p);
  take("--min-p", "min_p", resolved.min_p);
  take("--repetition-penalty", "repetition_penalty", resolved.repetition_penalty);
  if (!given("--top-k")) resolved.top_k = static_cast<int32_t>(find_int(config, "top_k", resolved.top_k));
  if (!given("--temperature") && find_member(config, "do_sample") != nullptr && !find_bool(config, "do_sample", true)) {
    resolved.temperature = 0.0f;
  }
}

SamplingParams SamplingOptions::resolve(const json::object* generation_config) const {
  SamplingParams resolved = params;
  if (generation_config != nullptr) {
    try {
      take_defaults(*generation_config, resolved);
    } catch (const Error& error) {
      fail(error.code(), "generation_config.json: {}", error.what());
    }
  }
  for (const std::string& text : logit_bias) resolved.logit_bias.push_back(parse_logit_bias(text));
  if (seed >= 0) resolved.seed = static_cast<uint64_t>(seed);
  return resolved;
}

}  // namespace quire
