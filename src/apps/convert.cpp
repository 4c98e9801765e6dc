// `quire convert`: a model from one kind of file to another.

#include "compress/files/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/units.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "dialogue/gguf_vocabulary.h"
#include "kernels/select.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

struct ConvertFlags {
  std::string model;
  std::string out;
  std::string type = "keep";
  int threads = 0;
  bool force = false;
};

std::optional<Format> format_of_flag(std::string name) {
  if (name == "keep") return std::nullopt;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto format = format_by_name(name);
  if (format && weight_format(*format).is_weight()) return format;
  fail(ErrorCode::kInvalidArgument, "--type: '{}' is no weight format; give f32, f16, bf16, q8_0, q4_0 ... or keep",
       printable(name, 40));
}

void run_convert(const ConvertFlags& options) {
  const auto checkpoint = open_checkpoint(options.model);
  std::optional<GgufVocabulary> vocabulary;
  if (checkpoint->is_gguf() && checkpoint->gguf()->has("tokenizer.ggml.tokens")) {
    vocabulary = read_gguf_vocabulary(*checkpoint->gguf());
  }
  ThreadPool pool(options.threads > 0 ? options.threads : available_processors());
  load::ProgressBar bar;
  const ConvertResult result =
      convert(*checkpoint,
              {.out = options.out,
               .type = format_of_flag(options.type),
               .replaces = options.force,
               .vocabulary = vocabulary ? &*vocabulary : nullptr,
               .progress =
                   [&](uint64_t done, uint64_t all) {
                     bar.show("converting", static_cast<int64_t>(done), static_cast<int64_t>(all), "");
                   }},
              make_exec(pool));
  bar.clear();
  fmt::print("{}: {}\n", options.out, format_bytes(result.size_bytes));
  for (const std::string& what : result.lost) fmt::print("not carried over: {}\n", what);
}

}  // namespace

void add_convert_command(Command& program) {
  Command& command = program.add_command("convert", "Turn a model directory into a GGUF file, or the other way round");
  const auto options = std::make_shared<ConvertFlags>();
  command.add({{.names = "MODEL",
                .value = text(options->model, "MODEL"),
                .help = "A directory or a .gguf file",
                .is_required = true},
               {.names = "OUT,-o,--out",
                .value = text(options->out, "OUT"),
                .help = "A name that ends in .gguf, or a directory to make",
                .is_required = true},
               {.names = "--type",
                .value = text(options->type, "FORMAT"),
                .help = "Of the matrices: f32, f16, bf16, or in GGUF any format; keep: as they are, f16 where the "
                        "output has no such type"},
               {.names = "-t,--threads",
                .value = number(options->threads, 0, 1024),
                .help = "Threads; 0: as many as there are processors"},
               {.names = "--force", .value = on_off(options->force), .help = "Replace an output that exists"}});
  command.on_run([options] { run_convert(*options); });
}

}  // namespace quire
