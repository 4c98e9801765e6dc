// Medusa (arXiv 2401.10774): heads that each guess one further token from a final hidden state of another model. A head
// is a few residual blocks x + silu(W x + b), then an output matrix of its own, or one that all heads share.
//
// A step's rows are hidden states, each a sequence of its own; there is no KV cache. Logits are [num_heads,
// num_logit_rows, vocab_size], those of head i for the token i + 2 positions after the row's. Tensors are called as
// Medusa's authors do, "<head>.<block>.linear.weight", or vLLM, "blocks.<head>.layers.<block>.weight".
#include <algorithm>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "models/architectures/registry.h"
#include "models/loading/config.h"

namespace quire {
namespace {

constexpr int64_t kMaxHeads = 64;

struct MedusaParts {
  std::vector<std::vector<Linear>> blocks;  // of each head [hidden_size, hidden_size]
  std::vector<Linear> outputs;              // of each head [vocab_size, hidden_size], or one for all
  const float* ones = nullptr;              // [hidden_size]
};

class Medusa : public Model {
 public:
  Medusa(ModelInfo info, MedusaParts parts) : Model(std::move(info)), parts_(std::move(parts)) {}

  void take_workspace(Arena& arena, InputArena& /*inputs*/, const Kernels& kernels, const StepLimits& limits) override {
    const int64_t hidden = info().hidden_size;
    const int64_t rows = limits.max_rows * num_heads();
    states_ = arena.take<float>(rows * hidden);
    block_ = arena.take<float>(limits.max_rows * hidden);
    logits_ = arena.take<float>(rows * info().vocab_size);
    packed_.take(arena, kernels, rows, hidden);
  }

  void visit_matrices(const std::function<void(const Linear&)>& visit) const override {
    for (const std::vector<Linear>& blocks : parts_.blocks) std::ranges::for_each(blocks, visit);
    std::ranges::for_each(parts_.outputs, visit);
  }

  void prepare(const Step& step) override { CHECK(step.num_logit_rows == step.num_rows && step.num_hidden_rows == 0); }

  Output forward(const Step& step) override {
    const int64_t size = step.num_rows * info().hidden_size;
    for (int64_t head = 0; head < num_heads(); ++head) run_blocks(step, head, states_ + head * size);
    if (parts_.outputs.size() == 1) {
      multiply(step, states_, step.num_rows * num_heads(), parts_.outputs[0], logits_);
      return {.logits = logits_};
    }
    for (int64_t head = 0; head < num_heads(); ++head) {
      multiply(step, states_ + head * size, step.num_rows, parts_.outputs[static_cast<size_t>(head)],
               logits_ + head * step.num_rows * info().vocab_size);
    }
    return {.logits = logits_};
  }

 private:
  int64_t num_heads() const { return static_cast<int64_t>(parts_.blocks.size()); }

  void multiply(const Step& step, const float* x, int64_t num_rows, const Linear& matrix, float* y) const {
    linear(step, plain_input(step, x, num_rows, info().hidden_size, forms_read_by({&matrix}), packed_),
           {{.linear = &matrix, .y = y}});
  }

  // The step's hidden states -> x [num_rows, hidden_size].
  void run_blocks(const Step& step, int64_t head, float* x) const {
    const int64_t hidden = info().hidden_size;
    const int64_t size = step.num_rows * hidden;
    step.device->copy(reinterpret_cast<std::byte*>(x), reinterpret_cast<const std::byte*>(step.hidden_input),
                      static_cast<size_t>(size) * sizeof(float));
    for (const Linear& block : parts_.blocks[static_cast<size_t>(head)]) {
      multiply(step, x, step.num_rows, block, block_);
      const RowGate activation{.kind = Activation::kSilu,
                               .gate = block_,
                               .gate_stride = hidden,
                               .up = parts_.ones,
                               .up_stride = 0,
                               .num_rows = step.num_rows,
                               .dim = hidden};
      step.kernels->gated_activation(step.exec, activation, block_, hidden);
      step.kernels->add(step.exec, x, block_, size);
    }
  }

  MedusaParts parts_;
  float* states_ = nullptr;  // [num_heads, num_rows, hidden_size]
  float* block_ = nullptr;   // [max_rows, hidden_size]
  float* logits_ = nullptr;  // [num_heads, num_rows, vocab_size]
  PackedRows packed_;
};

struct MedusaSizes {
  int64_t num_heads = 0;
  int64_t num_blocks = 0;  // of each head
};

MedusaSizes read_sizes(const json::object& config) {
  const auto read = [&](std::string_view key, std::string_view other_key) {
    const int64_t count = find_int(config, config.contains(key) ? key : other_key, 1);
    if (count >= 1 && count <= kMaxHeads) return count;
    fail(ErrorCode::kCorrupt, "\"{}\" is {}, expected 1 to {}", key, count, kMaxHeads);
  };
  return {.num_heads = read("medusa_num_heads", "num_heads"),
          .num_blocks = read("medusa_num_layers", "num_hidden_layers")};
}

// The spelling that the file has.
std::string block_name(const WeightLoader& loader, int64_t head, int64_t block) {
  const std::string vllm = fmt::format("blocks.{}.layers.{}", head, block);
  return loader.has(vllm + ".weight") ? vllm : fmt::format("{}.{}.linear", head, block);
}
std::string output_name(const WeightLoader& loader, const MedusaSizes& sizes, int64_t head) {
  const std::string vllm = fmt::format("lm_heads.{}.weight", head);
  return loader.has(vllm) ? vllm : fmt::format("{}.{}.weight", head, sizes.num_blocks);
}

}  // namespace

std::unique_ptr<Model> make_medusa(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& config = checkpoint.config();
  const MedusaSizes sizes = read_sizes(config);
  ModelInfo info;
  info.architecture = "MedusaModel";
  info.hidden_size = info.hidden_input_size = read_size(config, "hidden_size");
  info.num_layers = static_cast<int>(sizes.num_blocks);
  info.max_context = 1;
  // One matrix for all heads: the target's, or the first of the file's.
  const bool shares_output = find_bool(config, "original_lm_head", false);
  std::string shared = output_name(loader, sizes, 0);
  if (!loader.has(shared)) shared = "lm_head.weight";
  const auto output_of = [&](int64_t head) { return shares_output ? shared : output_name(loader, sizes, head); };
  info.vocab_size = checkpoint.tensor(output_of(0)).rows();
  info.logits_per_row = sizes.num_heads * info.vocab_size;
  MedusaParts parts;
  for (int64_t head = 0; head < sizes.num_heads; ++head) {
    std::vector<Linear>& blocks = parts.blocks.emplace_back();
    for (int64_t i = 0; i < sizes.num_blocks; ++i) {
      const std::string name = block_name(loader, head, i);
      Linear block = loader.linear({name + ".weight", info.hidden_size, info.hidden_size});
      if (loader.has(name + ".bias")) block.bias = loader.bias(name + ".bias", info.hidden_size, Partition::kNone);
      blocks.push_back(std::move(block));
    }
    if (head == 0 || !shares_output) {
      parts.outputs.push_back(loader.linear({output_of(head), info.vocab_size, info.hidden_size}));
    }
  }
  const std::vector<float> ones(static_cast<size_t>(info.hidden_size), 1.0f);
  parts.ones = loader.place(std::span<const float>(ones));
  info.num_parameters = loader.num_parameters();
  return std::make_unique<Medusa>(std::move(info), std::move(parts));
}

}  // namespace quire
