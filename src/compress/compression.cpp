#include "compress/compression.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/cgroup.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/error.h"
#include "compress/calibration/calibration.h"
#include "compress/calibration/input_sums.h"
#include "compress/files/compression_state.h"
#include "compress/files/model_directory.h"
#include "compress/files/model_parts.h"
#include "compress/layouts/layout.h"
#include "kernels/select.h"
#include "tensor/files/tensor_file_writer.h"

namespace quire {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

json::object plain_config(const Checkpoint& source) {
  const json::value config = read_json_file(source.directory() / "config.json", kMaxConfigBytes);
  return config.as_object();
}

bool is_compressed(const json::object& config) {
  return config.contains("quantization_config") || config.contains("compression_config");
}

void check_options(const Checkpoint& source, const CompressionOptions& options) {
  if (source.is_gguf()) {
    fail(ErrorCode::kUnsupported,
         "{} is a GGUF file, and this method writes a Hugging Face directory; make one of it first: "
         "quire convert MODEL.gguf DIRECTORY",
         source.name());
  }
  if (is_compressed(source.config()) && !options.requantizes) {
    fail(ErrorCode::kInvalidArgument,
         "{} is compressed already; compress the original, or take what is left of its quality with --requantize",
         source.name());
  }
  if (options.settings.act_order && options.method != "gptq") {
    fail(ErrorCode::kInvalidArgument, "--act-order belongs to --method gptq, not to {}", printable(options.method));
  }
  refuse_source(options.output, source);
  refuse_existing(options.output, options.replaces);
}

// All that the output's bytes follow from.
std::string task_of(const Checkpoint& source, const CompressionOptions& options, const CompressedLayout& layout) {
  const GroupGrid& grid = options.settings.grid;
  std::string task =
      fmt::format("{} {} bits {} group {} symmetric {} order {} clip {}\n", options.method, layout.name, grid.bits,
                  grid.group, grid.symmetric, options.settings.act_order, options.settings.search_clip);
  const MethodOptions& settings = options.settings;
  task += fmt::format("float8 {} x {} sparsity {} of {} keep {}\n", settings.float8.rows, settings.float8.cols,
                      settings.sparsity.share, settings.sparsity.group, fmt::join(options.keep, ","));
  uint64_t text = 0;
  for (const auto& window : options.windows) text = checksum64(std::as_bytes(std::span(window)), text + window.size());
  task += fmt::format("text {:016x} table {}\n", text, select_kernels(options.isa, Activations::kF32).name);
  for (const MappedFile* file : source.files()) {
    const MappedFile::State& state = file->state();
    task += fmt::format("{} {} {} {}\n", file->path().string(), file->bytes().size(), state.inode, state.modified_ns);
  }
  return task;
}

std::span<const std::byte> bytes_of(const TensorView& view) { return {view.data, view.size_bytes}; }

class Compression {
 public:
  Compression(const Checkpoint& source, const CompressionOptions& options)
      : source_(source),
        options_(options),
        method_(compression_method(options.method)),
        form_(method_.form(options.settings)),
        layout_(compressed_layout(!options.layout.empty()             ? options.layout
                                  : form_.kind == MatrixKind::kFloats ? "plain"
                                                                      : method_.layout)),
        parts_(model_parts(source, options.keep)),
        weights_(source, RankShare{}),
        threads_(options.num_threads > 0 ? options.num_threads : available_processors()),
        exec_(make_exec(threads_)) {}

  // Before anything is computed or written.
  void check_matrices() {
    for (const auto& layer : parts_.layers) {
      for (const ModelMatrix& matrix : layer) {
        const int64_t group = form_.grid.group;
        if (form_.kind == MatrixKind::kCodes && group > 0 && matrix.cols % group != 0) {
          fail(ErrorCode::kInvalidArgument,
               "\"{}\" has {} columns, no multiple of groups of {}; choose another --group: 32, 64, 128 or channel",
               printable(matrix.name), matrix.cols, group);
        }
        const std::string refusal = layout_.refusal(form_of(matrix), matrix.rows, matrix.cols);
        if (!refusal.empty()) {
          fail(ErrorCode::kInvalidArgument, "\"{}\": {}", printable(matrix.name), refusal);
        }
        result_.num_weights += matrix.rows * matrix.cols;
      }
    }
    if (result_.num_weights == 0) fail(ErrorCode::kUnsupported, "{}: found no matrix to compress", source_.name());
  }

