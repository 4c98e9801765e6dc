#include "server/http/content_coding.h"

#include <gtest/gtest.h>
#include <zlib.h>

namespace quire::http {
namespace {

// `window_bits` as zlib takes them: 31 gzip, 15 zlib's frame, -15 none.
std::string packed(const std::string& text, int window_bits) {
  z_stream stream = {};
  EXPECT_EQ(::deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - stream.avail_out);
  ::deflateEnd(&stream);
  return out;
}

std::string unpacked(ContentCoding coding, const std::string& bytes) {
  std::string out;
  EXPECT_EQ(unpack(coding, bytes, 1 << 20, out), UnpackOutcome::kDone);
  return out;
}

TEST(ContentCoding, NamesAsClientsWriteThem) {
  EXPECT_EQ(content_coding(""), ContentCoding::kNone);
  EXPECT_EQ(content_coding("Identity"), ContentCoding::kNone);
  EXPECT_EQ(content_coding("GZIP"), ContentCoding::kGzip);
  EXPECT_EQ(content_coding("x-gzip"), ContentCoding::kGzip);
  EXPECT_EQ(content_coding("deflate"), ContentCoding::kDeflate);
  for (const char* other : {"br", "zstd", "gzip, gzip", "identity, gzip", "gzip;q=1", "*", " "}) {
    EXPECT_EQ(content_coding(other), std::nullopt) << other;
  }
}

TEST(ContentCoding, TextsComeBack) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += static_cast<char>(i * i % 251);
  for (const std::string& each : {std::string(), std::string("{}"), text}) {
    EXPECT_EQ(unpacked(ContentCoding::kGzip, packed(each, 31)), each);
    EXPECT_EQ(unpacked(ContentCoding::kGzip, packed(each, 31) + packed("more", 31)), each + "more");
    EXPECT_EQ(unpacked(ContentCoding::kDeflate, packed(each, 15)), each);
    EXPECT_EQ(unpacked(ContentCoding::kDeflate, packed(each, -15)), each);
  }
}

TEST(ContentCoding, ABombStopsAtTheLimit) {
  const std::string zeros(64 << 20, '\0');
  for (const auto& [coding, bits] : {std::pair(ContentCoding::kGzip, 31), std::pair(ContentCoding::kDeflate, -15)}) {
    const std::string bomb = packed(zeros, bits);
    ASSERT_LT(bomb.size(), 100'000);
    std::string out;
    EXPECT_EQ(unpack(coding, bomb, 1 << 20, out), UnpackOutcome::kTooLarge);
    EXPECT_LE(out.size(), 1 << 20);
    EXPECT_LE(out.capacity(), 4 << 20);
  }
  std::string out;
  EXPECT_EQ(unpack(ContentCoding::kGzip, packed("1234", 31), 4, out), UnpackOutcome::kDone);
  out.clear();
  EXPECT_EQ(unpack(ContentCoding::kGzip, packed("12345", 31), 4, out), UnpackOutcome::kTooLarge);
  out.clear();
  EXPECT_EQ(unpack(ContentCoding::kGzip, packed("123", 31) + packed("45", 31), 4, out), UnpackOutcome::kTooLarge);
}

TEST(ContentCoding, WhatIsNotWholeIsMalformed) {
  const std::string whole = packed("a text that is long enough to be cut", 31);
  std::string out;
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(unpack(ContentCoding::kGzip, whole.substr(0, size), 1000, out), UnpackOutcome::kMalformed) << size;
    out.clear();
  }
  for (const std::string& bad : {whole + "x", std::string("{\"model\": \"a\"}"), std::string(1000, '\xff')}) {
    EXPECT_EQ(unpack(ContentCoding::kGzip, bad, 1000, out), UnpackOutcome::kMalformed);
    EXPECT_NE(unpack(ContentCoding::kDeflate, bad, 1000, out), UnpackOutcome::kDone);
    out.clear();
  }
}

}  // namespace
}  // namespace quire::http
