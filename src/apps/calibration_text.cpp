#include "apps/calibration_text.h"

#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "base/error.h"
#include "compress/calibration/own_text.h"
#include "measure/progress_bar.h"

namespace quire {
namespace {

constexpr int64_t kWindow = 512;
constexpr int64_t kDefaultTokens = 16384;

using Windows = std::vector<std::vector<int32_t>>;

int64_t num_windows(const CalibrationText& text) {
  return (text.num_tokens > 0 ? text.num_tokens : kDefaultTokens) / kWindow;
}

Windows windows_of_file(const CalibrationText& text, const TextProcessor& processor) {
  std::ifstream file(text.file, std::ios::binary);
  if (!file) fail(ErrorCode::kIo, "cannot read {}", printable(text.file));
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const std::vector<int32_t> begin = processor.encode_plain("");
  const std::vector<int32_t> ids = processor.encode_plain(content, /*parse_special=*/false);
  const auto size = static_cast<size_t>(kWindow);
  const auto most = static_cast<size_t>(num_windows(text));
  if (ids.size() < size) {
    fail(ErrorCode::kInvalidArgument,
         "the calibration text {} has {} tokens, expected {} or more; leave it out and the "
         "model writes its own",
         printable(text.file), ids.size(), kWindow);
  }
  Windows windows;
  for (size_t first = 0; first + size <= ids.size() && windows.size() < most; first += size) {
    std::vector<int32_t>& window = windows.emplace_back(ids.begin() + static_cast<int64_t>(first),
                                                        ids.begin() + static_cast<int64_t>(first + size));
    if (!begin.empty()) window[0] = begin[0];
  }
  return windows;
}

Windows windows_of_model(const CalibrationText& text, const ModelOptions& model, const Checkpoint& checkpoint,
                         const TextProcessor& processor) {
  OwnTextOptions own{.num_windows = num_windows(text), .window = kWindow};
  const std::vector<int32_t> begin = processor.encode_plain("");
  if (!begin.empty()) own.begin = {begin[0]};
  const auto runner = load_runner(checkpoint, own_text_runner(model.runner_options(&checkpoint), own));
  load::ProgressBar bar;
  const auto start = std::chrono::steady_clock::now();
  return write_own_text(*runner, own, [&](int64_t done) {
    bar.show("calibration text", done, kWindow, time_left(start, done, kWindow));
  });
}

}  // namespace

void CalibrationText::add_flags(Command& command) {
  command.add({{.names = "--calibration",
                .value = text(file, "FILE"),
                .help = "A text like those that the model will read",
                .default_text = "one that the model writes itself"},
               {.names = "--calibration-tokens",
                .value = number(num_tokens, kWindow, int64_t{1} << 30),
                .help = "Tokens of it to use",
                .default_text = std::to_string(kDefaultTokens)}});
}

std::vector<std::vector<int32_t>> calibration_windows(const CalibrationText& text, const ModelOptions& model,
                                                      const Checkpoint& checkpoint) {
  const auto processor = TextProcessor::load(checkpoint);
  return text.file.empty() ? windows_of_model(text, model, checkpoint, *processor) : windows_of_file(text, *processor);
}

std::string time_left(std::chrono::steady_clock::time_point start, int64_t done, int64_t all) {
  if (done == 0) return {};
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  const auto seconds =
      static_cast<int64_t>(taken.count() / static_cast<double>(done) * static_cast<double>(all - done));
  return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
}

}  // namespace quire
