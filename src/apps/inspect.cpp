// `quire inspect`: what each tensor of a model holds, and what compression cost it.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "base/json.h"
#include "compress/inspection.h"
#include "kernels/select.h"

namespace quire {
namespace {

struct InspectOptions {
  std::string model;
  std::string tensor;  // a part of names; empty: all
  std::string original;
  int threads = 0;
  bool json = false;
};

// One character for each bin, taller ones for more values.
std::string bars(const InspectedTensor& tensor) {
  constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const int64_t most = std::max<int64_t>(1, std::ranges::max(tensor.histogram));
  std::string text;
  for (const int64_t count : tensor.histogram) text += kBars[(count * 8 + most - 1) / most];
  return text;
}

std::string range_text(const ValueRange& range) {
  return range.lowest == range.highest ? fmt::format("{:.4g}", range.lowest)
                                       : fmt::format("{:.4g} to {:.4g}", range.lowest, range.highest);
}

void show(const InspectedTensor& tensor) {
  fmt::print("{}  {}  {}, {:.2f} bits each\n", printable(tensor.name), shape_text(tensor.shape),
             weight_format(tensor.format).name, tensor.bits_per_weight);
  fmt::print("  values {}, root mean square {:.4g}, zeros {:.1f} %\n", range_text(tensor.values),
             tensor.root_mean_square, 100 * tensor.share_of_zeros);
  fmt::print("  |{}|\n", bars(tensor));
  if (tensor.groups) {
    fmt::print("  scale {}, zero point {}\n", range_text(tensor.groups->scales), range_text(tensor.groups->zeros));
  }
  if (tensor.difference) {
    fmt::print("  error {:.4f} % of the original's size, largest {:.4g}\n", 100 * tensor.difference->relative_rms,
               tensor.difference->largest);
  }
}

json::array range_json(const ValueRange& range) { return {range.lowest, range.highest}; }

json::object tensor_json(const InspectedTensor& tensor) {
  json::object object{{"name", tensor.name},
                      {"format", weight_format(tensor.format).name},
                      {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                      {"bits_per_weight", tensor.bits_per_weight},
                      {"values", range_json(tensor.values)},
                      {"root_mean_square", tensor.root_mean_square},
                      {"share_of_zeros", tensor.share_of_zeros},
                      {"histogram", json::array(tensor.histogram.begin(), tensor.histogram.end())}};
  if (tensor.groups) {
    object["scales"] = range_json(tensor.groups->scales);
    object["zero_points"] = range_json(tensor.groups->zeros);
  }
  if (tensor.difference) {
    object["relative_error"] = tensor.difference->relative_rms;
    object["largest_error"] = tensor.difference->largest;
  }
  return object;
}

constexpr const char* kLegend =
    "Each weight is scale * (code - zero point), with a scale for each group of columns; formats without whole codes\n"
    "have no such line. The bars count the values in 16 equal parts of their range.\n\n";

void inspect(const InspectOptions& options) {
  const auto checkpoint = open_checkpoint(options.model);
  const auto original = options.original.empty() ? nullptr : open_checkpoint(options.original);
  Inspection inspection(*checkpoint, original.get());
  ThreadPool pool(options.threads > 0 ? options.threads : available_processors());
  const Exec exec = make_exec(pool);
  json::array all;
  int num_shown = 0;
  for (const ConvertedTensor& tensor : inspection.tensors()) {
    if (tensor.name.find(options.tensor) == std::string::npos) continue;
    const InspectedTensor seen = inspection.inspect(tensor, exec);
    if (options.json) {
      all.push_back(tensor_json(seen));
    } else {
      if (num_shown == 0) fmt::print("{}", kLegend);
      show(seen);
    }
    ++num_shown;
  }
  if (num_shown == 0) {
    fail(ErrorCode::kInvalidArgument, "no tensor has '{}' in its name; quire info --tensors lists them",
         printable(options.tensor));
  }
  if (options.json) fmt::print("{}\n", json::serialize(all));
}

}  // namespace

void add_inspect_command(Command& program) {
  Command& command = program.add_command("inspect", "Show what the tensors of a model hold, and what codes cost them");
  const auto options = std::make_shared<InspectOptions>();
  command.add({{.names = "MODEL",
                .value = text(options->model, "MODEL"),
                .help = "A directory, a .gguf file, or demo",
                .is_required = true},
               {.names = "--tensor",
                .value = text(options->tensor, "NAME"),
                .help = "Only tensors that have this in their (Hugging Face) names",
                .default_text = "all"},
               {.names = "--against",
                .value = text(options->original, "MODEL"),
                .help = "The original of a model that was compressed: shows the error of each tensor"},
               {.names = "-t,--threads",
                .value = number(options->threads, 0, 1024),
                .help = "Threads; 0: as many as there are processors"},
               {.names = "--json", .value = on_off(options->json), .help = "Print one JSON array"}});
  command.on_run([options] { inspect(*options); });
}

}  // namespace quire
