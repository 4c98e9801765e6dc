#include "compress/blocks/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/replace_file.h"
#include "tensor/files/gguf.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

constexpr std::string_view kSumsSuffix = ".in_sum2";
constexpr std::string_view kCountsSuffix = ".counts";

// Sums of squares and counts are never negative; nothing else may reach a search of scales.
void require_plain(std::span<const float> values, std::string_view name, const std::filesystem::path& path) {
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value) || value < 0; });
  if (bad == values.end()) return;
  fail(ErrorCode::kCorrupt, "{}: {} holds {}, expected sums of squares: finite numbers from 0 on", path.string(),
       printable(name), *bad);
}

std::vector<float> floats_of_view(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dequantize(view, values);
  return values;
}

ImportanceFile read_gguf_form(const std::filesystem::path& path) {
  const GgufFile gguf = GgufFile::open(path);
  if (gguf.find_string("general.type", "") != "imatrix") {
    fail(ErrorCode::kInvalidArgument, "{} is a GGUF file of another kind, expected one with general.type = imatrix",
         path.string());
  }
  ImportanceFile file;
  if (gguf.has("imatrix.datasets")) {
    for (const std::string_view dataset : gguf.get_strings("imatrix.datasets")) file.datasets.emplace_back(dataset);
  }
  file.num_chunks = static_cast<uint32_t>(gguf.find_int("imatrix.chunk_count", 0));
  file.chunk_tokens = static_cast<uint32_t>(gguf.find_int("imatrix.chunk_size", 0));
  for (const auto& [name, view] : gguf.tensors()) {
    if (!name.ends_with(kSumsSuffix)) continue;
    const std::string matrix = name.substr(0, name.size() - kSumsSuffix.size());
    const TensorView& counts = gguf.get_tensor(matrix + std::string(kCountsSuffix));
    if (view.format != Format::kF32 || counts.format != Format::kF32 || counts.num_elements() != view.rows()) {
      fail(ErrorCode::kCorrupt, "{}: {} has {} rows and {} counts, expected floats and a count for each row",
           path.string(), printable(matrix), view.rows(), counts.num_elements());
    }
    ImportanceEntry& entry = file.entries[matrix];
    entry = {.sums = floats_of_view(view), .counts = floats_of_view(counts)};
    require_plain(entry.sums, matrix, path);
    require_plain(entry.counts, matrix, path);
  }
  return file;
}

// Reads the fields of a .dat file one after the other.
class DatFields {
 public:
  DatFields(std::span<const std::byte> bytes, const std::filesystem::path& path) : bytes_(bytes), path_(path) {}

