// GPT-2's printable alphabet: each of the 256 bytes is written as one character, so that any byte string is text.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/vocabulary.h"

namespace quire {

// Appends the characters that stand for `bytes`.
void append_byte_level(std::string& out, std::string_view bytes);
// The byte that a character stands for; nothing when it is not in the alphabet.
std::optional<uint8_t> byte_level_byte(char32_t code);
// The bytes that a vocabulary has a token for; a byte-level BPE drops the others.
std::bitset<256> bytes_of(const Vocabulary& vocabulary);
// The bytes that a token stands for; a token with any other character stands for itself.
std::string byte_level_decode(std::string_view token);

}  // namespace quire
