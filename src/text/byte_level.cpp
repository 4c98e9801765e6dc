#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace quire {
namespace {

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, 0x144> bytes;  // by character, -1 outside the alphabet
};

// Bytes that print in Latin-1 stand for themselves, the others are numbered from U+0100 on.
Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.bytes.fill(-1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const char32_t code = prints ? static_cast<char32_t>(byte) : next++;
    append_utf8(alphabet.characters[byte], code);
    alphabet.bytes[code] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

const Alphabet& alphabet() {
  static const Alphabet instance = make_alphabet();
  return instance;
}

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  const auto& characters = alphabet().characters;
  for (const char byte : bytes) out += characters[static_cast<uint8_t>(byte)];
}

std::optional<uint8_t> byte_level_byte(char32_t code) {
  const auto& bytes = alphabet().bytes;
  if (code >= bytes.size() || bytes[code] < 0) return std::nullopt;
  return static_cast<uint8_t>(bytes[code]);
}

std::bitset<256> bytes_of(const Vocabulary& vocabulary) {
  std::bitset<256> bytes;
  for (size_t byte = 0; byte < 256; ++byte) bytes[byte] = vocabulary.find(alphabet().characters[byte]) != kNoToken;
  return bytes;
}

std::string byte_level_decode(std::string_view token) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const Utf8Character character = decode_utf8(token, at);
    const auto byte = character.valid ? byte_level_byte(character.code) : std::nullopt;
    if (!byte) return std::string(token);
    out.push_back(static_cast<char>(*byte));
    at += character.size;
  }
  return out;
}

}  // namespace quire
