// `quire bench grammar`: schemas and their instances as MaskBench has them, token by token.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "apps/bench.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/thread_clock.h"
#include "grammar/compile.h"

namespace quire {
namespace {

// The matcher neither waits nor divides its work.
using Clock = ThreadClock;
constexpr size_t kMaxFileBytes = size_t{64} << 20;

struct GrammarBenchOptions {
  std::string model, folder;
  int64_t limit = 0;
  bool json = false;
  bool names = false;
  bool any_order = false;
};

using NamedTimes = std::vector<std::pair<double, std::string>>;  // microseconds, of a file

struct GrammarBench {
  std::vector<double> compile_us, mask_us, accept_us;
  NamedTimes file_compile_us, file_mask_us;  // of the slowest mask
  int64_t num_schemas = 0, num_refused = 0, num_valid = 0, num_valid_blocked = 0, num_invalid = 0,
          num_invalid_passed = 0;
};

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

// A model, or a folder with the files of a tokenizer alone.
Tokenizer load_bench_tokenizer(const std::string& model) {
  const std::filesystem::path folder = model;
  if (!std::filesystem::exists(folder / "vocab.json") || std::filesystem::exists(folder / "config.json")) {
    return TextProcessor::load(*open_checkpoint(model))->tokenizer();
  }
  const auto merges = MappedFile::open(folder / "merges.txt");
  const auto bytes = merges.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const bool has_config = std::filesystem::exists(folder / "tokenizer_config.json");
  const json::value config = has_config ? read_json_file(folder / "tokenizer_config.json", kMaxFileBytes) : nullptr;
  return load_vocab_merges(read_json_file(folder / "vocab.json", kMaxFileBytes), text, has_config ? &config : nullptr);
}

// json.dumps's form, in which MaskBench reads instances.
void append_json(std::string& out, const json::value& value) {
  const auto append_list = [&](const auto& list, char open, char close, auto append_one) {
    out += open;
    bool is_first = true;
    for (const auto& one : list) {
      if (!is_first) out += ", ";
      is_first = false;
      append_one(one);
    }
    out += close;
  };
  if (value.is_object()) {
    append_list(value.get_object(), '{', '}', [&](const auto& member) {
      out += json::serialize(json::value(member.key())) + ": ";
      append_json(out, member.value());
    });
  } else if (value.is_array()) {
    append_list(value.get_array(), '[', ']', [&](const json::value& one) { append_json(out, one); });
  } else if (value.is_double()) {
    const std::string number = fmt::format("{}", value.get_double());
    out += number.find_first_of(".e") == number.npos ? number + ".0" : number;
  } else {
    out += json::serialize(value);
  }
}

// Whether the tokens were all allowed, and the end after them.
bool read_instance(TokenConstraint& constraint, std::span<const int32_t> tokens, int32_t eog,
                   std::vector<uint64_t>& mask, GrammarBench& bench) {
  for (size_t i = 0; i <= tokens.size(); ++i) {
    const auto begin = Clock::now();
    constraint.fill_mask(mask);
    bench.mask_us.push_back(microseconds_since(begin));
    if (i == tokens.size()) break;
    if (!is_in_mask(mask, tokens[i])) return false;
    const auto accepted = Clock::now();
    constraint.accept(tokens[i]);
    bench.accept_us.push_back(microseconds_since(accepted));
  }
  return is_in_mask(mask, eog);
}

void bench_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                const std::shared_ptr<const GrammarVocabulary>& vocabulary, const GrammarBenchOptions& options,
                GrammarBench& bench) {
  const json::value file = read_json_file(path, kMaxFileBytes);
  const json::object& object = file.as_object();
  ++bench.num_schemas;
  std::shared_ptr<const CompiledGrammar> compiled;
  const GrammarSpec spec = {
      .kind = GrammarKind::kJsonSchema, .text = json::serialize(object.at("schema")), .any_order = options.any_order};
  const auto begin = Clock::now();
  try {
    compiled = compile_grammar(parse_grammar(spec), vocabulary);
  } catch (const Error& error) {
    ++bench.num_refused;
    if (options.names) fmt::print("refused {}: {}\n", path.filename().string(), error.what());
    return;
  }
  bench.compile_us.push_back(microseconds_since(begin));
  bench.file_compile_us.emplace_back(bench.compile_us.back(), path.filename().string());
  const size_t first_mask = bench.mask_us.size();
  std::vector<uint64_t> mask(mask_words(tokenizer.vocab_size()));
  for (const json::value& test : object.at("tests").as_array()) {
    const bool is_valid = test.at("valid").as_bool();
    std::string text;
    append_json(text, test.at("data"));
    const std::vector<int32_t> tokens = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
    bool passed = false;
    try {
      passed = read_instance(*compiled->begin(), tokens, tokenizer.eog_ids().at(0), mask, bench);
    } catch (const Error& error) {
      fmt::print("failed {}: {}\n", path.filename().string(), error.what());
    }
    ++(is_valid ? bench.num_valid : bench.num_invalid);
    if (passed == is_valid) continue;
    ++(is_valid ? bench.num_valid_blocked : bench.num_invalid_passed);
    if (options.names) {
      fmt::print("{} {}: {}\n", is_valid ? "blocked valid" : "passed invalid", path.filename().string(),
                 std::string(test.at("description").as_string()));
    }
  }
  double slowest = 0;
  for (size_t i = first_mask; i < bench.mask_us.size(); ++i) slowest = std::max(slowest, bench.mask_us[i]);
  bench.file_mask_us.emplace_back(slowest, path.filename().string());
}

void print_slowest(const char* what, NamedTimes& times) {
  constexpr size_t kMost = 10;
  std::ranges::sort(times, std::greater());
  for (size_t i = 0; i < std::min(kMost, times.size()); ++i) {
    fmt::print("{} {:.0f} us: {}\n", what, times[i].first, times[i].second);
  }
}

void print(GrammarBench& bench, const Tokenizer& tokenizer, bool as_json) {
  double mask_sum = 0;
  for (const double one : bench.mask_us) mask_sum += one;
  const double mean = bench.mask_us.empty() ? 0 : mask_sum / static_cast<double>(bench.mask_us.size());
  const json::object row = {{"vocab_size", tokenizer.vocab_size()},
                            {"schemas", bench.num_schemas},
                            {"refused", bench.num_refused},
                            {"valid", bench.num_valid},
                            {"valid_blocked", bench.num_valid_blocked},
                            {"invalid", bench.num_invalid},
                            {"invalid_passed", bench.num_invalid_passed},
                            {"masks", bench.mask_us.size()},
                            {"mask_mean_us", mean},
                            {"mask_p50_us", quantile(bench.mask_us, 0.5)},
                            {"mask_p90_us", quantile(bench.mask_us, 0.9)},
                            {"mask_p99_us", quantile(bench.mask_us, 0.99)},
                            {"mask_max_us", quantile(bench.mask_us, 1)},
                            {"accept_p50_us", quantile(bench.accept_us, 0.5)},
                            {"accept_p99_us", quantile(bench.accept_us, 0.99)},
                            {"compile_p50_us", quantile(bench.compile_us, 0.5)},
                            {"compile_p99_us", quantile(bench.compile_us, 0.99)},
                            {"compile_max_us", quantile(bench.compile_us, 1)}};
  if (as_json) return fmt::print("{}\n", json::serialize(row));
  for (const auto& member : row) {
    const bool is_time = member.value().is_double();
    fmt::print("{:>16}  {}\n", std::string_view(member.key()),
               is_time ? fmt::format("{:.1f}", member.value().get_double()) : json::serialize(member.value()));
  }
}

void bench_grammar(const GrammarBenchOptions& options) {
  const Tokenizer tokenizer = load_bench_tokenizer(options.model);
  if (tokenizer.eog_ids().empty()) fail(ErrorCode::kInvalidArgument, "the tokenizer has no end-of-generation token");
  const auto vocabulary = GrammarVocabulary::make(tokenizer, tokenizer.vocab_size(), tokenizer.eog_ids());
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(options.folder)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  if (options.limit > 0 && paths.size() > static_cast<size_t>(options.limit)) {
    // Spread over the names, which begin with where the schemas come from.
    for (size_t i = 0; i < static_cast<size_t>(options.limit); ++i) {
      paths[i] = paths[i * paths.size() / static_cast<size_t>(options.limit)];
    }
    paths.resize(static_cast<size_t>(options.limit));
  }
  GrammarBench bench;
  for (const auto& path : paths) bench_file(path, tokenizer, vocabulary, options, bench);
  if (options.names) {
    print_slowest("compiled in", bench.file_compile_us);
    print_slowest("slowest mask", bench.file_mask_us);
  }
  print(bench, tokenizer, options.json);
}

}  // namespace

void add_bench_grammar_command(Command& bench) {
  Command& command = bench.add_command(
      "grammar", "Measure guided decoding over a folder of JSON schemas with instances, in MaskBench's form");
  const auto options = std::make_shared<GrammarBenchOptions>();
  command.add({{.names = "MODEL",
                .value = text(options->model, "MODEL"),
                .help = "A model, or a folder with vocab.json and merges.txt",
                .is_required = true},
               {.names = "FOLDER",
                .value = text(options->folder, "FOLDER"),
                .help = "Files with a schema and tests: instances, each valid or not",
                .is_required = true},
               {.names = "--files",
                .value = number(options->limit, 0, 1 << 20),
                .help = "How many files, spread over the folder; 0: all"},
               {.names = "--any-order",
                .value = on_off(options->any_order),
                .help = "Allow the properties of objects in any order"},
               {.names = "--names",
                .value = on_off(options->names),
                .help = "Name the files with wrong results, and the slowest"},
               {.names = "--json", .value = on_off(options->json), .help = "Print JSON"}});
  command.on_run([options] { bench_grammar(*options); });
}

}  // namespace quire
