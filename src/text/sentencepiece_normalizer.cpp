#include <optional>
#include <utility>

#include "text/charsmap.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/utf8.h"

namespace quire {
namespace {

void append_with_spaces(std::string& out, std::string_view part, std::string_view space) {
  for (const char byte : part) {
    if (byte == ' ') {
      out += space;
    } else {
      out.push_back(byte);
    }
  }
}

// Follows Normalizer::Normalize of sentencepiece: the longest entry of the character map at each place, runs of spaces
// joined, spaces at both ends dropped, one space put in front, spaces written as U+2581.
class SentencePieceNormalizer {
 public:
  explicit SentencePieceNormalizer(SentencePieceNormalization options) : options_(std::move(options)) {
    if (!options_.charsmap.empty()) map_.emplace(options_.charsmap);
    std::vector<Trie::Entry> entries;
    for (const std::string& piece : options_.user_defined) {
      if (!piece.empty()) entries.push_back({piece, 0});
    }
    user_defined_ = Trie(std::move(entries));
  }

  std::string operator()(std::string_view text) const {
    size_t at = 0;
    if (options_.remove_extra_whitespaces) {
      while (at < text.size()) {
        const auto [part, size] = next_part(text, at);
        if (part != " ") break;
        at += size;
      }
    }
    if (at >= text.size()) return {};

    std::string out;
    out.reserve(text.size() + text.size() / 2);
    const std::string_view space = options_.escape_whitespaces ? kMetaspace : " ";
    if (options_.add_dummy_prefix && !options_.whitespace_as_suffix) out += space;
    bool after_space = options_.remove_extra_whitespaces;
    while (at < text.size()) {
      auto [part, size] = next_part(text, at);
      at += size;
      while (after_space && part.starts_with(' ')) part.remove_prefix(1);
      append_with_spaces(out, part, space);
      if (!part.empty()) after_space = part.ends_with(' ');
      after_space &= options_.remove_extra_whitespaces;
    }
    while (options_.remove_extra_whitespaces && out.ends_with(space)) out.erase(out.size() - space.size());
    if (options_.add_dummy_prefix && options_.whitespace_as_suffix) out += space;
    return out;
  }

 private:
  // The replacement of the text at `at`, and how many bytes it replaces.
  std::pair<std::string_view, size_t> next_part(std::string_view text, size_t at) const {
    if (const auto match = user_defined_.longest_match(text, at); match.size > 0) {
      return {text.substr(at, match.size), match.size};
    }
    if (map_) {
      if (const auto match = map_->find(text.substr(at), Charsmap::Prefer::kLongest)) {
        return {match->replacement, match->size};
      }
    }
    const Utf8Character character = decode_utf8(text, at);
    if (!character.valid) return {kReplacementUtf8, 1};
    return {text.substr(at, character.size), character.size};
  }

  SentencePieceNormalization options_;
  std::optional<Charsmap> map_;
  Trie user_defined_;
};

}  // namespace

Normalizer make_sentencepiece_normalizer(SentencePieceNormalization options) {
  return [normalize = SentencePieceNormalizer(std::move(options))](NormalizedText& input) {
    input.text = normalize(input.text);
  };
}

}  // namespace quire