  CompressionResult run(const CompressionProgress& progress) {
    check_matrices();
    ModelDirectory directory(options_.output, options_.replaces);
    const CompressionStateFile state(directory.folder() / kCompressionStateFile, task_of(source_, options_, layout_));
    begin(directory, state);
    const int num_layers = static_cast<int>(parts_.layers.size());
    for (int layer = result_.first_layer; layer < num_layers; ++layer) {
      compress_layer(layer);
      writer_->sync();
      write_state(state, layer + 1);
      source_.release_pages();
      if (progress) progress(layer + 1, num_layers);
    }
    finish(directory, state);
    return result_;
  }

 private:
  MatrixForm form_of(const ModelMatrix& matrix) const {
    MatrixForm form = form_;
    form.format = matrix.format;
    return form;
  }

  TensorFileLayout declare() {
    std::vector<DeclaredTensor> tensors;
    uint64_t code_bytes = 0;
    for (const auto& layer : parts_.layers) {
      for (const ModelMatrix& matrix : layer) {
        for (PartTensor& part : layout_.declare(form_of(matrix), matrix.rows, matrix.cols)) {
          tensors.push_back({matrix.module + "." + part.part, part.format, std::move(part.shape)});
          code_bytes += tensors.back().size_bytes();
        }
      }
    }
    for (const auto& [name, view] : parts_.plain) {
      tensors.push_back({name, view.format, {view.dimensions().begin(), view.dimensions().end()}});
    }
    result_.bits_per_weight = 8.0 * static_cast<double>(code_bytes) / static_cast<double>(result_.num_weights);
    return safetensors_layout(tensors);
  }

  void begin(const ModelDirectory& directory, const CompressionStateFile& state) {
    std::optional<CompressionState> left = state.read(/*may_be_lost=*/options_.replaces);
    // The writer empties the files that the state of another task speaks of.
    if (!left) state.remove();
    const auto start = left ? TensorFileWriter::Start::kContinue : TensorFileWriter::Start::kNew;
    writer_.emplace(directory.folder(), declare(), start);
    result_.output_bytes = writer_->layout().size_bytes();
    result_.source_bytes = source_.file_bytes();
    if (method_.needs_text) {
      calibrator_.emplace(source_, options_.windows,
                          CalibrationOptions{.wanted = method_.wanted,
                                             .sees_replaced = method_.sees_replaced,
                                             .num_threads = threads_.num_threads(),
                                             .isa = options_.isa});
    }
    if (left) {
      result_.first_layer = left->num_layers_done;
      if (calibrator_) calibrator_->resume(left->num_layers_done, std::move(left->residual));
    } else {
      directory.remove_leftovers(writer_->layout());
      write_state(state, 0);  // from here on another command is refused
    }
  }

  void write_state(const CompressionStateFile& state, int num_layers_done) const {
    state.write(num_layers_done, calibrator_ ? calibrator_->residual() : std::span<const float>());
  }

  void compress_layer(int layer) {
    LayerWork work;
    for (const ModelMatrix& matrix : parts_.layers[static_cast<size_t>(layer)]) {
      work.matrices.push_back({.name = matrix.name,
                               .rows = matrix.rows,
                               .cols = matrix.cols,
                               .format = matrix.format,
                               .values = read_floats(weights_, matrix, exec_)});
    }
    CalibratedLayer seen;
    std::map<int64_t, InputStatistics> unseen;
    if (calibrator_) {
      seen = calibrator_->see();
      connect(seen, unseen, work);
    }
    if (method_.changes_vectors) {
      work.vectors = vectors_of(layer);
      work.foldings = foldings(source_, layer);
    }
    const std::vector<CompressedMatrix> made = method_.compress(work, options_.settings, threads_);
    for (size_t i = 0; i < made.size(); ++i) {
      const ModelMatrix& matrix = parts_.layers[static_cast<size_t>(layer)][i];
      for (const PartTensor& part : pack(layout_, made[i])) {
        writer_->write(matrix.module + "." + part.part, part.bytes);
      }
      if (!method_.sees_replaced) continue;
      dequantize(made[i], work.matrices[i].values);
      calibrator_->overlay().replace(matrix.name, {matrix.rows, matrix.cols}, std::move(work.matrices[i].values));
    }
    write_vectors(layer, work);
    if (calibrator_) calibrator_->pass();
  }

