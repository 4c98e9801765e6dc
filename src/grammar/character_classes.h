// Sets of characters that expressions name.
#pragma once

#include <optional>
#include <string_view>

#include "grammar/grammar.h"

namespace quire {

CharacterRanges ascii_digits();
CharacterRanges ascii_word_characters();     // \w of ECMA-262
CharacterRanges ecma_whitespace();           // \s
CharacterRanges all_but_line_terminators();  // . without the flag s
// Sorted, without overlaps; surrogates may be in it, which stand for no character.
CharacterRanges inverse(CharacterRanges ranges);
// \p{name}: general categories by short or long name, Any, ASCII, White_Space. Nothing for others.
std::optional<CharacterRanges> unicode_property(std::string_view name);

}  // namespace quire
