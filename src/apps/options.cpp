#include "apps/options.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "decoding/sampler_scratch.h"
#include "dialogue/sampling_words.h"
#include "kernels/select.h"
#include "models/loading/weight_cache.h"

namespace quire {
namespace {

std::pair<int32_t, float> parse_logit_bias(const std::string& text) {
  int32_t id = 0;
  float bias = 0.0f;
  const char* const end = text.data() + text.size();
  const auto [behind, id_error] = std::from_chars(text.data(), end, id);
  // llama.cpp writes no colon: 15043+2.5.
  if (id_error == std::errc() && behind != end && (*behind == ':' || *behind == '+' || *behind == '-')) {
    const auto [rest, bias_error] = std::from_chars(*behind == '-' ? behind : behind + 1, end, bias);
    if (bias_error == std::errc() && rest == end) return {id, bias};
  }
  fail(ErrorCode::kInvalidArgument, "--logit-bias is '{}'; write a token id and a number, such as 15043:-2.5",
       printable(text, 40));
}

// Values of --quantize.
struct Quantized {
  std::string_view name;
  Format format;
};
constexpr Quantized kQuantized[] = {
    {"int8", Format::kQ8_0}, {"int4", Format::kQ4_0}, {"q6_k", Format::kQ6_K},
    {"q5_k", Format::kQ5_K}, {"q4_k", Format::kQ4_K}, {"q3_k", Format::kQ3_K},
};

std::vector<std::string> quantize_names() {
  std::vector<std::string> names;
  for (const Quantized& row : kQuantized) names.emplace_back(row.name);
  return names;
}

// RunnerOptions::tuning_file for a value of --tuning.
std::string tuning_file_of(const ModelOptions& options, Activations activations) {
  if (options.tuning == "none") return "";
  if (options.tuning == "auto") {
    return tuning_cache_file(select_kernels(options.isa, activations).name, activations).string();
  }
  std::error_code error;
  if (std::filesystem::exists(options.tuning, error)) return options.tuning;
  fail(ErrorCode::kNotFound, "there is no tuning file '{}'; 'quire tune MODEL --output FILE' writes one",
       printable(options.tuning));
}

// For a value of --weight-cache.
void choose_weight_cache(const std::string& value, RunnerOptions& options) {
  if (value == "off") return;
  options.fills_weight_cache = value != "auto";
  if (value == "auto" || value == "on") {
    options.weight_cache = weight_cache_folder().string();
  } else if (value.find('/') != std::string::npos) {
    options.weight_cache = value;
  } else {
    fail(ErrorCode::kInvalidArgument,
         "--weight-cache is '{}'; expected auto, on, off, or a folder with a / in its name", printable(value));
  }
  if (options.fills_weight_cache && options.weight_cache.empty()) {
    fail(ErrorCode::kNotFound,
         "--weight-cache on: neither XDG_CACHE_HOME nor HOME is set, so there is no cache folder; name one");
  }
}

constexpr size_t kMaxTemplateBytes = 1 << 20;

// A default that the model's generation_config.json overrides.
FlagValue or_of_model(FlagValue value) {
  value.present = "the model's own, or " + value.present;
  return value;
}

}  // namespace

std::optional<Format> find_kv_type(std::string_view name) {
  if (name == "f32" || name == "float32") return Format::kF32;
  if (name == "f16" || name == "float16" || name == "auto") return Format::kF16;
  if (name == "bf16" || name == "bfloat16") return Format::kBF16;
  if (name == "fp8" || name == "fp8_e4m3" || name == "f8_e4m3") return Format::kF8_E4M3;
  if (name == "q8_0" || name == "int8") return Format::kQ8_0;
  if (name == "q4_0" || name == "int4") return Format::kQ4_0;
  return std::nullopt;
}

FlagValue kv_type(std::optional<Format>& to) {
  const auto parse = [&to](std::string_view text) {
    to = find_kv_type(text);
    return to.has_value();
  };
  return {.metavar = "TYPE", .expected = kKvTypes, .parse = parse};
}

FlagValue activations_value(Activations& to) {
  const auto parse = [&to](std::string_view text) {
    const std::optional<Activations> found = find_activations(text);
    if (found) to = *found;
    return found.has_value();
  };
  return {.metavar = "KIND",
          .expected = "f32, bf16 or int8",
          .parse = parse,
          .present = activations_name(to),
          .choices = {"f32", "bf16", "int8"}};
}

FlagValue activations_value(std::optional<Activations>& to) {
  const auto parse = [&to](std::string_view text) {
    to = find_activations(text);
    return to.has_value() || text == "auto";
  };
  return {.metavar = "KIND",
          .expected = "auto, f32, bf16 or int8",
          .parse = parse,
          .present = to ? activations_name(*to) : "auto",
          .choices = {"auto", "f32", "bf16", "int8"}};
}

void ModelOptions::add_model(Command& command) {
  command.add({{.names = "MODEL,-m,--model",
                .value = text(model, "MODEL"),
                .help = "A .gguf file, a Hugging Face model directory, or 'demo' for the model inside the program",
                .example = "demo",
                .is_required = true}});
}

void ModelOptions::add_shape(Command& command) {
  command.make_optional("MODEL");
  command.add({{.names = "--shape",
                .value = text(shape, "NAME"),
                .help = "Instead of MODEL: random weights of a published model's shape, such as llama-3.2-1b",
                .excludes = "MODEL"},
               {.names = "--format", .value = text(weights, "FORMAT"), .help = "Weight format of --shape"}});
}

std::unique_ptr<Checkpoint> ModelOptions::open(SyntheticContent content) const {
  if (!shape.empty()) return open_synthetic(model_shape(shape), weights, content);
  if (model.empty()) {
    fail(ErrorCode::kInvalidArgument, "no model is given; give MODEL, or --shape NAME for random weights");
  }
  return open_checkpoint(model);
}

void ModelOptions::add_kv_types(Command& command) {
  command.add(
      {.title = "KV cache", .has_environment = true},
      {{.names = "--kv-type,--kv-cache-dtype",
        .value = kv_type(kv_format),
        .help = "Type of the KV cache: f32, f16, bf16, fp8 (E4M3), q8_0 (or int8: half the size of f16) or q4_0 "
                "(int4)",
        .default_text = "f16"},
       {.names = "--cache-type-k,-ctk",
        .value = kv_type(k_format),
        .help = "Type of K alone",
        .default_text = "that of --kv-type"},
       {.names = "--cache-type-v,-ctv",
        .value = kv_type(v_format),
        .help = "Type of V alone",
        .default_text = "that of --kv-type"},
       {.names = "--no-kv-hadamard",
        .value = on_off(no_kv_hadamard),
        .help = "Store q4_0 as it is, not multiplied by a Hadamard matrix: to measure what that brings"}});
}

void ModelOptions::add_limits(Command& command) {
  FlagValue context = quantity(context_size, "N");
  const auto parse = context.parse;
  context.parse = [this, parse](std::string_view text) {
    if (text != "auto" && text != "0") return parse(text);
    context_size.reset();
    return true;
  };
  command.add({.title = "Limits", .has_environment = true},
              {{.names = "-c,--ctx-size,--max-model-len,--context",
                .value = context,
                .help = "Longest sequence in tokens, prompt and answer together, for example 8192 or 32K",
                .default_text = "auto or 0, the model's own"},
               {.names = "--sequences,--max-num-seqs,-np,--parallel",
                .value = number(max_sequences, 1, 65536),
                .help = "Sequences that run at once; further requests wait"},
               {.names = "--memory",
                .value = gibibytes(memory_bytes, 1),
                .help = "Memory allowed in all, as in 500MiB; a number alone is GiB; layers beyond stay on disk",
                .default_text = "what is available"}});
  add_kv_types(command);
}

void ModelOptions::add_machine(Command& command) {
  command.add(
      {.title = "Compute", .has_environment = true},
      {{.names = "-t,--threads",
        .value = number(threads, 1, 1024),
        .help = "Threads that compute",
        .default_text = "every processor this process may use"},
       {.names = "--cpus",
        .value = text(processors, "LIST"),
        .help = "Where threads run: a processor each of a list such as 0-3,8, or of every core (cores); anywhere "
                "(none); or auto, within one memory node each where there are several"},
       {.names = "--isa",
        .value = text(isa, "NAME"),
        .help = "Instruction set of the kernels: reference, avx2, avx512 or amx",
        .default_text = "the best that runs here"},
       {.names = "--activations",
        .value = activations_value(activations),
        .help = "Multiply weights by f32 (the most exact), bf16, or int8 (the fastest for codes; floats then by f32); "
                "auto: bf16 for BF16 weights on a CPU with instructions for it, otherwise int8"}});
}

void ModelOptions::add_compute(Command& command) {
  add_machine(command);
  command.add(
      {.title = "Compute", .has_environment = true},
      {{.names = "-b,--batch-size,--max-num-batched-tokens",
        .value = number(max_batch_tokens, 1, 1 << 20),
        .help = "Most tokens that one step computes, over all sequences"},
       {.names = "--huge-pages,!--no-huge-pages",
        .value = on_off(huge_pages),
        .help = "Ask the system for pages of 2 MiB for weights and KV cache, which are faster to read"},
       {.names = "--device",
        .value = text(device, "NAME"),
        .help = "cpu or cuda",
        .default_text = "cuda in a build that has it, where there is a GPU"},
       {.names = "--tensor-parallel,--tensor-parallel-size,-tp",
        .value = number(tensor_parallel, 1, 64),
        .help = "Ranks that divide every layer: GPUs, or groups of the CPU's threads"},
       {.names = "--one-answer,!--no-one-answer",
        .value = on_off(one_answer),
        .help =
            "Bit-identical answers regardless of batching; --no-one-answer lets cuBLASLt run BF16 and FP8 matmuls on "
            "a GPU"},
       {.names = "--quantize",
        .value = choice(quantize, quantize_names()),
        .help = "Quantise matrices of floats while they are loaded; those that have codes already stay as they are",
        .default_text = "as the file has them"},
       {.names = "--tuning",
        .value = text(tuning, "FILE"),
        .help = "Matmul settings that 'quire tune' measured: a file, none, or auto for the one in the cache folder"},
       {.names = "--weight-cache",
        .value = text(weight_cache, "WHERE"),
        .help =
            "Packed weights kept for the next start: on, off, auto (use those that are there), or a folder for them"}});
}

Activations ModelOptions::activations_for(const Checkpoint* checkpoint) const {
  if (activations) return *activations;
  const bool may_be_gpu = device == "cuda" || (device.empty() && cuda_backends().is_preferred);
  if (checkpoint == nullptr || may_be_gpu || !quantize.empty()) return kUsualActivations;
  return is_bf16(*checkpoint) && multiplies_bf16(isa) ? Activations::kBf16 : kUsualActivations;
}

RunnerOptions ModelOptions::runner_options(const Checkpoint* checkpoint) const {
  RunnerOptions options;
  options.num_threads = threads;
  options.processors = processors;
  options.device = device;
  options.isa = isa;
  options.activations = activations_for(checkpoint);
  options.one_answer = one_answer;
  options.pages = huge_pages ? PageSize::kHuge : PageSize::kSmall;
  options.tensor_parallel = tensor_parallel;
  if (!quantize.empty()) options.weight_format = std::ranges::find(kQuantized, quantize, &Quantized::name)->format;
  options.tuning_file = tuning_file_of(*this, options.activations);
  choose_weight_cache(weight_cache, options);
  options.sampling_bytes_per_token = SamplerScratch::kBytesPerToken;
  options.max_sequences = max_sequences;
  options.max_batch_tokens = std::max(max_batch_tokens, max_sequences);
  options.max_logit_rows = max_sequences;
  if (context_size) options.max_context = static_cast<int64_t>(*context_size);
  if (memory_bytes) options.memory_bytes = *memory_bytes;
  if (kv_format) options.k_format = options.v_format = *kv_format;
  if (k_format) options.k_format = *k_format;
  if (v_format) options.v_format = *v_format;
  options.kv_hadamard = !no_kv_hadamard;
  return options;
}

void ChatTemplateOption::add(Command& to, bool with_tools) {
  std::vector<Flag> flags = {{.names = "--chat-template,--chat-template-file",
                              .value = quire::text(text, "FILE"),
                              .help = "Use this Jinja template for conversations: a file, or the template itself",
                              .default_text = "the model's own"},
                             {.names = "--reasoning-parser",
                              .value = quire::text(reasoning_format, "NAME"),
                              .help = "How the model marks what it thinks: none, " + reasoning_format_names(),
                              .default_text = "found by the chat template"}};
  if (with_tools) {
    flags.push_back({.names = "--tool-call-parser",
                     .value = quire::text(tool_format, "NAME"),
                     .help = "How the model writes calls of tools: " + tool_format_names(),
                     .default_text = "found by the chat template"});
    flags.push_back({.names = "--rerank-by",
                     .value = quire::text(rerank_by, "NAME"),
                     .help = "How documents are reranked: cosine (of embeddings) or yes-no (the model judges each)",
                     .default_text = "as the model's files say, else cosine"});
  }
  to.add({.has_environment = true}, std::move(flags));
}

void ChatTemplateOption::apply_to(TextProcessor& to) const {
  apply_template(to);
  if (!tool_format.empty()) to.use_tool_format(tool_format);
  if (!reasoning_format.empty()) to.use_reasoning_format(reasoning_format);
  if (!rerank_by.empty()) to.use_relevance_format(rerank_by);
}

void ChatTemplateOption::apply_template(TextProcessor& to) const {
  if (text.empty()) return;
  // As vLLM tells them apart: a template has braces, a path of a file has none.
  const bool is_template = text.find('{') != std::string::npos;
  try {
    to.use_chat_template(is_template ? text : read_text_file(text, kMaxTemplateBytes));
  } catch (const Error& error) {
    fail(error.code(), "--chat-template: {}{}", error.what(),
         is_template ? "" : "\nGive a file that holds a Jinja template, or the template itself.");
  }
}

void SamplingOptions::add_defaults(Command& to) {
  command = &to;
  to.add({.title = "Sampling", .has_environment = true},
         {{.names = "--temperature,--temp",
           .value = or_of_model(real(params.temperature)),
           .help = "0 takes the likeliest token; higher is more varied"},
          {.names = "--top-k",
           .value = or_of_model(number(params.top_k)),
           .help = "Keep the k likeliest tokens; 0 keeps all"},
          {.names = "--top-p",
           .value = or_of_model(real(params.top_p)),
           .help = "Keep the likeliest tokens whose probabilities add up to this; 1 keeps all"},
          {.names = "--min-p",
           .value = or_of_model(real(params.min_p)),
           .help = "Keep tokens with at least this share of the likeliest one's probability; 0 keeps all"},
          {.names = "--typical-p,--typical",
           .value = real(params.typical_p),
           .help = "Keep the most typical tokens whose probabilities add up to this; 1 keeps all"},
          {.names = "--repetition-penalty,--repeat-penalty",
           .value = or_of_model(real(params.repetition_penalty)),
           .help = "Above 1 discourages tokens that occurred before"},
          {.names = "--presence-penalty",
           .value = real(params.presence_penalty),
           .help = "Subtract this from the logits of tokens already generated, -2 to 2"},
          {.names = "--frequency-penalty",
           .value = real(params.frequency_penalty),
           .help = "Subtract this as often as the token was generated, -2 to 2"}});
  add_dry(to);
  to.add({.title = "Sampling", .has_environment = true},
         {{.names = "--top-n-sigma,--top-nsigma",
           .value = real(params.top_n_sigma),
           .help = "Keep tokens within this many standard deviations of the greatest logit; 0 or -1 keeps all"},
          {.names = "--dynatemp-range",
           .value = real(params.dynatemp.range),
           .help = "The temperature follows the entropy, so far below and above --temperature; 0: off"},
          {.names = "--dynatemp-exponent,--dynatemp-exp",
           .value = real(params.dynatemp.exponent),
           .help = "The power of the entropy that --dynatemp-range follows"},
          {.names = "--xtc-probability",
           .value = real(params.xtc.probability),
           .help = "How often XTC leaves out the likeliest tokens; 0: never"},
          {.names = "--xtc-threshold",
           .value = real(params.xtc.threshold),
           .help = "The probability from which on XTC leaves tokens out, but the least likely one of them"},
          {.names = "--mirostat",
           .value = number(params.mirostat.version),
           .help = "1 or 2: Mirostat of that version, instead of the steps from --top-k to XTC; 0: off"},
          {.names = "--mirostat-tau,--mirostat-ent",
           .value = real(params.mirostat.tau),
           .help = "The surprise of a token that Mirostat aims at, in bits"},
          {.names = "--mirostat-eta,--mirostat-lr",
           .value = real(params.mirostat.eta),
           .help = "How fast Mirostat follows the surprise"}});
}

void SamplingOptions::add_dry(Command& to) {
  to.add({.title = "Sampling", .has_environment = true},
         {{.names = "--dry-multiplier",
           .value = real(params.dry.multiplier),
           .help = "DRY: scales what is subtracted from a token that would lengthen a repetition; 0: off"},
          {.names = "--dry-base",
           .value = real(params.dry.base),
           .help = "The factor by which that grows with each token of the repetition"},
          {.names = "--dry-allowed-length",
           .value = number(params.dry.allowed_length),
           .help = "Tokens of a repetition that cost nothing"},
          {.names = "--dry-penalty-last-n",
           .value = number(params.dry.penalty_last_n),
           .help = "How many of the last tokens of prompt and answer DRY looks at; -1: all, 0: none"},
          {.names = "--dry-sequence-breaker",
           .value = texts(dry_breakers),
           .help = "A repetition does not reach over this text; repeatable, none: over nothing",
           .default_text = "newline, colon, quote and asterisk"}});
}

void SamplingOptions::find_breakers(SamplingParams& resolved, const Tokenizer& tokenizer) const {
  std::vector<std::string> breakers = dry_breakers.empty() ? kDefaultDryBreakers : dry_breakers;
  std::erase(breakers, "none");
  std::erase(breakers, "");
  resolved.dry.breakers = dry_breaker_tokens(tokenizer, breakers);
}

void SamplingOptions::add(Command& to) {
  add_defaults(to);
  to.add({.title = "Sampling", .has_environment = true},
         {{.names = "-n,--max-tokens,--n-predict,--predict",
           .value = number(max_tokens, -1, int64_t{1} << 40),
           .help = "Most tokens to generate; -1: up to the end of the context"},
          {.names = "--logit-bias,-l",
           .value = texts(logit_bias, "ID:BIAS"),
           .help = "Add a number to the logit of a token; repeatable"},
          {.names = "-s,--seed",
           .value = number(seed, -1),
           .help = "The same seed gives the same text; -1: a new one each time"},
          {.names = "--stop,--reverse-prompt,-r", .value = texts(stop), .help = "Stop before this text; repeatable"},
          {.names = "--min-tokens", .value = number(params.min_tokens), .help = "Do not end before this many tokens"},
          {.names = "--ignore-eos", .value = on_off(ignore_eos), .help = "Go on past the model's end tokens"},
          {.names = "--logprobs",
           .value = number(params.num_logprobs),
           .help = "Report the log probability of each token and of this many alternatives to it",
           .default_text = "none"}});
}

SamplingParams SamplingOptions::resolve(const json::object* generation_config) const {
  SamplingParams resolved = params;
  if (generation_config != nullptr) {
    const SamplingParams of_model = with_generation_config(params, *generation_config);
    const auto given = [&](const char* flag) { return command != nullptr && command->was_given(flag); };
    if (!given("--temperature")) resolved.temperature = of_model.temperature;
    if (!given("--top-k")) resolved.top_k = of_model.top_k;
    if (!given("--top-p")) resolved.top_p = of_model.top_p;
    if (!given("--min-p")) resolved.min_p = of_model.min_p;
    if (!given("--repetition-penalty")) resolved.repetition_penalty = of_model.repetition_penalty;
  }
  for (const std::string& text : logit_bias) resolved.logit_bias.push_back(parse_logit_bias(text));
  if (seed >= 0) resolved.seed = static_cast<uint64_t>(seed);
  return resolved;
}

}  // namespace quire
