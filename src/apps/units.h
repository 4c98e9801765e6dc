// Numbers as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quire {

// "512", "4k" (4,000), "4K" (4,096), "25.6k", "8GiB", "8G", "500MB": bytes or counts. Nothing for any other text.
std::optional<uint64_t> parse_quantity(std::string_view text);
// 1536 -> "1.5 KiB".
std::string format_bytes(uint64_t bytes);
// 1234567 -> "1,234,567".
std::string format_count(uint64_t count);
// 1100000000 -> "1.1 B".
std::string format_parameters(uint64_t count);

}  // namespace quire
