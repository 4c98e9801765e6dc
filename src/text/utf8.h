// UTF-8: decoding one character, repairing text, and repairing it as it arrives. Pure functions, any thread.
//
// Malformed input follows the Unicode standard's "maximal subpart" practice: the longest prefix of a valid character
// becomes one U+FFFD, any other byte becomes one U+FFFD each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

constexpr char32_t kReplacementCharacter = 0xFFFD;
constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

struct Utf8Character {
  char32_t code;    // U+FFFD when malformed
  uint32_t size;    // bytes consumed, at least 1
  bool valid;       // false: malformed or cut off
  bool incomplete;  // the text ended where the character could still have become valid
};

// `at` must lie inside `text`.
Utf8Character decode_utf8(std::string_view text, size_t at);

// Size of the character that starts with this byte, in valid text.
inline uint32_t utf8_size(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

void append_utf8(std::string& out, char32_t code);
bool is_valid_utf8(std::string_view text);
std::string repair_utf8(std::string_view text);
size_t count_characters(std::string_view valid_text);

// Calls visit(code, begin, size) for each character of valid text.
template <typename Visit>
void for_each_character(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Character character = decode_utf8(text, at);
    visit(character.code, at, static_cast<size_t>(character.size));
    at += character.size;
  }
}

// Repairs a byte stream piece by piece: holds back a character that is still incomplete.
class Utf8Stream {
 public:
  // kPerSubpart: as repair_utf8. kPerByte: each byte of a malformed character becomes one U+FFFD (sentencepiece).
  enum class Replacement { kPerSubpart, kPerByte };
  explicit Utf8Stream(Replacement replacement = Replacement::kPerSubpart) : replacement_(replacement) {}

  // Returns valid text that is certain by now. finish() returns the text of the held bytes when nothing follows.
  std::string push(std::string_view bytes);
  std::string finish();
  bool empty() const { return held_.empty(); }

 private:
  Replacement replacement_;
  std::string held_;  // at most 3 bytes between calls
};

}  // namespace quire
