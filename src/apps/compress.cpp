// `quire compress`: makes a smaller checkpoint of a model, and says what it did.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "apps/calibration_text.h"
#include "apps/commands.h"
#include "apps/compress_blocks.h"
#include "apps/compress_report.h"
#include "apps/directory_source.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"
#include "compress/compression.h"
#include "compress/layouts/layout.h"
#include "compress/pruning/smaller_model.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

constexpr int64_t kDefaultGroup = 128;
constexpr const char* kDefaultSparsity = "50%";

struct CompressOptions {
  ModelOptions model;
  CompressionOptions compression;
  std::string output;
  std::string group;  // empty: kDefaultGroup
  int bits = 0;       // 0: the method's
  bool asymmetric = false;
  CalibrationText text;
  std::string sparsity;  // empty: kDefaultSparsity
  SmallerSizes smaller;
  CompressBlocksOptions blocks;
};

// Commands of their own inside: the method whose formats are GGUF's, and the one whose matrices have other shapes.
constexpr std::string_view kBlockMethod = "kquant";
constexpr std::string_view kStructuredMethod = "structured";

std::vector<std::string> names_of_methods() {
  std::vector<std::string> names;
  for (const CompressionMethod& method : compression_methods()) names.emplace_back(method.name);
  names.emplace_back(kStructuredMethod);
  names.emplace_back(kBlockMethod);
  return names;
}

// Those that keep what the methods make.
std::vector<std::string> layouts_of_groups() {
  std::vector<std::string> names;
  for (const CompressedLayout* layout : compressed_layouts()) {
    if (layout->pack != nullptr) names.emplace_back(layout->name);
  }
  return names;
}