  bool at_end() const { return position_ == bytes_.size(); }
  int32_t count(const char* what) {
    int32_t value = 0;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    if (value < 0) fail(ErrorCode::kCorrupt, "{}: {} is {}, expected 0 or more", path_.string(), what, value);
    return value;
  }
  std::string text(const char* what) {
    const auto length = static_cast<size_t>(count(what));
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::vector<float> floats(size_t number, const char* what) {
    const auto bytes = take(number * sizeof(float), what);
    std::vector<float> values(number);
    if (number > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  std::span<const std::byte> take(size_t size, const char* what) {
    if (size > bytes_.size() - position_) {
      fail(ErrorCode::kCorrupt,
           "{}: {} should have {} bytes at byte {}, but the file ends after {}; expected an importance matrix of "
           "llama-imatrix",
           path_.string(), what, size, position_, bytes_.size());
    }
    position_ += size;
    return bytes_.subspan(position_ - size, size);
  }

  std::span<const std::byte> bytes_;
  const std::filesystem::path& path_;
  size_t position_ = 0;
};

ImportanceFile read_dat_form(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  DatFields fields(bytes, path);
  ImportanceFile file;
  const int32_t num_entries = fields.count("the number of entries");
  for (int32_t i = 0; i < num_entries; ++i) {
    const std::string name = fields.text("a name");
    const auto num_calls = static_cast<float>(fields.count("a number of chunks"));
    const auto num_values = static_cast<size_t>(fields.count("a number of values"));
    // The oldest files have no count, and means for sums.
    const auto [place, is_new] = file.entries.try_emplace(name);
    if (!is_new) fail(ErrorCode::kCorrupt, "{}: {} stands there twice", path.string(), printable(name));
    place->second = {.sums = fields.floats(num_values, "values"), .counts = {num_calls > 0 ? num_calls : 1}};
    require_plain(place->second.sums, name, path);
  }
  if (fields.at_end()) return file;
  file.num_chunks = static_cast<uint32_t>(fields.count("the number of chunks"));
  if (!fields.at_end()) file.datasets = {fields.text("the name of the text")};
  return file;
}

void append_field(std::string& out, const void* data, size_t size) { out.append(static_cast<const char*>(data), size); }
void append_field(std::string& out, size_t value) {
  const auto field = static_cast<int32_t>(value);
  append_field(out, &field, sizeof(field));
}
void append_field(std::string& out, std::string_view text) {
  append_field(out, text.size());
  out += text;
}

std::vector<float> mean_squares(const ImportanceEntry& entry, size_t index, size_t cols) {
  const float count = entry.counts.size() == 1 ? entry.counts[0] : entry.counts[index];
  std::vector<float> means(cols, 1.0f);
  if (count == 0) return means;
  for (size_t c = 0; c < cols; ++c) means[c] = entry.sums[index * cols + c] / count;
  return means;
}

void write_dat_form(const ImportanceFile& file, const std::filesystem::path& path) {
  std::string bytes;
  append_field(bytes, file.entries.size());
  for (const auto& [name, entry] : file.entries) {
    append_field(bytes, name);
    const float most = *std::ranges::max_element(entry.counts);
    const float chunk = file.chunk_tokens == 0 ? 1 : static_cast<float>(file.chunk_tokens);
    const float num_calls = std::max(1.0f, std::ceil(most / chunk));
    append_field(bytes, static_cast<size_t>(num_calls));
    append_field(bytes, entry.sums.size());
    const size_t cols = entry.sums.size() / entry.counts.size();
    for (size_t matrix = 0; matrix < entry.counts.size(); ++matrix) {
      for (const float mean : mean_squares(entry, matrix, cols)) {
        const float value = mean * num_calls;
        append_field(bytes, &value, sizeof(value));
      }
    }
  }
  append_field(bytes, size_t{file.num_chunks});
  append_field(bytes, file.datasets.empty() ? std::string_view() : std::string_view(file.datasets.back()));
  if (!replace_file(path, {std::as_bytes(std::span(bytes))}, kForAll)) {
    fail(ErrorCode::kIo, "another process is writing {}", path.string());
  }
}

void write_gguf_form(const ImportanceFile& file, const std::filesystem::path& path) {
  GgufWriter writer;
  writer.add_string("general.type", "imatrix");
  writer.add_strings("imatrix.datasets", file.datasets);
  writer.add_uint32("imatrix.chunk_count", file.num_chunks);
  writer.add_uint32("imatrix.chunk_size", file.chunk_tokens);
  for (const auto& [name, entry] : file.entries) {
    const auto num_matrices = static_cast<int64_t>(entry.counts.size());
    const auto cols = static_cast<int64_t>(entry.sums.size()) / num_matrices;
    writer.add_tensor(name + std::string(kSumsSuffix), Format::kF32, std::array{num_matrices, cols}, entry.sums);
    writer.add_tensor(name + std::string(kCountsSuffix), Format::kF32, std::array{num_matrices, int64_t{1}},
                      entry.counts);
  }
  writer.write(path);
}

}  // namespace

std::vector<float> ImportanceFile::importance(std::string_view name, int64_t index, int64_t num_matrices,
                                              int64_t cols) const {
  const auto found = entries.find(name);
  if (found == entries.end()) return {};
  const ImportanceEntry& entry = found->second;
  const auto matrices = static_cast<size_t>(num_matrices);
  const auto width = static_cast<size_t>(cols);
  // A matrix that all experts share an input with may have one row of sums.
  const bool is_shared = entry.sums.size() == width && entry.counts.size() == 1;
  if (!is_shared &&
      (entry.sums.size() != matrices * width || (entry.counts.size() != 1 && entry.counts.size() != matrices))) {
    fail(ErrorCode::kInvalidArgument,
         "the importance of {} has {} values, expected {} x {}; it was made of another model", printable(name),
         entry.sums.size(), num_matrices, cols);
  }
  return mean_squares(entry, is_shared ? 0 : static_cast<size_t>(index), width);
}

ImportanceFile read_imatrix(const std::filesystem::path& path) {
  bool is_gguf = false;
  ImportanceFile file;
  {
    const MappedFile mapped = MappedFile::open(path);
    const std::span<const std::byte> bytes = mapped.bytes();
    is_gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
    if (!is_gguf) file = read_dat_form(bytes, path);
  }
  if (is_gguf) file = read_gguf_form(path);
  if (file.entries.empty()) fail(ErrorCode::kInvalidArgument, "{} has no entries", path.string());
  return file;
}

void write_imatrix(const ImportanceFile& file, const std::filesystem::path& path) {
  if (path.extension() == ".dat") return write_dat_form(file, path);
  write_gguf_form(file, path);
}

}  // namespace quire
