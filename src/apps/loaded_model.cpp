#include "apps/loaded_model.h"

#include <unistd.h>

#include <cstdio>

#include "apps/demo_model.h"
#include "apps/units.h"
#include "base/error.h"

namespace quire {
namespace {

// Whether it has the form ORG/NAME, as models on Hugging Face are called.
bool is_repository_name(const std::string& model) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  const size_t slash = model.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == model.size() || model[0] == '.') return false;
  std::error_code error;
  if (std::filesystem::exists(model.substr(0, slash), error)) return false;  // a path with a mistake at its end
  const std::string name = model.substr(slash + 1);
  return model.size() <= 192 && !name.ends_with(".gguf") && name.find_first_not_of(kLetters) == std::string::npos &&
         model.substr(0, slash).find_first_not_of(kLetters) == std::string::npos;
}

std::string advice_for(const std::string& model) {
  if (!is_repository_name(model)) {
    return "Give the path of a .gguf file or of a Hugging Face model directory, or 'demo' for the model inside the "
           "program.";
  }
  const std::string name = model.substr(model.find('/') + 1);
  return fmt::format(
      "That looks like a model on Hugging Face. Quire downloads nothing; get it, then give its folder or .gguf file:\n"
      "  pip install huggingface_hub && hf download {} --local-dir {}",
      model, name);
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& model) {
  std::error_code error;  // set for a name that is too long or a folder without permission
  if (!std::filesystem::exists(model, error)) {
    if (model == "demo") return Checkpoint::from_gguf_bytes(demo_model_bytes(), "demo");
    fail(ErrorCode::kNotFound, "there is no file or folder '{}'{}\n{}", printable(model),
         error ? " (" + error.message() + ")" : "", advice_for(model));
  }
  return Checkpoint::open(model);
}

void require_logits(const ModelInfo& info) {
  if (info.has_head) return;
  fail(ErrorCode::kUnsupported, "this model ({}) has no output matrix: it makes embeddings and has no logits",
       info.architecture);
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
