#include "models/loading/part_checkpoint.h"

#include <utility>

#include "base/error.h"

namespace quire {
namespace {

constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kFirstLayer = "model.layers.0.";

}  // namespace

PartCheckpoint::PartCheckpoint(const Checkpoint& own, const Checkpoint& target, std::string part)
    : own_(own), target_(target), part_(std::move(part)), config_(own.config()) {
  const int64_t target_size = get_int(target.config(), "hidden_size");
  const int64_t size = find_int(config_, "hidden_size", target_size);
  if (size != target_size) {
    fail(ErrorCode::kInvalidArgument,
         "{}: it reads hidden states of {} floats, but those of {} have {}; use the {} that was trained for this model",
         own.name(), size, target.name(), target_size, part_);
  }
  for (const char* key : {"hidden_size", "vocab_size", "max_position_embeddings"}) {
    if (!config_.contains(key)) config_[key] = get_int(target.config(), key);
  }
}

void PartCheckpoint::lend_head(std::optional<Linear> head) {
  head_ = std::move(head);
  if (head_) head_->bias = nullptr;
}

const Linear* PartCheckpoint::packed(std::string_view hf_name) const {
  if (!head_ || find_own(hf_name)) return nullptr;
  return hf_name == kHead || hf_name == head_->name ? &*head_ : nullptr;
}

std::optional<TensorView> PartCheckpoint::find_own(std::string_view hf_name) const {
  if (const auto view = own_.find_tensor(hf_name)) return view;
  // EAGLE-3 calls its only layer so.
  if (hf_name.starts_with(kFirstLayer)) {
    return own_.find_tensor("midlayer." + std::string(hf_name.substr(kFirstLayer.size())));
  }
  return std::nullopt;
}

std::optional<TensorView> PartCheckpoint::find_tensor(std::string_view hf_name) const {
  if (const auto view = find_own(hf_name)) return view;
  if (hf_name == kHead) {
    if (const auto view = target_.find_tensor(kHead)) return view;
    return target_.find_tensor(kEmbeddingName);  // which is the head where a model ties them
  }
  return hf_name == kEmbeddingName ? target_.find_tensor(kEmbeddingName) : std::nullopt;
}

}  // namespace quire
