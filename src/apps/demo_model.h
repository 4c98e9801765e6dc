// The demo model that is part of the program (assets/demo, docs/demo-model.md).
#pragma once

#include <cstddef>
#include <span>

namespace quire {

std::span<const std::byte> demo_model_bytes();

}  // namespace quire
