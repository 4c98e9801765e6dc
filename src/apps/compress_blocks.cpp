#include "apps/compress_blocks.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "apps/loaded_model.h"
#include "apps/units.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "compress/blocks/block_pipeline.h"
#include "compress/blocks/measured_importance.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

const GgufFile& gguf_of(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return *checkpoint.gguf();
  fail(ErrorCode::kUnsupported, "{} is a directory; kquant takes a GGUF file: make one with quire convert",
       checkpoint.name());
}

void check_output(const CompressBlocksOptions& options) {
  if (options.dry_run) return;
  const std::filesystem::path path = options.output;
  if (path.extension() != ".gguf") {
    fail(ErrorCode::kInvalidArgument, "kquant writes a GGUF file; {} does not end in .gguf", printable(options.output));
  }
  if (std::filesystem::exists(path) && !options.replaces) {
    fail(ErrorCode::kInvalidArgument, "{} exists; give --force to replace it", printable(options.output));
  }
}

void show_plan(const BlockPlan& plan, bool has_errors) {
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!tensor.is_quantised) continue;
    fmt::print("{:<36}{:>20}  {:>6} -> {:<6}{:>12}", printable(tensor.name), shape_text(tensor.source.dimensions()),
               weight_format(tensor.source.format).name, weight_format(tensor.format).name, format_bytes(tensor.bytes));
    if (has_errors) fmt::print("{:>10.4f} %", 100 * tensor.error);
    fmt::print("\n");
  }
}

// From a file, or measured on a text.
std::optional<ImportanceFile> importance_for(const CompressBlocksOptions& options, const Checkpoint& checkpoint) {
  if (!options.imatrix.empty()) return read_imatrix(options.imatrix);
  if (options.text.file.empty() && options.text.num_tokens == 0 && options.imatrix_out.empty()) return std::nullopt;
  load::ProgressBar bar;
  const auto windows = calibration_windows(options.text, options.model, checkpoint);
  const std::string dataset = options.text.file.empty() ? "written by the model" : options.text.file;
  ImportanceFile importance = measure_importance(
      checkpoint,
      {.windows = windows, .dataset = dataset, .num_threads = options.model.threads, .isa = options.model.isa},
      [&](int done, int all) { bar.show("importance", done, all, ""); });
  bar.clear();
  if (!options.imatrix_out.empty()) write_imatrix(importance, options.imatrix_out);
  return importance;
}

}  // namespace

void compress_blocks(const CompressBlocksOptions& options) {
  check_output(options);
  const auto checkpoint = open_checkpoint(options.model.model);
  const GgufFile& source = gguf_of(*checkpoint);
  const std::optional<ImportanceFile> importance = importance_for(options, *checkpoint);
  ThreadPool pool(options.model.threads > 0 ? options.model.threads : available_processors());
  const BlockOptions blocks = {.recipe = options.type.empty() ? "Q4_K_M" : options.type,
                               .target_bytes = options.target_bytes.value_or(0),
                               .importance = importance ? &*importance : nullptr,
                               .requantizes = options.requantizes,
                               .keep = options.keep};
  load::ProgressBar bar;
  const auto show = [&](const char* what) {
    return [&bar, what](uint64_t done, uint64_t all) {
      bar.show(what, static_cast<int64_t>(done), static_cast<int64_t>(all), "");
    };
  };
  const BlockPlan plan = plan_blocks(source, blocks, pool, show("measuring"));
  bar.clear();
  if (options.dry_run) {
    show_plan(plan, options.target_bytes.has_value());
  } else {
    write_blocks(source, plan, blocks, options.output, pool, show("kquant"));
    bar.clear();
  }
  fmt::print("{}: {} -> {}\n", options.dry_run ? "would be" : printable(options.output, 400),
             format_bytes(source.size_bytes()), format_bytes(plan.file_bytes));
}

}  // namespace quire
