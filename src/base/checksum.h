// A 64-bit checksum at the speed of memory. It finds damage, a flipped bit or a page that was never written; it is no
// protection from those who choose the bytes. Every word of the input changes the sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quire {

uint64_t checksum64(std::span<const std::byte> bytes, uint64_t seed = 0);

}  // namespace quire
