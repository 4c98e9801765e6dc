#include "compress/blocks/measured_importance.h"

#include <algorithm>

#include "base/check.h"
#include "compress/calibration/calibration.h"
#include "models/loading/gguf_names.h"

namespace quire {
namespace {

// Adds what one matrix has seen; of a stack of experts a row of the entry.
void add_entry(const GgufFile& file, const GgufPlace& place, const InputStatistics& input, ImportanceFile& result) {
  const TensorView* const tensor = file.find_tensor(place.name);
  if (tensor == nullptr) return;
  const auto num_matrices = static_cast<size_t>(tensor->rank == 3 ? tensor->shape[0] : 1);
  const auto cols = static_cast<size_t>(input.cols);
  ImportanceEntry& entry = result.entries[place.name];
  entry.sums.resize(num_matrices * cols);
  entry.counts.resize(num_matrices);
  const auto index = static_cast<size_t>(place.expert.value_or(0));
  CHECK(index < num_matrices);
  std::copy_n(input.square_sums.begin(), cols, entry.sums.begin() + static_cast<std::ptrdiff_t>(index * cols));
  entry.counts[index] = static_cast<float>(input.num_rows);
}

}  // namespace

ImportanceFile measure_importance(const Checkpoint& checkpoint, const ImportanceOptions& options,
                                  const std::function<void(int, int)>& progress) {
  CHECK(checkpoint.gguf() != nullptr);
  const GgufFile& file = *checkpoint.gguf();
  const GgufArchitecture& architecture = gguf_architecture(file);
  Calibrator calibrator(checkpoint, options.windows,
                        {.wanted = {}, .num_threads = options.num_threads, .isa = options.isa});
  ImportanceFile result = {.entries = {},
                           .datasets = {options.dataset},
                           .num_chunks = static_cast<uint32_t>(options.windows.size()),
                           .chunk_tokens = static_cast<uint32_t>(options.windows[0].size())};
  for (int layer = 0; layer < calibrator.num_layers(); ++layer) {
    const CalibratedLayer seen = calibrator.see();
    for (const CalibratedMatrix& matrix : seen.matrices) {
      if (const auto place = gguf_place(architecture, matrix.name)) {
        add_entry(file, *place, seen.inputs[matrix.input], result);
      }
    }
    calibrator.pass();
    checkpoint.release_pages();
    if (progress) progress(layer + 1, calibrator.num_layers());
  }
  add_entry(file, {.name = "output.weight"}, calibrator.see_head(), result);
  return result;
}

}  // namespace quire