  // Gives each matrix what calibration has seen of its input. Experts that no token chose share sums of nothing, by
  // their number of columns.
  void connect(CalibratedLayer& seen, std::map<int64_t, InputStatistics>& unseen, LayerWork& work) const {
    for (LayerMatrix& matrix : work.matrices) {
      const auto found = std::ranges::find(seen.matrices, matrix.name, &CalibratedMatrix::name);
      if (found != seen.matrices.end()) {
        matrix.input = &seen.inputs[found->input];
        continue;
      }
      const auto [entry, is_new] = unseen.try_emplace(matrix.cols);
      if (is_new) entry->second = InputSums(matrix.cols, method_.wanted, 0).take();
      matrix.input = &entry->second;
    }
  }

  static std::string prefix_of(int layer) { return fmt::format("layers.{}.", layer); }

  // Whether a tensor that stays is a norm or a bias of the layer.
  static bool is_vector_of(const Checkpoint::NamedTensor& tensor, int layer) {
    return tensor.view.rank == 1 && tensor.name.find(prefix_of(layer)) != std::string::npos &&
           weight_format(tensor.view.format).is_weight();
  }

  static std::string hf_name(const std::string& name, int layer) {
    return "model." + name.substr(name.find(prefix_of(layer)));
  }

  std::map<std::string, std::vector<float>, std::less<>> vectors_of(int layer) const {
    std::map<std::string, std::vector<float>, std::less<>> vectors;
    for (const Checkpoint::NamedTensor& tensor : parts_.plain) {
      if (!is_vector_of(tensor, layer)) continue;
      std::vector<float>& values = vectors[hf_name(tensor.name, layer)];
      values.resize(static_cast<size_t>(tensor.view.num_elements()));
      dequantize(tensor.view, values);
    }
    return vectors;
  }

  void write_vectors(int layer, const LayerWork& work) {
    for (const Checkpoint::NamedTensor& tensor : parts_.plain) {
      if (!is_vector_of(tensor, layer)) continue;
      const auto found = work.vectors.find(hf_name(tensor.name, layer));
      if (found == work.vectors.end()) continue;
      std::vector<std::byte> bytes(tensor.view.size_bytes);
      weight_format(tensor.view.format).quantize(found->second.data(), bytes.data(), tensor.view.num_elements());
      writer_->write(tensor.name, bytes);
    }
  }

  bool is_changed(const Checkpoint::NamedTensor& tensor) const {
    if (!method_.changes_vectors) return false;
    for (int layer = 0; layer < static_cast<int>(parts_.layers.size()); ++layer) {
      if (is_vector_of(tensor, layer)) return true;
    }
    return false;
  }

  void finish(ModelDirectory& directory, const CompressionStateFile& state) {
    for (const Checkpoint::NamedTensor& tensor : parts_.plain) {
      if (!is_changed(tensor)) writer_->write(tensor.name, bytes_of(tensor.view));
    }
    directory.copy_companions(source_.directory());
    json::object config = plain_config(source_);
    config.erase("compression_config");
    config.erase("quantization_config");
    json::object scheme = layout_.config(form_, parts_.plain_modules);
    if (!scheme.empty()) config["quantization_config"] = std::move(scheme);
    directory.write_json("config.json", config);
    writer_->finish();
    state.remove();
    directory.finish();
  }

  const Checkpoint& source_;
  const CompressionOptions& options_;
  const CompressionMethod& method_;
  const MatrixForm form_;
  const CompressedLayout& layout_;
  ModelParts parts_;
  TensorSource weights_;
  ThreadPool threads_;
  Exec exec_;
  std::optional<Calibrator> calibrator_;
  std::optional<TensorFileWriter> writer_;
  CompressionResult result_;
};

}  // namespace

void check_compression(const Checkpoint& source, const CompressionOptions& options) {
  check_options(source, options);
  Compression(source, options).check_matrices();
}

CompressionResult compress(const Checkpoint& source, const CompressionOptions& options,
                           const CompressionProgress& progress) {
  check_options(source, options);
  return Compression(source, options).run(progress);
}

}  // namespace quire
