// Edge cases of the pipeline's parts that the fixtures do not cover.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/characters.h"
#include "text/charsmap.h"
#include "text/decoder.h"
#include "text/named_pre_tokenizers.h"
#include "text/pre_tokenizer.h"
#include "text/trie.h"
#include "text/utf8.h"

namespace quire {
namespace {

TEST(Utf8, MalformedBytesBecomeOneReplacementPerSubpart) {
  EXPECT_EQ(repair_utf8("a\xE4\xBD"), "a\uFFFD");
  EXPECT_EQ(repair_utf8("\xE4\xBD\x41"), "\uFFFDA");
  EXPECT_EQ(repair_utf8("\xF0\x80\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(repair_utf8("\xC0\xAF\xFF"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repair_utf8("\xF4\x8F\xBF\xBF"), "\xF4\x8F\xBF\xBF");
}

TEST(Utf8, StreamGivesTheSameForAnyCuts) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    while (text.size() < 12) {
      const char* parts[] = {"a", "\xE4\xBD\xA0", "\xF0\x9F\x91\xA8", "\xE4", "\xBD", "\xF0\x9F", "\xFF", "\xC3\xA9"};
      text += parts[random() % 8];
    }
    Utf8Stream stream;
    std::string all;
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min<size_t>(1 + random() % 3, text.size() - at);
      const std::string part = stream.push(std::string_view(text).substr(at, size));
      EXPECT_TRUE(is_valid_utf8(part));
      all += part;
      at += size;
    }
    EXPECT_EQ(all + stream.finish(), repair_utf8(text));
  }
}

TEST(Characters, NormalFormsOfUnicode9) {
  EXPECT_EQ(normalize_unicode("e\u0301", UnicodeForm::kNfc), "\u00E9");
  EXPECT_EQ(normalize_unicode("\uAC01", UnicodeForm::kNfd), "\u1100\u1161\u11A8");
  EXPECT_EQ(normalize_unicode("\u1100\u1161\u11A8", UnicodeForm::kNfc), "\uAC01");
  EXPECT_EQ(normalize_unicode("\uFB01\u00BD", UnicodeForm::kNfkc), "fi1\u20442");
  EXPECT_EQ(normalize_unicode("a\u0301\u0316", UnicodeForm::kNfd), "a\u0316\u0301");
  EXPECT_EQ(normalize_unicode("a\U0001E136\u0316", UnicodeForm::kNfd), "a\U0001E136\u0316");  // a mark since Unicode 12
}

TEST(Characters, LongRunsOfMarksAreSortedInTime) {
  std::string text = "a";
  for (int i = 0; i < 100'000; ++i) text += "\u0301\u0316";
  EXPECT_EQ(normalize_unicode(text, UnicodeForm::kNfd).size(), text.size());
}

TEST(Trie, FindsTheLongestKey) {
  const Trie trie({{"a", 1}, {"abc", 2}, {"b", 3}, {"abc", 9}});
  EXPECT_EQ(trie.longest_match("xabcd", 1).value, 2);
  EXPECT_EQ(trie.longest_match("xabd", 1).value, 1);
  EXPECT_EQ(trie.longest_match("c", 0).size, 0u);
  EXPECT_EQ(Trie().longest_match("c", 0).size, 0u);
}

std::vector<std::pair<std::string, int>> split(const AddedTokens& added, std::string_view text, bool parse_special) {
  std::vector<std::pair<std::string, int>> parts;
  for (const auto& segment : added.split(text, AddedTokens::Kind::kRaw, parse_special)) {
    parts.emplace_back(text.substr(segment.begin, segment.end - segment.begin), segment.id);
  }
  return parts;
}

TEST(AddedTokens, FlagsAndLongestMatch) {
  using Parts = std::vector<std::pair<std::string, int>>;
  const AddedTokens added({{.id = 1, .content = "<a>", .special = true},
                           {.id = 2, .content = "<a>b", .special = true},
                           {.id = 3, .content = "[S]", .lstrip = true, .rstrip = true},
                           {.id = 4, .content = "w", .single_word = true}},
                          nullptr);
  EXPECT_EQ(split(added, "x<a>b<a>c", true), (Parts{{"x", -1}, {"<a>b", 2}, {"<a>", 1}, {"c", -1}}));
  EXPECT_EQ(split(added, "x<a>b", false), (Parts{{"x<a>b", -1}}));
  EXPECT_EQ(split(added, "x \u3000[S]\n y", true), (Parts{{"x", -1}, {" \u3000[S]\n ", 3}, {"y", -1}}));
  EXPECT_EQ(split(added, "w ww \u00E9w w", true), (Parts{{"w", 4}, {" ww \u00E9w ", -1}, {"w", 4}}));
}

std::vector<std::pair<std::string, int>> split_data(const AddedTokens& added, std::string_view text,
                                                    std::vector<TextSpan> data) {
  std::vector<std::pair<std::string, int>> parts;
  for (const auto& segment : added.split(text, AddedTokens::Kind::kRaw, true, data)) {
    parts.emplace_back(text.substr(segment.begin, segment.end - segment.begin), segment.id);
  }
  return parts;
}

TEST(AddedTokens, NoSpecialTokenHoldsAByteOfData) {
  using Parts = std::vector<std::pair<std::string, int>>;
  const AddedTokens added({{.id = 1, .content = "<a>", .special = true},
                           {.id = 2, .content = "<a>b", .special = true},
                           {.id = 3, .content = "[S]"}},
                          nullptr);
  EXPECT_EQ(split_data(added, "<a><a>[S]<a>", {{3, 9}}), (Parts{{"<a>", 1}, {"<a>", -1}, {"[S]", 3}, {"<a>", 1}}));
  EXPECT_EQ(split_data(added, "<a>b<a>b", {{3, 4}}), (Parts{{"<a>", 1}, {"b", -1}, {"<a>b", 2}}));  // the shorter one
  EXPECT_EQ(split_data(added, "<a><a>", {{0, 1}}), (Parts{{"<a>", -1}, {"<a>", 1}}));
  EXPECT_EQ(split_data(added, "<a><a>", {{2, 4}}), (Parts{{"<a><a>", -1}}));
  EXPECT_EQ(split_data(added, "[S]<a>", {{1, 2}}), (Parts{{"[S]", 3}, {"<a>", 1}}));
}

TEST(Charsmap, SizesThatContradictAreErrors) {
  EXPECT_THROW(Charsmap("abc"), Error);
  EXPECT_THROW(Charsmap(std::string("\xFF\xFF\xFF\x7F", 4)), Error);
  EXPECT_THROW(Charsmap(std::string("\x02\0\0\0ab", 6)), Error);
  EXPECT_FALSE(Charsmap(std::string(4, '\0')).find("a", Charsmap::Prefer::kLongest));
}

TEST(NamedPreTokenizers, EveryExpressionCompilesAndCoversText) {
  for (const char* name : {"default",        "gpt-2",       "llama-bpe",  "qwen2",    "qwen35",    "deepseek-llm",
                           "deepseek-coder", "deepseek-v3", "falcon",     "mpt",      "starcoder", "refact",
                           "command-r",      "smollm",      "gpt-4o",     "llama4",   "tekken",    "viking",
                           "jais",           "jais-2",      "bloom",      "olmo",     "dbrx",      "kimi-k2",
                           "bailingmoe",     "seed-coder",  "exaone-moe", "tiny_aya", "superbpe"}) {
    SCOPED_TRACE(name);
    PreTokenizedText input{"Hello wOrld's 12345 \u4E16\u754C!?  \n\tx", {}};
    input.pieces = {{0, input.text.size(), true}};
    const std::string text = input.text;
    for (const auto expression : find_named_pre_tokenizer(name).expressions) {
      make_split_pre_tokenizer(expression, SplitBehavior::kIsolated)(input);
    }
    EXPECT_GE(input.pieces.size(), 4u);
    std::string all;
    for (const auto& piece : input.pieces) all += input.text.substr(piece.begin, piece.end - piece.begin);
    EXPECT_EQ(all, text);
  }
}

TextDecoder decoder_of(std::string_view description) {
  const json::value value = parse_json(description, "test");
  return parse_decoder(&value.as_object());
}

std::string decode(const TextDecoder& decoder, const std::vector<std::string>& tokens) {
  DecoderChain chain(decoder);
  std::string text;
  for (const std::string& token : tokens) text += chain.push(token);
  return text + chain.finish();
}

TEST(Decoders, StagesThatHoldBack) {
  const TextDecoder strip = decoder_of(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Strip", "content": "x", "start": 2, "stop": 2}]})");
  EXPECT_EQ(decode(strip, {"x", "xx", "a", "x", "x", "x"}), "xax");
  const TextDecoder replace = decoder_of(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Replace", "pattern": {"String": "abc"}, "content": "-"}]})");
  EXPECT_EQ(decode(replace, {"a", "ab", "cab", "ab"}), "a-abab");
  const TextDecoder suffix = decoder_of(R"({"type": "BPEDecoder", "suffix": "</w>"})");
  EXPECT_EQ(decode(suffix, {"lo", "w</w>", "end</w>"}), "low end");
  const TextDecoder ctc = decoder_of(R"({"type": "CTC"})");
  EXPECT_EQ(decode(ctc, {"a", "a", "<pad>", "a", "|", "b"}), "aa b");
  EXPECT_EQ(decode(parse_decoder(nullptr), {"a", "b"}), "a b");
}

TEST(Decoders, BytesOfAnUnfinishedCharacterAreReplaced) {
  const TextDecoder fallback = decoder_of(R"({"type": "ByteFallback"})");
  EXPECT_EQ(decode(fallback, {"<0xE4>", "<0xBD>", "<0xA0>"}), "\u4F60");
  EXPECT_EQ(decode(fallback, {"<0xE4>", "<0xBD>", "a", "<0xFF>"}), "\uFFFD\uFFFDa\uFFFD");
  EXPECT_EQ(decode(make_byte_level_decoder(), {"\u00E4\u00BD", "a"}), "\uFFFDa");
}

}  // namespace
}  // namespace quire
