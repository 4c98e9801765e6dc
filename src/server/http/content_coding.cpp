#include "server/http/content_coding.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>

#include "server/http/wire.h"

namespace quire::http {
namespace {

constexpr size_t kStepBytes = 64 * 1024;
constexpr int kWindowBits = 15;
constexpr int kGzipFrame = 16;  // added to the window's bits; a negative number of them: no frame

class Inflater {
 public:
  explicit Inflater(int window_bits) {
    if (::inflateInit2(&stream_, window_bits) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  UnpackOutcome run(std::string_view packed, bool has_members, uint64_t most_bytes, std::string& out) {
    std::array<char, kStepBytes> step;
    // zlib takes no const pointer, but only reads.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream_.avail_in = static_cast<uInt>(packed.size());
    while (true) {
      stream_.next_out = reinterpret_cast<Bytef*>(step.data());
      stream_.avail_out = static_cast<uInt>(step.size());
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      const size_t made = step.size() - stream_.avail_out;
      if (made > most_bytes - out.size()) return UnpackOutcome::kTooLarge;
      out.append(step.data(), made);
      if (status == Z_STREAM_END) {
        if (stream_.avail_in == 0) return UnpackOutcome::kDone;
        if (!has_members || ::inflateReset(&stream_) != Z_OK) return UnpackOutcome::kMalformed;
      } else if (status != Z_OK) {
        return UnpackOutcome::kMalformed;  // Z_BUF_ERROR: it ends before its end
      }
    }
  }

 private:
  z_stream stream_ = {};
};

// Compression method 8, a window of at most 32 KiB, and a checksum of both bytes.
bool has_zlib_frame(std::string_view packed) {
  if (packed.size() < 2) return false;
  const unsigned first = static_cast<unsigned char>(packed[0]);
  const unsigned second = static_cast<unsigned char>(packed[1]);
  return (first & 0x0f) == 8 && first >> 4 <= 7 && (first * 256 + second) % 31 == 0;
}

}  // namespace

std::optional<ContentCoding> content_coding(std::string_view field) {
  if (field.empty() || equals_ignoring_case(field, "identity")) return ContentCoding::kNone;
  if (equals_ignoring_case(field, "gzip") || equals_ignoring_case(field, "x-gzip")) return ContentCoding::kGzip;
  if (equals_ignoring_case(field, "deflate")) return ContentCoding::kDeflate;
  return std::nullopt;
}

UnpackOutcome unpack(ContentCoding coding, std::string_view packed, uint64_t most_bytes, std::string& out) {
  if (coding == ContentCoding::kNone) {
    if (packed.size() > most_bytes) return UnpackOutcome::kTooLarge;
    out += packed;
    return UnpackOutcome::kDone;
  }
  if (packed.size() > std::numeric_limits<uInt>::max()) return UnpackOutcome::kTooLarge;  // zlib counts in 32 bits
  const bool is_gzip = coding == ContentCoding::kGzip;
  const int bits = is_gzip ? kWindowBits + kGzipFrame : has_zlib_frame(packed) ? kWindowBits : -kWindowBits;
  return Inflater(bits).run(packed, is_gzip, most_bytes, out);
}

}  // namespace quire::http
