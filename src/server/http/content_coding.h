// Bodies that a client packed: Content-Encoding gzip and deflate. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quire::http {

enum class ContentCoding : uint8_t { kNone, kGzip, kDeflate };

constexpr std::string_view kContentCodings = "gzip, deflate, identity";

// The coding that a Content-Encoding field names, kNone when it is empty; nothing for codings that cannot be read, more
// than one among them.
std::optional<ContentCoding> content_coding(std::string_view field);

enum class UnpackOutcome : uint8_t { kDone, kTooLarge, kMalformed };

// Appends at most `most_bytes` to `out` and stops there: a small body may unpack to any size. `deflate` is read with
// zlib's frame, as the standard says, and without, as many clients send it. Several gzip members are one body.
UnpackOutcome unpack(ContentCoding coding, std::string_view packed, uint64_t most_bytes, std::string& out);

}  // namespace quire::http
