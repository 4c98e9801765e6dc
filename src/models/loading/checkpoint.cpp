#include "models/loading/checkpoint.h"

#include <utility>

#include "base/error.h"
#include "models/loading/gguf_config.h"
#include "models/loading/gguf_names.h"
#include "tensor/files/safetensors.h"

namespace quire {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

std::vector<Checkpoint::NamedTensor> named(const TensorMap& tensors) {
  std::vector<Checkpoint::NamedTensor> result;
  for (const auto& [name, view] : tensors) result.push_back({name, view});
  return result;
}

class GgufCheckpoint : public Checkpoint {
 public:
  explicit GgufCheckpoint(GgufFile file)
      : file_(std::move(file)),
        architecture_(gguf_architecture(file_)),
        config_(gguf_config(file_, architecture_)),
        generation_config_(gguf_generation_config(file_)) {}

  const std::string& name() const override { return file_.name(); }
  bool is_gguf() const override { return true; }
  const GgufFile* gguf() const override { return &file_; }
  std::filesystem::path directory() const override { return {}; }
  const json::object& config() const override { return config_; }
  const json::object* generation_config() const override {
    return generation_config_.empty() ? nullptr : &generation_config_;
  }
  std::optional<TensorView> find_tensor(std::string_view hf_name) const override {
    return find_gguf_tensor(file_, architecture_, hf_name);
  }
  std::vector<NamedTensor> all_tensors() const override { return named(file_.tensors()); }
  uint64_t file_bytes() const override { return file_.size_bytes(); }
  std::vector<const MappedFile*> files() const override {
    std::vector<const MappedFile*> files;
    for (const MappedFile& file : file_.files()) files.push_back(&file);
    return files;
  }
  bool rope_is_interleaved() const override { return architecture_.rope_is_interleaved; }
  bool norms_include_one() const override { return architecture_.norms_include_one; }
  void release_pages() const override { file_.release_pages(); }

 private:
  GgufFile file_;
  const GgufArchitecture& architecture_;
  json::object config_;
  json::object generation_config_;
};

json::object read_object(const std::filesystem::path& path) {
  json::value value = read_json_file(path, kMaxConfigBytes);
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "{}: expected a JSON object", path.string());
  return std::move(value.get_object());
}

// Models that also read images keep the language model's settings in `text_config`; the name is that of the whole
// model.
json::object read_config(const std::filesystem::path& path) {
  json::object config = read_object(path);
  const json::object* text = find_object(config, "text_config");
  if (text == nullptr) return config;
  json::object merged = config;
  merged.erase("text_config");
  for (const auto& [key, value] : *text) {
    if (key != "architectures" && key != "model_type") merged.insert_or_assign(key, value);
  }
  return merged;
}

// Medusa heads come in a file of their own name.
std::filesystem::path weights_path(const std::filesystem::path& directory) {
  const std::filesystem::path heads = directory / "medusa_lm_head.safetensors";
  const bool has_model = std::filesystem::exists(directory / "model.safetensors");
  return !has_model && std::filesystem::exists(heads) ? heads : directory;
}

class DirectoryCheckpoint : public Checkpoint {
 public:
  explicit DirectoryCheckpoint(const std::filesystem::path& path)
      : path_(path), name_(path.string()), config_(read_config(path / "config.json")) {
    if (std::filesystem::exists(path / "generation_config.json")) {
      generation_config_ = read_object(path / "generation_config.json");
    }
    files_.emplace(SafetensorsDirectory::open(weights_path(path)));
  }

  const std::string& name() const override { return name_; }
  bool is_gguf() const override { return false; }
  const GgufFile* gguf() const override { return nullptr; }
  std::filesystem::path directory() const override { return path_; }
  const json::object& config() const override { return config_; }
  const json::object* generation_config() const override { return generation_config_ ? &*generation_config_ : nullptr; }
  std::optional<TensorView> find_tensor(std::string_view hf_name) const override {
    if (const TensorView* view = files_->find_tensor(hf_name)) return *view;
    // The language model within a model that also reads images.
    if (const TensorView* view = files_->find_tensor("language_model." + std::string(hf_name))) return *view;
    constexpr std::string_view kModel = "model.";
    if (!hf_name.starts_with(kModel)) return std::nullopt;
    const std::string_view inner = hf_name.substr(kModel.size());
    if (const TensorView* view = files_->find_tensor("model.language_model." + std::string(inner))) return *view;
    // A decoder that was saved without its head, as models for embeddings are.
    if (const TensorView* view = files_->find_tensor(inner)) return *view;
    return std::nullopt;
  }
  std::vector<NamedTensor> all_tensors() const override { return named(files_->tensors()); }
  uint64_t file_bytes() const override { return files_->size_bytes(); }
  std::vector<const MappedFile*> files() const override {
    std::vector<const MappedFile*> files;
    for (const SafetensorsFile& part : files_->files()) files.push_back(&part.file());
    return files;
  }
  bool rope_is_interleaved() const override { return false; }
  bool norms_include_one() const override { return false; }
  void release_pages() const override { files_->release_pages(); }

 private:
  std::filesystem::path path_;
  std::string name_;
  json::object config_;
  std::optional<json::object> generation_config_;
  std::optional<SafetensorsDirectory> files_;
};

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::open(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    fail(ErrorCode::kNotFound, "{}: no such file or directory; expected a model directory or a .gguf file",
         path.string());
  }
  if (!std::filesystem::is_directory(path, error)) return std::make_unique<GgufCheckpoint>(GgufFile::open(path));
  if (!std::filesystem::exists(path / "config.json", error)) {
    fail(ErrorCode::kNotFound,
         "{}: found no config.json; expected a Hugging Face model directory, or name a .gguf file", path.string());
  }
  return std::make_unique<DirectoryCheckpoint>(path);
}

std::unique_ptr<Checkpoint> Checkpoint::from_gguf_bytes(std::span<const std::byte> bytes, std::string name) {
  return std::make_unique<GgufCheckpoint>(GgufFile::from_bytes(bytes, std::move(name)));
}

TensorView Checkpoint::tensor(std::string_view hf_name) const {
  if (const auto view = find_tensor(hf_name)) return *view;
  fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" is missing; the file is incomplete or not of this architecture", name(),
       printable(hf_name));
}

bool is_bf16(const Checkpoint& checkpoint) {
  uint64_t bf16_bytes = 0;
  uint64_t bytes = 0;
  for (const Checkpoint::NamedTensor& tensor : checkpoint.all_tensors()) {
    const TensorView& view = tensor.view;
    if (view.rank < 2) continue;
    if (view.format != Format::kF32 && view.format != Format::kF16 && view.format != Format::kBF16) return false;
    bytes += view.size_bytes;
    if (view.format == Format::kBF16) bf16_bytes += view.size_bytes;
  }
  return bf16_bytes > bytes / 2;
}

}  // namespace quire
