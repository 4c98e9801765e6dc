// "Did you mean": for words of the command line that are mistyped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

// The known word that is closest to the typed one: one that begins with it, or else one that at most a third of its
// letters tell apart (Levenshtein distance with swapped neighbours, Damerau 1964). Empty when none is close.
std::string suggestion(std::string_view typed, const std::vector<std::string>& known);

}  // namespace quire
