#include "apps/speculation_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <variant>
#include <vector>

#include "apps/flags/suggestion.h"
#include "apps/flags/values.h"
#include "base/error.h"
#include "base/json.h"
#include "drafting/drafters.h"
#include "drafting/model_drafters.h"

namespace quire {
namespace {

constexpr std::string_view kFlag = "--speculative-config";
constexpr int kMostDrafts = 256;
// Of a step: where so many rows are computed, drafts no longer pay.
constexpr int64_t kMostDraftRows = 256;
constexpr int64_t kKnownDraftRows = 32;
// vLLM counts the store of earlier answers in requests, Quire in tokens.
constexpr double kTokensOfRequest = 1024;

using Options = SpeculationOptions;
struct Key {
  std::string_view name;
  std::variant<bool Options::*, int Options::*, int64_t Options::*, float Options::*, std::string Options::*,
               DraftAcceptance Options::*>
      to;
  std::string_view meaning;
  double low = 0.0;
  double high = 0.0;
  double scale = 1.0;  // what is stored, over what is written
};

// clang-format off
constexpr Key kKeys[] = {
    {"method", &Options::method, "what guesses tokens; with `model` alone, what that checkpoint is made for"},
    {"model", &Options::model, "the checkpoint of a method that has one"},
    {"num_speculative_tokens", &Options::max_drafts, "the most tokens drafted for one sequence in a step", 1, kMostDrafts},
    {"min_speculative_tokens", &Options::min_drafts, "fewer are not drafted at all", 0, kMostDrafts},
    {"min_probability", &Options::min_probability, "a method that knows probabilities stops at a token below this", 0, 1},
    {"adaptive", &Options::adaptive, "fewer drafts where they would not pay; false: always as many as fit"},
    {"tree", &Options::tree, "methods that know alternatives may draft a tree of them"},
    {"prompt_lookup_max", &Options::ngram_max, "ngram: the longest end of the text that is looked up", 1, 64},
    {"prompt_lookup_min", &Options::ngram_min, "ngram: the shortest one", 1, 64},
    {"suffix_decoding_max_tree_depth", &Options::suffix_max_depth, "suffix: the most tokens of context that are matched", 1, 1024},
    {"suffix_decoding_max_cached_requests", &Options::suffix_max_tokens, "suffix: answers that are remembered, counted as 1024 tokens each; 0: none", 0, 1 << 20, kTokensOfRequest},
    {"suffix_decoding_max_spec_factor", &Options::suffix_factor, "suffix: the most drafts for each matched token", 0, 64},
    {"suffix_decoding_min_token_prob", &Options::suffix_min_probability, "suffix: how often a token must have followed to be drafted", 0, 1},
    {"lookahead_window", &Options::lookahead_window, "lookahead: positions that are guessed side by side", 1, 64},
    {"lookahead_ngram", &Options::lookahead_ngram, "lookahead: tokens of an n-gram that is collected", 2, 16},
    {"lookahead_guesses", &Options::lookahead_guesses, "lookahead: n-grams that are verified in a step", 1, 64},
    {"acceptance", &Options::acceptance, "exact: answers are those without speculation; typical: drafts that are typical of the model are kept too, and answers change"},
    {"posterior_threshold", &Options::typical_threshold, "typical: a draft with at least this probability is kept", 0, 1},
    {"posterior_alpha", &Options::typical_alpha, "typical: or with this share of exp(-entropy)", 0, 1},
};
// clang-format on

template <typename T>
constexpr bool is_type(const Key& key) {
  return std::holds_alternative<T Options::*>(key.to);
}

std::string expected(const Key& key) {
  if (is_type<bool>(key)) return "true or false";
  if (is_type<std::string>(key)) return "a string";
  if (is_type<DraftAcceptance>(key)) return R"("exact" or "typical")";
  return fmt::format("a {}number from {} to {}", is_type<float>(key) ? "" : "whole ", key.low, key.high);
}

std::optional<double> number_of(const Key& key, const json::value& value) {
  if (!value.is_number()) return std::nullopt;
  const auto number = value.to_number<double>();
  const bool is_whole = std::nearbyint(number) == number;
  if (number < key.low || number > key.high || (!is_whole && !is_type<float>(key))) return std::nullopt;
  return number * key.scale;
}

bool store(bool& to, const Key&, const json::value& value) {
  if (value.is_bool()) to = value.get_bool();
  return value.is_bool();
}

bool store(std::string& to, const Key&, const json::value& value) {
  if (value.is_string()) to = value.get_string();
  return value.is_string();
}

bool store(DraftAcceptance& to, const Key&, const json::value& value) {
  to = value == "typical" ? DraftAcceptance::kTypical : DraftAcceptance::kExact;
  return value == "typical" || value == "exact";
}

template <typename T>
bool store(T& to, const Key& key, const json::value& value) {
  const std::optional<double> number = number_of(key, value);
  if (number) to = static_cast<T>(*number);
  return number.has_value();
}

const Key& find_key(std::string_view name) {
  std::vector<std::string> names;
  std::string list;
  for (const Key& key : kKeys) {
    if (key.name == name) return key;
    names.emplace_back(key.name);
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string nearest = suggestion(name, names);
  fail(ErrorCode::kInvalidArgument, "{}: unknown key \"{}\"{}; keys are {}", kFlag, printable(name, 40),
       nearest.empty() ? "" : fmt::format(" (did you mean \"{}\"?)", nearest), list);
}

std::string method_names() {
  std::string names;
  for (const DrafterKind& kind : drafter_kinds()) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  for (const ModelDrafterKind& kind : model_drafter_kinds()) names += ", " + std::string(kind.name);
  return names;
}

bool is_method(std::string_view name) {
  return has_model(name) ||
         std::ranges::any_of(drafter_kinds(), [&](const DrafterKind& kind) { return kind.name == name; });
}

}  // namespace

SpeculationOptions parse_speculation(std::string_view text, SpeculationOptions defaults) {
  SpeculationOptions options = std::move(defaults);
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || text[begin] != '{') {
    if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") != std::string_view::npos || text.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "{} is '{}'; expected a JSON object such as {{\"method\": \"ngram\"}}, or the "
           "name of a method",
           kFlag, printable(text, 40));
    }
    options.method = text;
    return options;
  }
  json::value parsed;
  try {
    parsed = parse_json(text, kFlag);
  } catch (const Error& error) {
    fail(ErrorCode::kInvalidArgument, "{}", error.what());
  }
  for (const auto& member : parsed.as_object()) {
    const Key& key = find_key(member.key());
    const json::value& value = member.value();
    if (value.is_null()) continue;
    const bool is_right = std::visit([&](auto to) { return store(options.*to, key, value); }, key.to);
    if (!is_right) {
      fail(ErrorCode::kInvalidArgument, "{}: {} is {}; expected {}", kFlag, key.name,
           printable(json::serialize(value), 40), expected(key));
    }
  }
  return options;
}

void make_room_for_drafts(RunnerOptions& options, const SpeculationOptions& speculation) {
  if (speculation.method.empty() && speculation.model.empty()) return;
  const int64_t num_drafts = std::min(options.max_sequences * speculation.max_drafts, kMostDraftRows);
  options.max_logit_rows =
      std::min(std::max(options.max_logit_rows, options.max_sequences + num_drafts), options.max_batch_tokens);
  if (speculation.tree) options.max_branches = num_drafts;
}

void make_room_for_known_drafts(RunnerOptions& options) {
  options.max_logit_rows =
      std::min(std::max(options.max_logit_rows, options.max_sequences + kKnownDraftRows), options.max_batch_tokens);
}

std::string speculation_keys_as_markdown() {
  std::string table = "| key | value | meaning |\n|---|---|---|\n";
  for (const Key& key : kKeys) table += fmt::format("| `{}` | {} | {} |\n", key.name, expected(key), key.meaning);
  return table;
}

void SpeculationFlags::add(Command& to) {
  command = &to;
  const std::string methods = method_names();
  const FlagValue config = {.metavar = "JSON",
                            .expected = "a JSON object or the name of a method",
                            .parse =
                                [this](std::string_view text) {
                                  options = parse_speculation(text, options);
                                  return true;
                                },
                            .takes_table = true};
  // The first row is stored first, so that the others change what it says.
  to.add({.title = "Speculation", .has_environment = true},
         {{.names = std::string(kFlag),
           .value = config,
           .help = fmt::format("Guess tokens ahead and verify several in one step, with the same answers: a method "
                               "({}) or a JSON object of docs/speculation-use.md",
                               methods),
           .default_text = "no speculation"},
          {.names = "-md,--model-draft",
           .value = text(options.model, "FILE"),
           .help = "A small model that drafts for this one, or heads that were trained for it"},
          {.names = "--draft-max,--draft,--draft-n,--num-speculative-tokens",
           .value = number(options.max_drafts, 1, kMostDrafts),
           .help = "Most tokens drafted for one sequence in a step"},
          {.names = "--draft-min,--draft-n-min",
           .value = number(options.min_drafts, 0, kMostDrafts),
           .help = "Draft none rather than fewer tokens than this"},
          {.names = "--draft-p-min",
           .value = real(options.min_probability, 0.0f, 1.0f),
           .help = "Stop drafting at a token that the drafter thinks less probable"}});
}

SpeculationOptions SpeculationFlags::resolve() const {
  if (options.method.empty() && options.model.empty()) {
    for (const char* const flag : {"--draft-max", "--draft-min", "--draft-p-min", kFlag.data()}) {
      if (command == nullptr || !command->was_given(flag)) continue;
      fail(ErrorCode::kInvalidArgument, "{} is given and nothing drafts; name a method by {}, such as {}", flag, kFlag,
           method_names());
    }
    return options;
  }
  // Without a method, the checkpoint says what it was made for.
  if (!options.method.empty() && !is_method(options.method)) {
    fail(ErrorCode::kInvalidArgument, "{}: unknown method \"{}\"; methods are {}", kFlag, printable(options.method, 40),
         method_names());
  }
  if (!options.method.empty() && has_model(options.method) == options.model.empty()) {
    fail(ErrorCode::kInvalidArgument, "{}: the method \"{}\" {}", kFlag, options.method,
         options.model.empty() ? "needs a model; give \"model\", or --model-draft FILE" : "has no model; leave it out");
  }
  if (options.min_drafts > options.max_drafts) {
    fail(ErrorCode::kInvalidArgument, "at least {} drafts are asked for and at most {}; raise num_speculative_tokens",
         options.min_drafts, options.max_drafts);
  }
  if (options.ngram_min > options.ngram_max) {
    fail(ErrorCode::kInvalidArgument, "{}: prompt_lookup_min is {} and prompt_lookup_max {}; write them the other way",
         kFlag, options.ngram_min, options.ngram_max);
  }
  return options;
}

}  // namespace quire