// A flag of another method would have no effect.
void check_flags(const CompressOptions& asked) {
  struct Flag {
    const char* name;
    bool is_given;
    std::vector<std::string_view> methods;
  };
  const CompressBlocksOptions& blocks = asked.blocks;
  std::vector<std::string_view> keeping, calibrating;
  for (const CompressionMethod& method : compression_methods()) {
    keeping.emplace_back(method.name);
    if (method.needs_text) calibrating.emplace_back(method.name);
  }
  calibrating.insert(calibrating.end(), {kStructuredMethod, kBlockMethod});
  keeping.push_back(kBlockMethod);
  const Flag flags[] = {
      {"--layout", !asked.compression.layout.empty(), {"rtn", "gptq", "awq", "smoothquant"}},
      {"--bits", asked.bits > 0, {"rtn", "gptq", "awq", "smoothquant", "magnitude", "wanda", "sparsegpt"}},
      {"--group", !asked.group.empty(), {"rtn", "gptq", "awq", "fp8"}},
      {"--asymmetric", asked.asymmetric, {"rtn", "gptq", "awq"}},
      {"--act-order", asked.compression.settings.act_order, {"gptq"}},
      {"--search-clip", asked.compression.settings.search_clip, {"rtn"}},
      {"--sparsity", !asked.sparsity.empty(), {"magnitude", "wanda", "sparsegpt"}},
      {"--calibration", !asked.text.file.empty(), calibrating},
      {"--calibration-tokens", asked.text.num_tokens > 0, calibrating},
      {"--layers", !asked.smaller.layers.empty(), {kStructuredMethod}},
      {"--heads", !asked.smaller.heads.empty(), {kStructuredMethod}},
      {"--ffn", !asked.smaller.channels.empty(), {kStructuredMethod}},
      {"--hidden", !asked.smaller.hidden.empty(), {kStructuredMethod}},
      {"--keep", !asked.compression.keep.empty(), keeping},
      {"--imatrix-out", !blocks.imatrix_out.empty(), {kBlockMethod}},
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
  if (!blocks.imatrix.empty() &&
      (!asked.text.file.empty() || asked.text.num_tokens > 0 || !blocks.imatrix_out.empty())) {
    fail(ErrorCode::kInvalidArgument, "give --imatrix, or a text to measure importance on, not both");
  }
  if (blocks.target_bytes && (!blocks.type.empty() || *blocks.target_bytes == 0)) {
    fail(ErrorCode::kInvalidArgument, "give --type or a --target-size above 0, not both");
  }
}

MethodOptions settings_of(const CompressOptions& asked, const CompressionMethod& method) {
  MethodOptions settings = asked.compression.settings;
  const bool has_eight_bits = method.layout == std::string_view("w8a8");
  const bool is_per_row = asked.group == "channel" || has_eight_bits;
  settings.grid.bits = asked.bits > 0 || method.prunes ? asked.bits : has_eight_bits ? 8 : 4;
  settings.grid.symmetric = !asked.asymmetric;
  if (asked.group == "tensor") {
    if (method.name != std::string_view("fp8")) {
      fail(ErrorCode::kInvalidArgument, "--group tensor belongs to --method fp8, not to {}", method.name);
    }
    settings.float8 = kFloat8PerTensor;
  } else {
    settings.grid.group = is_per_row ? 0 : asked.group.empty() ? kDefaultGroup : std::stoi(asked.group);
    if (asked.group == "128") settings.float8 = kFloat8Blocks128;
    if (method.name == std::string_view("fp8") && (asked.group == "32" || asked.group == "64")) {
      fail(ErrorCode::kInvalidArgument,
           "--method fp8 has scales for a tensor, a channel or blocks of 128 x 128, not {}", asked.group);
    }
  }
  if (method.prunes) settings.sparsity = parse_sparsity(asked.sparsity.empty() ? kDefaultSparsity : asked.sparsity);
  return settings;
}

DirectorySource directory_source(const CompressOptions& asked) {
  return DirectorySource({.model = asked.model.model,
                          .output = asked.output,
                          .takes_codes = asked.compression.requantizes,
                          .replaces = asked.compression.replaces,
                          .num_threads = asked.model.threads});
}

void leave_parts_out(const CompressOptions& asked) {
  const SmallerSizes& sizes = asked.smaller;
  if (sizes.layers.empty() && sizes.heads.empty() && sizes.channels.empty() && sizes.hidden.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "--method structured: say what is to remain by --layers, --heads, --ffn, --hidden");
  }
  const DirectorySource source = directory_source(asked);
  const Checkpoint* const checkpoint = &source.checkpoint();
  SmallerModelOptions options = {.sizes = sizes,
                                 .output = asked.output,
                                 .replaces = asked.compression.replaces,
                                 .num_threads = asked.model.threads,
                                 .isa = asked.model.isa};
  check_smaller_model(*checkpoint, options);
  options.windows = calibration_windows(asked.text, asked.model, *checkpoint);
  load::ProgressBar bar;
  const auto start = std::chrono::steady_clock::now();
  const KeptParts kept = write_smaller_model(*checkpoint, options, [&](int done, int all) {
    bar.show(std::string(kStructuredMethod), done, all, time_left(start, done, all) + " left");
  });
  bar.clear();
  std::vector<int> layers;
  for (const KeptLayer& layer : kept.layers) layers.push_back(layer.layer);
  fmt::print("layers {}\n", fmt::join(layers, ", "));
  fmt::print("{}: {} -> {}\n", printable(asked.output, 400), format_bytes(checkpoint->file_bytes()),
             format_bytes(open_checkpoint(asked.output)->file_bytes()));
}

