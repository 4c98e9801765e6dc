#include "apps/directory_source.h"

#include <fmt/format.h>

#include <optional>

#include "apps/loaded_model.h"
#include "base/cgroup.h"
#include "base/checksum.h"
#include "base/error.h"
#include "compress/blocks/block_recipe.h"
#include "compress/files/convert.h"
#include "compress/files/model_directory.h"
#include "dialogue/gguf_vocabulary.h"
#include "kernels/select.h"
#include "measure/progress_bar.h"
#include "tensor/files/tensor_file_writer.h"

namespace quire {
namespace {

void refuse_codes(const Checkpoint& gguf) {
  for (const auto& [name, view] : gguf.all_tensors()) {
    if (!is_quantised(name, view.rank) || weight_format(view.format).block_elements == 1) continue;
    fail(ErrorCode::kInvalidArgument,
         "{} is quantised already ({} is {}), and would lose twice; give --requantize to take it for the original",
         gguf.name(), printable(name), weight_format(view.format).name);
  }
}

// The name says which state of which file it was made of.
std::filesystem::path converted_path(const Checkpoint& gguf, const std::filesystem::path& output) {
  std::string state;
  for (const MappedFile* file : gguf.files()) {
    const MappedFile::State& of = file->state();
    state += fmt::format("{} {} {}\n", file->bytes().size(), of.inode, of.modified_ns);
  }
  std::filesystem::path path = output;
  return path += fmt::format(".source-{:016x}", checksum64(std::as_bytes(std::span(state))));
}

void convert_to(const std::filesystem::path& path, const Checkpoint& gguf, int num_threads) {
  std::optional<GgufVocabulary> vocabulary;
  if (gguf.gguf()->has("tokenizer.ggml.tokens")) vocabulary = read_gguf_vocabulary(*gguf.gguf());
  ThreadPool pool(num_threads > 0 ? num_threads : available_processors());
  load::ProgressBar bar;
  convert(gguf,
          {.out = path,
           .vocabulary = vocabulary ? &*vocabulary : nullptr,
           .progress =
               [&](uint64_t done, uint64_t all) {
                 bar.show("reading GGUF", static_cast<int64_t>(done), static_cast<int64_t>(all), "");
               }},
          make_exec(pool));
  bar.clear();
}

}  // namespace

DirectorySource::DirectorySource(const DirectorySourceOptions& options)
    : checkpoint_(open_checkpoint(options.model)),
      output_(options.output.has_filename() ? options.output : options.output.parent_path()) {
  if (!checkpoint_->is_gguf()) return;
  if (!options.takes_codes) refuse_codes(*checkpoint_);
  refuse_existing(options.output, options.replaces);
  converted_ = converted_path(*checkpoint_, output_);
  if (!std::filesystem::exists(converted_)) convert_to(converted_, *checkpoint_, options.num_threads);
  checkpoint_ = Checkpoint::open(converted_);
}

DirectorySource::~DirectorySource() {
  if (converted_.empty()) return;
  std::error_code error;
  const bool goes_on = std::filesystem::exists(std::filesystem::path(output_) += kUnfinishedSuffix, error);
  if (!goes_on && !error) std::filesystem::remove_all(converted_, error);
}

}  // namespace quire
