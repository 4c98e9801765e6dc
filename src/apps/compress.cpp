// `quire compress`: makes a smaller checkpoint of a model, and says what it did.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>

#include "apps/commands.h"
#include "apps/compress_blocks.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"
#include "compress/calibration/own_text.h"
#include "compress/compression.h"
#include "compress/layouts/layout.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

constexpr int64_t kWindow = 512;
constexpr int64_t kDefaultGroup = 128;
constexpr int64_t kDefaultTextTokens = 16384;

struct CompressOptions {
  ModelOptions model;
  CompressionOptions compression;
  std::string output;
  std::string group;  // empty: kDefaultGroup
  int bits = 0;       // 0: the method's
  bool asymmetric = false;
  std::string text_file;
  int64_t text_tokens = 0;  // 0: kDefaultTextTokens
  CompressBlocksOptions blocks;
};

// The method whose formats are GGUF's: a command of its own inside.
constexpr std::string_view kBlockMethod = "kquant";

std::vector<std::string> names_of_methods() {
  std::vector<std::string> names;
  for (const CompressionMethod& method : compression_methods()) names.emplace_back(method.name);
  names.emplace_back(kBlockMethod);
  return names;
}

// "1:05"
std::string clock(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

// The time left, if what is to do goes on as what was done.
std::string time_left(std::chrono::steady_clock::time_point start, int64_t done, int64_t all) {
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return done == 0 ? std::string() : clock(taken.count() / static_cast<double>(done) * static_cast<double>(all - done));
}

using Windows = std::vector<std::vector<int32_t>>;

int64_t num_windows(const CompressOptions& options) {
  return (options.text_tokens > 0 ? options.text_tokens : kDefaultTextTokens) / kWindow;
}

// Those that keep what the methods make.
std::vector<std::string> layouts_of_groups() {
  std::vector<std::string> names;
  for (const CompressedLayout* layout : compressed_layouts()) {
    if (layout->pack != nullptr) names.emplace_back(layout->name);
  }
  return names;
}

Windows windows_of_file(const CompressOptions& options, const TextProcessor& processor) {
  std::ifstream file(options.text_file, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", printable(options.text_file));
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const std::vector<int32_t> begin = processor.encode_plain("");
  const std::vector<int32_t> ids = processor.encode_plain(content, /*parse_special=*/false);
  const auto size = static_cast<size_t>(kWindow);
  const auto most = static_cast<size_t>(num_windows(options));
  if (ids.size() < size) {
    fail(ErrorCode::kInvalidArgument,
         "the calibration text {} has {} tokens, expected {} or more; leave it out and the "
         "model writes its own",
         printable(options.text_file), ids.size(), kWindow);
  }
  Windows windows;
  for (size_t first = 0; first + size <= ids.size() && windows.size() < most; first += size) {
    std::vector<int32_t>& window = windows.emplace_back(ids.begin() + static_cast<int64_t>(first),
                                                        ids.begin() + static_cast<int64_t>(first + size));
    if (!begin.empty()) window[0] = begin[0];
  }
  return windows;
}

Windows windows_of_model(const CompressOptions& options, const Checkpoint& checkpoint, const TextProcessor& processor) {
  OwnTextOptions text{.num_windows = num_windows(options), .window = kWindow};
  const std::vector<int32_t> begin = processor.encode_plain("");
  if (!begin.empty()) text.begin = {begin[0]};
  const auto runner = load_runner(checkpoint, own_text_runner(options.model.runner_options(&checkpoint), text));
  load::ProgressBar bar;
  const auto start = std::chrono::steady_clock::now();
  return write_own_text(*runner, text, [&](int64_t done) {
    bar.show("calibration text", done, kWindow, time_left(start, done, kWindow));
  });
}

// A flag of another method would have no effect.
void check_flags(const CompressOptions& asked) {
  struct Flag {
    const char* name;
    bool is_given;
    std::vector<std::string_view> methods;
  };
  const CompressBlocksOptions& blocks = asked.blocks;
  const Flag flags[] = {
      {"--layout", !asked.compression.layout.empty(), {"rtn", "gptq", "awq", "smoothquant"}},
      {"--bits", asked.bits > 0, {"rtn", "gptq", "awq", "smoothquant"}},
      {"--group", !asked.group.empty(), {"rtn", "gptq", "awq"}},
      {"--asymmetric", asked.asymmetric, {"rtn", "gptq", "awq"}},
      {"--act-order", asked.compression.settings.act_order, {"gptq"}},
      {"--search-clip", asked.compression.settings.search_clip, {"rtn"}},
      {"--calibration", !asked.text_file.empty(), {"gptq", "awq", "smoothquant"}},
      {"--calibration-tokens", asked.text_tokens > 0, {"gptq", "awq", "smoothquant"}},
      {"--type", !blocks.type.empty(), {kBlockMethod}},
      {"--target-size", blocks.target_bytes.has_value(), {kBlockMethod}},
      {"--imatrix", !blocks.imatrix.empty(), {kBlockMethod}},
      {"--dry-run", blocks.dry_run, {kBlockMethod}},
  };
  for (const Flag& flag : flags) {
    if (!flag.is_given || std::ranges::count(flag.methods, asked.compression.method) > 0) continue;
    fail(ErrorCode::kInvalidArgument, "{} has no meaning with --method {}; it belongs to {}", flag.name,
         asked.compression.method, fmt::join(flag.methods, ", "));
  }
  if (blocks.target_bytes && (!blocks.type.empty() || *blocks.target_bytes == 0)) {
    fail(ErrorCode::kInvalidArgument, "give --type or a --target-size above 0, not both");
  }
}

void compress_model(CompressOptions& asked) {
  check_flags(asked);
  if (asked.compression.method == kBlockMethod) {
    asked.blocks.model = asked.model.model;
    asked.blocks.output = asked.output;
    asked.blocks.requantizes = asked.compression.requantizes;
    asked.blocks.replaces = asked.compression.replaces;
    asked.blocks.num_threads = asked.model.threads;
    return compress_blocks(asked.blocks);
  }
  CompressionOptions options = asked.compression;
  const auto checkpoint = open_checkpoint(asked.model.model);
  const CompressionMethod& method = compression_method(options.method);
  const bool has_eight_bits = method.layout == std::string_view("w8a8");
  options.output = asked.output;
  options.settings.grid = {.bits = asked.bits > 0   ? asked.bits
                                   : has_eight_bits ? 8
                                                    : 4,
                           .group = asked.group == "channel" || has_eight_bits ? 0
                                    : asked.group.empty()                      ? kDefaultGroup
                                                                               : std::stoi(asked.group),
                           .symmetric = !asked.asymmetric};
  options.num_threads = asked.model.threads;
  options.isa = asked.model.isa;
  check_compression(*checkpoint, options);
  if (method.needs_text) {
    const auto processor = TextProcessor::load(*checkpoint);
    options.windows =
        asked.text_file.empty() ? windows_of_model(asked, *checkpoint, *processor) : windows_of_file(asked, *processor);
  }
  load::ProgressBar bar;
  const auto start = std::chrono::steady_clock::now();
  int first = -1;
  const CompressionResult result = compress(*checkpoint, options, [&](int done, int all) {
    if (first < 0) first = done - 1;
    bar.show(method.name, done, all, time_left(start, done - first, all - first) + " left");
  });
  bar.clear();
  if (result.first_layer > 0) fmt::print("went on after layer {}\n", result.first_layer);
  fmt::print("{}: {} -> {}, {:.2f} bits for each weight of a layer\n", printable(asked.output, 400),
             format_bytes(result.source_bytes), format_bytes(result.output_bytes), result.bits_per_weight);
}

// Of kquant only.
void add_block_flags(Command& command, CompressBlocksOptions& blocks) {
  command.add(
      {{.names = "--type",
        .value = text(blocks.type, "NAME"),
        .help = "kquant: the formats of the file, by llama-quantize's names: a mixture such as Q4_K_M, or one format",
        .default_text = "Q4_K_M"},
       {.names = "--target-size",
        .value = quantity(blocks.target_bytes, "SIZE"),
        .help = "kquant: the most that the file may take (60MiB); each matrix gets the format that pays there"},
       {.names = "--imatrix",
        .value = text(blocks.imatrix, "FILE"),
        .help = "kquant: the importance of columns, a file of llama-imatrix",
        .default_text = "all alike"},
       {.names = "--dry-run", .value = on_off(blocks.dry_run), .help = "kquant: only show the format of each matrix"}});
}

}  // namespace

void add_compress_command(Command& program) {
  Command& command = program.add_command("compress", "Make a smaller checkpoint of a model");
  const auto options = std::make_shared<CompressOptions>();
  CompressionOptions& compression = options->compression;
  options->model.add_model(command);
  command.add(
      {{.names = "-o,--output",
        .value = text(options->output, "PATH"),
        .help = "Where to write it: a Hugging Face directory; kquant: a .gguf file",
        .is_required = true},
       {.names = "--method",
        .value = choice(compression.method, names_of_methods()),
        .help = "How weights become codes: to the nearest (rtn); with the error spread over later columns (gptq); with "
                "scaled channels (awq); eight bits for activations too (smoothquant); in the "
                "formats of GGUF files (kquant)"},
       {.names = "--layout",
        .value = choice(compression.layout, layouts_of_groups()),
        .help = "How the files keep the codes",
        .default_text = "the method's own"},
       {.names = "--bits",
        .value = number(options->bits, 2, 8),
        .help = "Bits of a code",
        .default_text = "4; smoothquant: 8"},
       {.names = "--group",
        .value = choice(options->group, {"32", "64", "128", "channel"}),
        .help = "Columns that share a scale; channel: a whole row",
        .default_text = std::to_string(kDefaultGroup)},
       {.names = "--asymmetric",
        .value = on_off(options->asymmetric),
        .help = "Each group has a zero point of its own"},
       {.names = "--act-order",
        .value = on_off(compression.settings.act_order),
        .help = "gptq: groups of the columns with the largest inputs first"},
       {.names = "--search-clip",
        .value = on_off(compression.settings.search_clip),
        .help = "rtn: search scales that clip a group's range, where that makes its error smaller"},
       {.names = "--calibration",
        .value = text(options->text_file, "FILE"),
        .help = "A text like those that the model will read",
        .default_text = "one that the model writes itself"},
       {.names = "--calibration-tokens",
        .value = number(options->text_tokens, kWindow, int64_t{1} << 30),
        .help = "Tokens of it to use",
        .default_text = std::to_string(kDefaultTextTokens)},
       {.names = "--requantize",
        .value = on_off(compression.requantizes),
        .help = "Take a model that is compressed already"},
       {.names = "--force", .value = on_off(compression.replaces), .help = "Replace what has the output's name"}});
  add_block_flags(command, options->blocks);
  options->model.add_machine(command);
  command.on_run([options] { compress_model(*options); });
}

}  // namespace quire
