#include "models/loading/overlay_checkpoint.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

void OverlayCheckpoint::replace(const std::string& hf_name, std::initializer_list<int64_t> shape,
                                std::vector<float> values) {
  Replaced& replaced = replaced_[hf_name];
  replaced.values = std::move(values);
  replaced.view = {.format = Format::kF32,
                   .rank = static_cast<int>(shape.size()),
                   .data = reinterpret_cast<const std::byte*>(replaced.values.data()),
                   .size_bytes = replaced.values.size() * sizeof(float)};
  std::ranges::copy(shape, replaced.view.shape.begin());
  CHECK(static_cast<size_t>(replaced.view.num_elements()) == replaced.values.size());
}

std::optional<TensorView> OverlayCheckpoint::find_tensor(std::string_view hf_name) const {
  if (const auto found = replaced_.find(hf_name); found != replaced_.end()) return found->second.view;
  const size_t dot = hf_name.rfind('.');
  const bool is_beside =
      dot != std::string_view::npos && replaced_.contains(std::string(hf_name.substr(0, dot)) + ".weight");
  if (is_beside && hf_name.substr(dot) != ".bias") return std::nullopt;
  return base_.find_tensor(hf_name);
}

}  // namespace quire
