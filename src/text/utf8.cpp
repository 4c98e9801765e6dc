#include "text/utf8.h"

namespace quire {

Utf8Character decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {lead, 1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {kReplacementCharacter, 1, false, false};

  const uint32_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range is narrower after some leads: it excludes overlong forms, surrogates and codes > 10FFFF.
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;

  char32_t code = lead & (0xFFu >> (size + 1));
  for (uint32_t i = 1; i < size; ++i) {
    if (at + i >= text.size()) return {kReplacementCharacter, i, false, true};
    const unsigned char next = byte(at + i);
    if (next < low || next > high) return {kReplacementCharacter, i, false, false};
    code = (code << 6) | (next & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {code, size, true, false};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Character character = decode_utf8(text, at);
    if (!character.valid) return false;
    at += character.size;
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  Utf8Stream stream;
  std::string out = stream.push(text);
  return out += stream.finish();
}

size_t count_characters(std::string_view valid_text) {
  size_t count = 0;
  for (const char byte : valid_text) count += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  return count;
}

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  out.reserve(held_.size());
  size_t at = 0;
  while (at < held_.size()) {
    const Utf8Character character = decode_utf8(held_, at);
    if (character.incomplete) break;
    if (character.valid) {
      out.append(held_, at, character.size);
      at += character.size;
    } else {
      out += kReplacementUtf8;
      at += replacement_ == Replacement::kPerByte ? 1 : character.size;
    }
  }
  held_.erase(0, at);
  return out;
}

std::string Utf8Stream::finish() {
  std::string out;
  const size_t count = replacement_ == Replacement::kPerByte ? held_.size() : (held_.empty() ? 0 : 1);
  for (size_t i = 0; i < count; ++i) out += kReplacementUtf8;
  held_.clear();
  return out;
}

}  // namespace quire
