// A reader of the part of protocol buffers' wire format that sentencepiece's model files use. Reads a span that
// outlives it; one thread. Page: https://protobuf.dev/programming-guides/encoding/
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace quire {

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view bytes) : bytes_(bytes) {}

  // Moves to the next field; false at the end. Throws Error kCorrupt on any malformed byte.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t tag = read_varint();
    field_ = static_cast<uint32_t>(tag >> 3);
    wire_type_ = static_cast<int>(tag & 7);
    if (tag > UINT32_MAX || field_ == 0) corrupt("a bad tag");
    switch (wire_type_) {
      case 0: number_ = read_varint(); break;
      case 1: number_ = read_fixed(8); break;
      case 2: {
        const uint64_t size = read_varint();
        if (size > bytes_.size() - at_) corrupt("a length beyond the end");
        data_ = bytes_.substr(at_, size);
        at_ += size;
        break;
      }
      case 5: number_ = read_fixed(4); break;
      default: corrupt("an unknown wire type");
    }
    return true;
  }

  uint32_t field() const { return field_; }

  // The current field's value; throws when it was written as another type.
  int64_t integer() const { return require(0), static_cast<int64_t>(number_); }
  bool boolean() const { return integer() != 0; }
  float number() const { return require(5), std::bit_cast<float>(static_cast<uint32_t>(number_)); }
  std::string_view data() const { return require(2), data_; }

 private:
  [[noreturn]] void corrupt(std::string_view what) const {
    fail(ErrorCode::kCorrupt, "not a sentencepiece model: {} at byte {} of a message", what, at_);
  }
  void require(int wire_type) const {
    if (wire_type_ != wire_type) corrupt("a field of the wrong type");
  }
  uint64_t read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) corrupt("a cut-off number");
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    corrupt("a number of more than ten bytes");
  }
  uint64_t read_fixed(size_t size) {
    if (size > bytes_.size() - at_) corrupt("a cut-off number");
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(bytes_[at_ + i])} << (8 * i);
    at_ += size;
    return value;
  }

  std::string_view bytes_;
  size_t at_ = 0;
  uint32_t field_ = 0;
  int wire_type_ = -1;
  uint64_t number_ = 0;
  std::string_view data_;
};

}  // namespace quire
