// Sentencepiece's compiled character map: a double-array trie (Darts-clone's layout) from character sequences to
// replacements, followed by the replacements, each ended by a zero byte. Immutable, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

class Charsmap {
 public:
  // Throws Error kCorrupt when the sizes contradict each other. Every replacement is made valid UTF-8.
  explicit Charsmap(std::string_view blob);

  struct Match {
    size_t size;  // bytes of the key
    std::string_view replacement;
  };
  enum class Prefer { kLongest, kShortest };
  // A key that `text` starts with.
  std::optional<Match> find(std::string_view text, Prefer prefer) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace quire