void compress_model(CompressOptions& asked) {
  check_flags(asked);
  if (asked.compression.method == kBlockMethod) {
    asked.blocks.model = asked.model;
    asked.blocks.text = asked.text;
    asked.blocks.keep = asked.compression.keep;
    asked.blocks.output = asked.output;
    asked.blocks.requantizes = asked.compression.requantizes;
    asked.blocks.replaces = asked.compression.replaces;
    return compress_blocks(asked.blocks);
  }
  if (asked.compression.method == kStructuredMethod) return leave_parts_out(asked);
  CompressionOptions options = asked.compression;
  const CompressionMethod& method = compression_method(options.method);
  options.output = asked.output;
  options.settings = settings_of(asked, method);
  const DirectorySource source = directory_source(asked);
  const Checkpoint* const checkpoint = &source.checkpoint();
  options.num_threads = asked.model.threads;
  options.isa = asked.model.isa;
  check_compression(*checkpoint, options);
  if (method.needs_text) options.windows = calibration_windows(asked.text, asked.model, *checkpoint);
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

// Of structured only.
void add_structured_flags(Command& command, SmallerSizes& sizes) {
  command.add({{.names = "--layers",
                .value = text(sizes.layers, "N"),
                .help = "structured: layers that remain, a number or a share (0.75)",
                .default_text = "all"},
               {.names = "--heads",
                .value = text(sizes.heads, "N"),
                .help = "structured: attention heads that remain in each layer",
                .default_text = "all"},
               {.names = "--ffn",
                .value = text(sizes.channels, "N"),
                .help = "structured: channels of each feed-forward network that remain",
                .default_text = "all"},
               {.names = "--hidden",
                .value = text(sizes.hidden, "N"),
                .help = "structured: dimensions of the residual stream that remain",
                .default_text = "all"}});
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
        .default_text = "all alike, unless a calibration text is given"},
       {.names = "--imatrix-out",
        .value = text(blocks.imatrix_out, "FILE"),
        .help = "kquant: measure the importance of columns on the calibration text, and keep it in this file too"},
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
        .help = "How weights become codes: to the nearest (rtn); E4M3 floats (fp8); with the error spread over later "
                "columns (gptq); with scaled channels (awq); eight bits for activations too (smoothquant); in the "
                "formats of GGUF files (kquant). Or zeros: the smallest weights (magnitude), times their inputs "
                "(wanda), with the error spread (sparsegpt). Or without whole parts (structured)"},
       {.names = "--layout",
        .value = choice(compression.layout, layouts_of_groups()),
        .help = "How the files keep the codes",
        .default_text = "the method's own"},
       {.names = "--bits",
        .value = number(options->bits, 2, 8),
        .help = "Bits of a code; with pruning 8",
        .default_text = "4; smoothquant: 8; pruning: floats remain"},
       {.names = "--group",
        .value = choice(options->group, {"32", "64", "128", "channel", "tensor"}),
        .help = "Columns that share a scale; channel: a whole row; of fp8: channel, tensor, or 128 rows and columns",
        .default_text = std::to_string(kDefaultGroup) + "; fp8: channel"},
       {.names = "--asymmetric",
        .value = on_off(options->asymmetric),
        .help = "Each group has a zero point of its own"},
       {.names = "--act-order",
        .value = on_off(compression.settings.act_order),
        .help = "gptq: groups of the columns with the largest inputs first"},
       {.names = "--search-clip",
        .value = on_off(compression.settings.search_clip),
        .help = "rtn: search scales that clip a group's range, where that makes its error smaller"},
       {.names = "--sparsity",
        .value = text(options->sparsity, "SHARE"),
        .help = "magnitude, wanda, sparsegpt: zeros in each row (50%), or 2:4, 4:8, 32:64 to keep so many of so many "
                "neighbours",
        .default_text = kDefaultSparsity},
       {.names = "--keep",
        .value = words(compression.keep),
        .help =
            "Matrices that stay as they are, by parts of their names: down_proj,layers.0. or of GGUF output,blk.0."},
       {.names = "--requantize",
        .value = on_off(compression.requantizes),
        .help = "Take a model that is compressed already"},
       {.names = "--force", .value = on_off(compression.replaces), .help = "Replace what has the output's name"}});
  options->text.add_flags(command);
  add_structured_flags(command, options->smaller);
  add_block_flags(command, options->blocks);
  options->model.add_machine(command);
  command.on_run([options] { compress_model(*options); });
  add_compress_report(command);
}

}  // namespace quire
