#include "compress/files/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "compress/files/compression_state.h"
#include "compress/files/conversion.h"
#include "compress/files/gguf_metadata.h"
#include "compress/files/model_directory.h"
#include "tensor/files/ggml_types.h"
#include "tensor/files/gguf_writer.h"
#include "tensor/files/safetensors_header.h"
#include "tensor/files/tensor_file_writer.h"
#include "text/tokenizer_files.h"

namespace quire {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

bool is_float(Format format) { return format == Format::kF32 || format == Format::kF16 || format == Format::kBF16; }

// The format of each tensor in the output.
class Formats {
 public:
  Formats(ModelFileKind to, std::optional<Format> type, std::vector<std::string>& lost)
      : to_(to), type_(type), lost_(lost) {
    if (type && !holds(*type)) {
      fail(ErrorCode::kInvalidArgument, "{} has no type {}{}", to == ModelFileKind::kGguf ? "GGUF" : "a directory",
           weight_format(*type).name, to == ModelFileKind::kGguf ? "" : "; it keeps F32, F16 or BF16");
    }
  }

  Format of(const ConvertedTensor& tensor) {
    if (!tensor.is_matrix) return of_vector(tensor);
    const Format wanted = type_.value_or(holds(tensor.source_format) ? tensor.source_format : Format::kF16);
    if (tensor.cols() % weight_format(wanted).block_elements == 0) return wanted;
    lost_.push_back(fmt::format("\"{}\" in {}: its rows of {} elements are no multiple of {}, so that it is F16",
                                printable(tensor.name), weight_format(wanted).name, tensor.cols(),
                                weight_format(wanted).block_elements));
    return Format::kF16;
  }

 private:
  bool holds(Format format) const {
    return to_ == ModelFileKind::kGguf ? ggml_type_of_format(format).has_value() : is_float(format);
  }
  // Readers of GGUF want norms, biases and routers in F32.
  Format of_vector(const ConvertedTensor& tensor) const {
    if (to_ == ModelFileKind::kGguf || !is_float(tensor.source_format)) return Format::kF32;
    return type_.value_or(tensor.source_format);
  }

  ModelFileKind to_;
  std::optional<Format> type_;
  std::vector<std::string>& lost_;
};

struct OutputTensor {
  const ConvertedTensor* tensor;
  Format format;
};

// The format of the most weights.
Format usual_format(const std::vector<OutputTensor>& plan) {
  std::map<Format, uint64_t> bytes;
  for (const OutputTensor& one : plan) {
    bytes[one.format] += DeclaredTensor{one.tensor->name, one.format, one.tensor->shape}.size_bytes();
  }
  return std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; })->first;
}

class Converter {
 public:
  Converter(const Checkpoint& source, const ConvertOptions& options, const Exec& exec)
      : source_(source),
        options_(options),
        exec_(exec),
        to_(options.out.extension() == ".gguf" ? ModelFileKind::kGguf : ModelFileKind::kDirectory),
        conversion_(source, to_) {
    refuse_source(options.out, source);
    refuse_existing(options.out, options.replaces);
    Formats formats(to_, options.type, result_.lost);
    for (const ConvertedTensor& tensor : conversion_.tensors()) plan_.push_back({&tensor, formats.of(tensor)});
    for (const std::string& name : conversion_.left_out()) {
      result_.lost.push_back("the tensor \"" + printable(name) + "\", which the model does not use");
    }
  }

  ConvertResult run() {
    if (to_ == ModelFileKind::kGguf) {
      write_gguf();
    } else {
      write_directory();
    }
    return std::move(result_);
  }

 private:
  void write_gguf() {
    GgufWriter gguf;
    std::vector<GgufTable> tables;
    if (source_.is_gguf()) {
      copy_metadata(*source_.gguf(), gguf);
      tables = tables_of_source();
    } else {
      GgufMetadata metadata = add_model_metadata(source_, *conversion_.architecture(), conversion_.info(), gguf);
      tables = std::move(metadata.tables);
      result_.lost.insert(result_.lost.end(), metadata.lost.begin(), metadata.lost.end());
      add_tokenizer(gguf);
    }
    add_file_type(usual_format(plan_), gguf);
    for (const GgufTable& table : tables) {
      gguf.add_tensor(table.name, Format::kF32, std::vector<int64_t>{static_cast<int64_t>(table.values.size())},
                      GgufWriter::Fill());
    }
    for (const OutputTensor& one : plan_) {
      gguf.add_tensor(one.tensor->name, one.format, one.tensor->shape, GgufWriter::Fill());
    }
    TensorFileWriter out(options_.out.parent_path(), gguf.layout(options_.out.filename()));
    guarded(out, [&] {
      for (const GgufTable& table : tables) out.write(table.name, std::as_bytes(std::span(table.values)));
      write_tensors(out);
      out.finish();
    });
  }

