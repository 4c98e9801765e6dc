#include "apps/loaded_model.h"

#include <unistd.h>

#include <cstdio>

#include "apps/demo_model.h"
#include "apps/units.h"
#include "base/error.h"

namespace quire {

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& model) {
  std::error_code error;  // set for a name that is too long or a folder without permission
  if (!std::filesystem::exists(model, error)) {
    if (model == "demo") return Checkpoint::from_gguf_bytes(demo_model_bytes(), "demo");
    fail(ErrorCode::kNotFound,
         "there is no file or folder '{}'{}\n"
         "Give the path of a .gguf file or of a Hugging Face model directory, or 'demo' for the model inside the "
         "program.",
         printable(model), error ? " (" + error.message() + ")" : "");
  }
  return Checkpoint::open(model);
}

std::unique_ptr<ModelRunner> load_runner(const Checkpoint& checkpoint, const RunnerOptions& options) {
  if (isatty(STDERR_FILENO) == 0) return ModelRunner::load(checkpoint, options);
  uint64_t shown = 0;
  auto runner = ModelRunner::load(checkpoint, options, [&](uint64_t done, uint64_t total) {
    // At most one update per percent, and none for small models, which load in an instant.
    if (total < (uint64_t{64} << 20) || (done < total && done - shown < total / 100)) return;
    shown = done;
    std::fprintf(stderr, "\rloading %s of %s (%d %%)   ", format_bytes(done).c_str(), format_bytes(total).c_str(),
                 static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total)));
  });
  if (shown > 0) std::fprintf(stderr, "\r\033[K");
  return runner;
}

}  // namespace quire
