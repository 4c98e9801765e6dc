#include "models/synthetic/model_shapes.h"

#include <string>

#include "base/error.h"

namespace quire {
namespace {

// name, architecture, vocabulary, hidden, inner, layers, heads, KV heads, head size, tied, RoPE base, context, window,
// experts, experts per token
constexpr ModelShape kShapes[] = {
    {"tinyllama-1.1b", "llama", 32000, 2048, 5632, 22, 32, 4, 64, false, 1e4, 2048},
    {"llama-3.2-1b", "llama", 128256, 2048, 8192, 16, 32, 8, 64, true, 5e5, 131072},
    {"llama-3.2-3b", "llama", 128256, 3072, 8192, 28, 24, 8, 128, true, 5e5, 131072},
    {"llama-3.1-8b", "llama", 128256, 4096, 14336, 32, 32, 8, 128, false, 5e5, 131072},
    {"mistral-7b", "llama", 32768, 4096, 14336, 32, 32, 8, 128, false, 1e6, 32768},
    {"smollm2-135m", "llama", 49152, 576, 1536, 30, 9, 3, 64, true, 1e5, 8192},
    {"smollm2-360m", "llama", 49152, 960, 2560, 32, 15, 5, 64, true, 1e5, 8192},
    {"smollm2-1.7b", "llama", 49152, 2048, 8192, 24, 32, 32, 64, true, 1.3e5, 8192},
    {"qwen2.5-0.5b", "qwen2", 151936, 896, 4864, 24, 14, 2, 64, true, 1e6, 32768},
    {"qwen2.5-1.5b", "qwen2", 151936, 1536, 8960, 28, 12, 2, 128, true, 1e6, 131072},
    {"qwen2.5-7b", "qwen2", 152064, 3584, 18944, 28, 28, 4, 128, false, 1e6, 131072},
    {"qwen3-0.6b", "qwen3", 151936, 1024, 3072, 28, 16, 8, 128, true, 1e6, 40960},
    {"qwen3-1.7b", "qwen3", 151936, 2048, 6144, 28, 16, 8, 128, true, 1e6, 40960},
    {"qwen3-4b", "qwen3", 151936, 2560, 9728, 36, 32, 8, 128, true, 1e6, 40960},
    {"qwen3-8b", "qwen3", 151936, 4096, 12288, 36, 32, 8, 128, false, 1e6, 40960},
    {"qwen3-30b-a3b", "qwen3moe", 151936, 2048, 768, 48, 32, 4, 128, false, 1e6, 40960, 0, 128, 8},
    {"gemma-3-1b", "gemma3", 262144, 1152, 6912, 26, 4, 1, 256, true, 1e6, 32768, 512},
    // No published models: a small mixture, the dense model with the weights that one of its tokens meets, and one for
    // tests.
    {"qwen3-moe-like", "qwen3moe", 32000, 1024, 768, 12, 16, 8, 128, false, 1e6, 40960, 0, 64, 8},
    {"qwen3-moe-like-dense", "qwen3", 32000, 1024, 6144, 12, 16, 8, 128, false, 1e6, 40960},
    {"tiny", "llama", 512, 256, 512, 2, 4, 2, 64, false, 1e4, 4096},
};

}  // namespace

std::span<const ModelShape> model_shapes() { return kShapes; }

const ModelShape& model_shape(std::string_view name) {
  std::string known;
  for (const ModelShape& shape : kShapes) {
    if (name == shape.name) return shape;
    known += (known.empty() ? "" : ", ") + std::string(shape.name);
  }
  fail(ErrorCode::kInvalidArgument, "the shape \"{}\" is unknown; this build knows {}", printable(name, 40), known);
}

}  // namespace quire