  void write_directory() {
    ModelDirectory directory(options_.out, options_.replaces);
    refuse_compression(directory.folder());
    std::vector<DeclaredTensor> tensors;
    for (const OutputTensor& one : plan_) tensors.push_back({one.tensor->name, one.format, one.tensor->shape});
    TensorFileWriter out(directory.folder(), safetensors_layout(tensors));
    guarded(directory, [&] {
      directory.remove_leftovers(out.layout());
      write_companions(directory);
      write_tensors(out);
      out.finish();
      directory.finish();
    });
  }

  static void refuse_compression(const std::filesystem::path& folder) {
    std::error_code error;
    if (!std::filesystem::exists(folder / kCompressionStateFile, error)) return;
    fail(ErrorCode::kInvalidArgument,
         "'{}' is a compression that was left unfinished; go on with it, remove it or name another output",
         printable(folder.string(), 400));
  }

  void write_companions(const ModelDirectory& directory) {
    json::object config = source_.config();
    if (source_.is_gguf()) {
      add_gguf_companions(directory, config);
    } else {
      config = plain_config();
      directory.copy_companions(source_.directory());
    }
    const Format type = usual_format(plan_);
    config["torch_dtype"] = type == Format::kF32 ? "float32" : type == Format::kBF16 ? "bfloat16" : "float16";
    directory.write_json("config.json", config);
  }

  // `out`: what is abandoned after an error.
  template <typename Output, typename F>
  void guarded(Output& out, F&& write) {
    try {
      write();
    } catch (...) {
      out.abandon();
      throw;
    }
  }

  void write_tensors(TensorFileWriter& out) {
    const uint64_t all = out.layout().size_bytes();
    for (const OutputTensor& one : plan_) {
      const std::vector<std::byte> bytes = conversion_.bytes(*one.tensor, one.format, exec_);
      out.write(one.tensor->name, bytes);
      result_.size_bytes += bytes.size();
      source_.release_pages();
      if (options_.progress) options_.progress(result_.size_bytes, all);
    }
    result_.size_bytes = all;
  }

  std::vector<GgufTable> tables_of_source() const {
    std::vector<GgufTable> tables;
    for (const auto& [name, view] : source_.all_tensors()) {
      if (!name.starts_with("rope_f")) continue;
      tables.push_back({name, std::vector<float>(static_cast<size_t>(view.num_elements()))});
      dequantize(view, tables.back().values);
    }
    return tables;
  }

  // config.json as it was, less what says how its weights were quantised.
  json::object plain_config() const {
    json::object config = read_json_file(source_.directory() / "config.json", kMaxTokenizerBytes).as_object();
    config.erase("quantization_config");
    config.erase("compression_config");
    return config;
  }

  void add_tokenizer(GgufWriter& gguf) {
    const std::filesystem::path folder = source_.directory();
    if (!std::filesystem::exists(folder / "tokenizer.json")) {
      gguf.add_string("tokenizer.ggml.model", "no_vocab");
      result_.lost.emplace_back("a tokenizer: there is no tokenizer.json");
      return;
    }
    const json::value file = read_json_file(folder / "tokenizer.json", kMaxTokenizerBytes);
    std::optional<json::value> config;
    if (std::filesystem::exists(folder / "tokenizer_config.json")) {
      config = read_json_file(folder / "tokenizer_config.json", kMaxTokenizerBytes);
    }
    GgufVocabulary vocabulary =
        gguf_vocabulary_of(file, config ? &*config : nullptr, conversion_.info().vocab_size, result_.lost);
    if (std::filesystem::exists(folder / "chat_template.jinja")) {
      vocabulary.chat_template = read_text_file(folder / "chat_template.jinja", kMaxTemplateBytes);
    }
    add_vocabulary(vocabulary, gguf);
  }

  void add_gguf_companions(const ModelDirectory& directory, json::object& config) {
    json::object generation = source_.generation_config() != nullptr ? *source_.generation_config() : json::object{};
    if (!generation.empty()) generation["do_sample"] = true;
    if (options_.vocabulary == nullptr) {
      result_.lost.emplace_back("a tokenizer: the file has none");
    } else {
      directory.write_json("tokenizer.json", tokenizer_json_of(*options_.vocabulary));
      directory.write_json("tokenizer_config.json", tokenizer_config_of(*options_.vocabulary));
      const Tokenizer tokenizer = load_gguf_vocabulary(*options_.vocabulary);
      if (tokenizer.bos_id()) config["bos_token_id"] = generation["bos_token_id"] = *tokenizer.bos_id();
      if (tokenizer.eos_id()) config["eos_token_id"] = *tokenizer.eos_id();
      generation["eos_token_id"] = json::array(tokenizer.eog_ids().begin(), tokenizer.eog_ids().end());
    }
    directory.write_json("generation_config.json", generation);
  }

  const Checkpoint& source_;
  const ConvertOptions& options_;
  const Exec& exec_;
  ModelFileKind to_;
  Conversion conversion_;
  std::vector<OutputTensor> plan_;
  ConvertResult result_;
};

}  // namespace

ConvertResult convert(const Checkpoint& source, const ConvertOptions& options, const Exec& exec) {
  return Converter(source, options, exec).run();
}

}  // namespace quire
