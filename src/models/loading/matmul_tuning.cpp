#include "models/loading/matmul_tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <span>

#include "base/cache_folder.h"
#include "base/error.h"
#include "base/log.h"
#include "base/replace_file.h"

namespace quire {
namespace {

constexpr std::string_view kKind = "quire tuning";
constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxMatrices = 4096;
constexpr int64_t kMaxSize = int64_t{1} << 31;  // of rows and of columns
constexpr int64_t kMaxThreads = 1024;

// A setting of a matrix and its range.
template <typename T>
struct Setting {
  const char* key;
  T MatmulTuning::*member;
  int64_t least, most;
};
constexpr Setting<int16_t> kCounts[] = {{"packed_tokens", &MatmulTuning::packed_tokens, 0, 128},
                                        {"few_tokens", &MatmulTuning::few_tokens, 0, 1024},
                                        {"few_panels", &MatmulTuning::few_panels, 1, kMaxTaskPanels},
                                        {"many_panels", &MatmulTuning::many_panels, 1, kMaxTaskPanels},
                                        {"one_panels", &MatmulTuning::one_panels, 1, kMaxTaskPanels}};
constexpr Setting<int32_t> kDistances[] = {{"fetch_ahead", &MatmulTuning::fetch_ahead, 0, 1 << 20},
                                           {"one_fetch", &MatmulTuning::one_fetch, 0, 1 << 20}};

template <typename T>
void take(const json::object& entry, const Setting<T>& setting, MatmulTuning& tuning) {
  const int64_t value = find_int(entry, setting.key, tuning.*setting.member);
  tuning.*setting.member = static_cast<T>(std::clamp(value, setting.least, setting.most));
}

int64_t get_size(const json::object& object, std::string_view key, int64_t most) {
  const int64_t value = get_int(object, key);
  if (value >= 1 && value <= most) return value;
  fail(ErrorCode::kCorrupt, "\"{}\" is {}, expected 1 to {}", key, value, most);
}

void read_matrix(const json::value& value, MatmulTunings& tunings) {
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "an entry of \"matrices\" is not an object");
  const json::object& entry = value.get_object();
  const std::string name = get_string(entry, "format");
  const auto format = format_by_name(name);
  if (!format || !weight_format(*format).is_weight()) {
    fail(ErrorCode::kUnsupported, "the format \"{}\" is unknown", printable(name, 40));
  }
  MatmulTuning tuning;
  for (const auto& setting : kCounts) take(entry, setting, tuning);
  for (const auto& setting : kDistances) take(entry, setting, tuning);
  tunings[{*format, get_size(entry, "rows", kMaxSize), get_size(entry, "cols", kMaxSize)}] = tuning;
}

TuningFile parse_tuning(const json::value& value) {
  if (!value.is_object() || find_string(value.get_object(), "kind", "") != kKind) {
    fail(ErrorCode::kCorrupt, "it was not written by 'quire tune'");
  }
  const json::object& root = value.get_object();
  const std::string activations = find_string(root, "activations", activations_name(kUsualActivations));
  const auto kind = find_activations(activations);
  if (!kind) fail(ErrorCode::kUnsupported, "the activations \"{}\" are unknown", printable(activations, 40));
  TuningFile file{.isa = get_string(root, "isa"),
                  .activations = *kind,
                  .processor = get_string(root, "processor"),
                  .num_threads = static_cast<int>(get_size(root, "threads", kMaxThreads))};
  const json::array* matrices = find_array(root, "matrices");
  if (matrices == nullptr) fail(ErrorCode::kCorrupt, "\"matrices\" is missing");
  if (matrices->size() > kMaxMatrices) {
    fail(ErrorCode::kLimit, "it has {} matrices, at most {} are read", matrices->size(), kMaxMatrices);
  }
  for (const json::value& matrix : *matrices) read_matrix(matrix, file.tunings);
  return file;
}

// Why the file is not for this machine; empty when it is.
std::string difference(const TuningFile& file, std::string_view isa, Activations activations, int num_threads) {
  if (file.isa != isa) return fmt::format("it is for {}, the kernel table is {}", printable(file.isa, 40), isa);
  if (file.activations != activations) {
    return fmt::format("it is for activations in {}, here they are in {}", activations_name(file.activations),
                       activations_name(activations));
  }
  if (const std::string here = processor_name(); file.processor != here) {
    return fmt::format("it was measured on \"{}\", this is \"{}\"", printable(file.processor, 80), here);
  }
  if (file.num_threads == num_threads) return "";
  return fmt::format("it was measured with {} threads, here {} run", file.num_threads, num_threads);
}

}  // namespace

std::string MatrixShape::text() const { return fmt::format("{} {}x{}", weight_format(format).name, rows, cols); }

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return printable(line.substr(colon + 2), 200);
  }
  return "unknown";
}

std::filesystem::path tuning_cache_file(std::string_view isa, Activations activations) {
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return folder;
  const bool is_usual = activations == kUsualActivations;
  return folder /
         fmt::format("tuning-{}{}{}.json", isa, is_usual ? "" : "-", is_usual ? "" : activations_name(activations));
}

json::object tuning_json(const MatrixShape& shape, const MatmulTuning& tuning) {
  json::object entry = {{"format", weight_format(shape.format).name}, {"rows", shape.rows}, {"cols", shape.cols}};
  for (const auto& setting : kCounts) entry[setting.key] = tuning.*setting.member;
  for (const auto& setting : kDistances) entry[setting.key] = tuning.*setting.member;
  return entry;
}

TuningFile read_tuning(const std::filesystem::path& path) { return parse_tuning(read_json_file(path, kMaxBytes)); }

void write_tuning(const TuningFile& tuning, const std::filesystem::path& path) {
  json::array matrices;
  for (const auto& [shape, settings] : tuning.tunings) matrices.push_back(tuning_json(shape, settings));
  const json::object root = {{"kind", kKind},
                             {"isa", tuning.isa},
                             {"activations", activations_name(tuning.activations)},
                             {"processor", tuning.processor},
                             {"threads", tuning.num_threads},
                             {"matrices", std::move(matrices)}};
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  const std::string text = json::serialize(root) + '\n';
  if (replace_file(path, {std::as_bytes(std::span(text))}, kForAll)) return;
  fail(ErrorCode::kIo, "'{}' is being written by another process; tune again when that one has ended",
       printable(path.string()));
}

MatmulTunings load_tuning(const std::filesystem::path& path, std::string_view isa, Activations activations,
                          int num_threads) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  std::string reason;
  try {
    TuningFile file = read_tuning(path);
    reason = difference(file, isa, activations, num_threads);
    if (reason.empty()) return std::move(file.tunings);
  } catch (const Error& problem) {
    reason = problem.what();
  }
  log::warning("the tuning file '{}' is ignored: {}; 'quire tune' measures again, '--tuning none' ignores it silently",
               printable(path.string()), reason);
  return {};
}

}  // namespace quire
