#include "dialogue/sampling_words.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
}

// The tokens of a text that stands within another one, where a tokenizer that puts a space before texts puts none.
std::vector<int32_t> encode_within(const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<int32_t> behind_newline = encode(tokenizer, "\n" + text);
  std::string bytes;
  for (size_t first = behind_newline.size(); first > 0 && bytes.size() < text.size();) {
    bytes.insert(0, tokenizer.token_bytes(behind_newline[--first]));
    if (bytes == text) return {behind_newline.begin() + static_cast<std::ptrdiff_t>(first), behind_newline.end()};
  }
  return encode(tokenizer, text);  // the newline is part of its first token
}

std::shared_ptr<const TokenSequences> without_repetition(TokenSequences sequences) {
  std::ranges::sort(sequences);
  sequences.erase(std::unique(sequences.begin(), sequences.end()), sequences.end());
  return std::make_shared<const TokenSequences>(std::move(sequences));
}

// A breaker whose beginning may be the end of a token.
struct Breaker {
  std::string text;
  std::vector<std::vector<int32_t>> rests;  // rests[i]: the tokens behind the first i + 1 bytes
};

void add_ways(int32_t id, const std::string& bytes, const Breaker& breaker, TokenSequences& ways) {
  if (bytes.find(breaker.text) != std::string::npos) return ways.push_back({id});
  for (size_t length = 1; length <= breaker.rests.size(); ++length) {
    if (!bytes.ends_with(std::string_view(breaker.text).substr(0, length))) continue;
    std::vector<int32_t>& way = ways.emplace_back(1, id);
    way.insert(way.end(), breaker.rests[length - 1].begin(), breaker.rests[length - 1].end());
  }
}

}  // namespace

std::shared_ptr<const TokenSequences> bad_word_tokens(const Tokenizer& tokenizer, std::span<const std::string> words) {
  TokenSequences sequences;
  for (const std::string& word : words) {
    const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    sequences.push_back(encode(tokenizer, bare));
    sequences.push_back(encode(tokenizer, " " + bare));
  }
  return without_repetition(std::move(sequences));
}

std::shared_ptr<const TokenSequences> dry_breaker_tokens(const Tokenizer& tokenizer,
                                                         std::span<const std::string> breakers) {
  std::vector<Breaker> all;
  for (const std::string& text : breakers) {
    CHECK(!text.empty());
    Breaker& breaker = all.emplace_back(Breaker{.text = text.substr(0, kMaxDryBreakerBytes), .rests = {}});
    for (size_t length = 1; length < breaker.text.size(); ++length) {
      breaker.rests.push_back(encode_within(tokenizer, breaker.text.substr(length)));
    }
  }
  TokenSequences ways;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    for (const Breaker& breaker : all) add_ways(id, bytes, breaker, ways);
  }
  return without_repetition(std::move(ways));
}

}  // namespace quire
