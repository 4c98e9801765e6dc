// The tokenizers of tests/data/tokenizers against the ids that their own libraries gave (tools/tokenizer_oracle.py),
// and what loaders and encoders do with bad input.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/detokenizer.h"
#include "text/utf8.h"

namespace quire {
namespace {

const std::filesystem::path kData = std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers";
constexpr size_t kMaxFileBytes = 1 << 24;

bool is_sentencepiece(const std::string& name) { return name.starts_with("sp_"); }

json::value read_description(const std::string& name) {
  return read_json_file(kData / (name + ".json"), kMaxFileBytes);
}

Tokenizer load(const std::string& name) {
  if (!is_sentencepiece(name)) return load_tokenizer_json(read_description(name), nullptr);
  const MappedFile file = MappedFile::open(kData / (name + ".model"));
  return load_sentencepiece(file.bytes(), nullptr);
}

std::vector<int32_t> ids_of(const json::object& test_case, std::string_view key) {
  return json::value_to<std::vector<int32_t>>(test_case.at(key));
}

std::string decode_in_steps(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = detokenizer.push(id);
    EXPECT_TRUE(is_valid_utf8(part));
    text += part;
  }
  const std::string rest = detokenizer.finish();
  EXPECT_TRUE(is_valid_utf8(rest));
  return text + rest;
}

class TokenizerFixture : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerFixture, IdsAndTextEqualTheOriginal) {
  const Tokenizer tokenizer = load(GetParam());
  const json::value cases = read_json_file(kData / (std::string(GetParam()) + ".cases.json"), kMaxFileBytes);
  ASSERT_GE(cases.as_array().size(), 10u);
  for (const json::value& value : cases.as_array()) {
    const json::object& test_case = value.as_object();
    const std::string text = get_string(test_case, "text");
    SCOPED_TRACE(text);
    const auto plain = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
    const std::vector<int32_t> original = ids_of(test_case, "plain");
    // The original's Unigram reads names of special tokens as words of its vocabulary; here they are text.
    const auto is_name = [&](int32_t id) {
      return tokenizer.is_special(id) && tokenizer.token_text(id) != "<unk>" && tokenizer.token_text(id) != "[UNK]";
    };
    if (std::ranges::any_of(original, is_name)) {
      EXPECT_TRUE(std::ranges::none_of(plain, is_name));
    } else {
      EXPECT_EQ(plain, original);
    }
    std::vector<int32_t> ids = plain;
    if (!is_sentencepiece(GetParam())) {
      ids = tokenizer.encode(text, {.add_special_tokens = false});
      EXPECT_EQ(ids, ids_of(test_case, "ids"));
      EXPECT_EQ(tokenizer.encode(text), ids_of(test_case, "special"));
    }
    EXPECT_EQ(tokenizer.decode(ids), get_string(test_case, "decoded"));
    EXPECT_EQ(decode_in_steps(tokenizer, ids), get_string(test_case, "decoded"));
  }
}

TEST_P(TokenizerFixture, DecodingInStepsEqualsDecodingAtOnceForAnyIds) {
  const Tokenizer tokenizer = load(GetParam());
  std::mt19937 random(7);
  for (int stream = 0; stream < 100; ++stream) {
    std::vector<int32_t> ids(random() % 30);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % (tokenizer.vocab_size() + 2)) - 1;
    EXPECT_EQ(decode_in_steps(tokenizer, ids), tokenizer.decode(ids));
  }
}

TEST_P(TokenizerFixture, MalformedTextIsEncoded) {
  const Tokenizer tokenizer = load(GetParam());
  std::mt19937 random(11);
  for (int i = 0; i < 50; ++i) {
    std::string text(random() % 40, ' ');
    for (char& byte : text) byte = static_cast<char>(random());
    EXPECT_EQ(tokenizer.encode(text), tokenizer.encode(repair_utf8(text)));
  }
}

// Not one text may have fewer tokens than min_tokens() says.
TEST_P(TokenizerFixture, BytesBoundTheTokensFromBelow) {
  const Tokenizer tokenizer = load(GetParam());
  int64_t most = 0;
  const auto check = [&](const std::string& text) {
    const int64_t least = tokenizer.min_tokens(text);
    most = std::max(most, least);
    for (const bool parse_special : {false, true}) {
      const auto ids = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = parse_special});
      EXPECT_LE(least, static_cast<int64_t>(ids.size())) << text.substr(0, 80);
    }
  };
  for (int32_t id = 0; id < tokenizer.vocab_size(); id += 1 + tokenizer.vocab_size() / 500) {
    std::string text;
    for (int i = 0; i < 20; ++i) text += tokenizer.token_bytes(id);
    check(text);
  }
  for (const char* piece : {" ", "\x04", "\xC3\xA9", "e\xCC\x81", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\n",
                            "\xE1\xBE\xBE\xCC\x88\xCC\x81"}) {
    std::string text;
    for (int i = 0; i < 2000; ++i) text += piece;
    check(text);
  }
  const std::string name = GetParam();
  const bool is_bounded =
      name == "qwen2" || name == "gpt4o" || name == "deepseek3" || name == "bloom" || name == "starcoder";
  EXPECT_EQ(most > 0, is_bounded);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TokenizerFixture,
                         testing::Values("gpt2", "llama3", "qwen2", "gpt4o", "deepseek3", "bloom", "starcoder",
                                         "llama2", "unigram", "unigram_bytes", "wordpiece", "end_of_word",
                                         "sp_bpe_bytes", "sp_bpe", "sp_unigram_bytes", "sp_unigram"),
                         [](const auto& fixture) { return std::string(fixture.param); });

// A file damaged at any byte gives a clear Error or another tokenizer, never a crash.
TEST(TokenizerFiles, MutatedFilesNeverCrash) {
  std::mt19937 random(3);
  for (const std::string name : {"llama2", "unigram", "wordpiece", "sp_unigram_bytes", "sp_bpe"}) {
    std::ifstream file(kData / (name + (is_sentencepiece(name) ? ".model" : ".json")), std::ios::binary);
    const std::string original{std::istreambuf_iterator<char>(file), {}};
    ASSERT_FALSE(original.empty());
    for (int round = 0; round < 25; ++round) {
      std::string damaged = original;
      for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      if (round % 5 == 0) damaged.resize(random() % damaged.size());
      try {
        const Tokenizer tokenizer = is_sentencepiece(name)
                                        ? load_sentencepiece(std::as_bytes(std::span(damaged)), nullptr)
                                        : load_tokenizer_json(parse_json(damaged, name), nullptr);
        tokenizer.decode(tokenizer.encode("The quick \xF0\x9F\x91\xA8 fox <s> ﬁ"));
      } catch (const Error& error) {
        EXPECT_STRNE(error.what(), "");
      }
    }
  }
}

json::value bpe_with(std::string_view member, const json::value& value) {
  json::value description = parse_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "decoder": {"type": "Fuse"}})",
      "test");
  description.as_object()[member] = value;
  return description;
}

void expect_error(const json::value& description, ErrorCode code, std::string_view part) {
  try {
    load_tokenizer_json(description, nullptr);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

TEST(TokenizerFiles, ErrorsNameWhatIsWrong) {
  expect_error(parse_json("[]", "test"), ErrorCode::kCorrupt, "tokenizer.json");
  expect_error(parse_json("{}", "test"), ErrorCode::kCorrupt, "model");
  expect_error(bpe_with("model", parse_json(R"({"type": "Markov", "vocab": {}})", "test")), ErrorCode::kUnsupported,
               "Markov");
  expect_error(bpe_with("model", parse_json(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})", "test")),
               ErrorCode::kCorrupt, "merge 0");
  expect_error(bpe_with("model", parse_json(R"({"type": "BPE", "vocab": {"a": 2147483647}, "merges": []})", "test")),
               ErrorCode::kCorrupt, "2147483647");
  expect_error(bpe_with("model", parse_json(R"({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []})", "test")),
               ErrorCode::kCorrupt, "id 0");
  expect_error(bpe_with("normalizer", parse_json(R"({"type": "NFX"})", "test")), ErrorCode::kUnsupported, "NFX");
  expect_error(bpe_with("pre_tokenizer", parse_json(R"({"type": "Split", "pattern": {"Regex": "(a"}})", "test")),
               ErrorCode::kUnsupported, "(a");
  expect_error(bpe_with("added_tokens", parse_json(R"([{"id": -1, "content": "x"}])", "test")), ErrorCode::kCorrupt,
               "-1");
}

TEST(TokenizerFiles, TextOutsideAVocabularyWithoutUnknownTokenIsLeftOut) {
  const Tokenizer tokenizer = load_tokenizer_json(bpe_with("version", "1.0"), nullptr);
  EXPECT_EQ(tokenizer.encode("xabyb"), (std::vector<int32_t>{2, 1}));
}

TEST(TokenizerFiles, ConfigurationNamesSpecialTokens) {
  const json::value config = parse_json(
      R"({"tokenizer_class": "LlamaTokenizer", "bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": true, "add_eos_token": true,
          "added_tokens_decoder": {"3": {"content": "<s>", "special": true}, "4": {"content": "</s>", "special": true}},
          "chat_template": [{"name": "default", "template": "T"}]})",
      "test");
  const Tokenizer tokenizer = load_tokenizer_json(bpe_with("version", "1.0"), &config);
  EXPECT_EQ(tokenizer.bos_id(), 3);
  EXPECT_EQ(tokenizer.eos_id(), 4);
  EXPECT_EQ(tokenizer.eog_ids(), std::vector<int32_t>{4});
  EXPECT_EQ(tokenizer.chat_template(), "T");
  EXPECT_EQ(tokenizer.encode("a</s>b"), (std::vector<int32_t>{3, 0, 4, 1, 4}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab")), "ab");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab"), false), "<s>ab</s>");
}

// The configuration's flags against the file's post-processor: as Transformers decides (tools/bos_eos_oracle.py).
TEST(TokenizerFiles, BeginAndEndAreThoseOfTransformers) {
  const json::value file = read_description("bos_eos");
  json::value description = read_description("llama2");
  const json::array& post_processors = file.at("post_processors").as_array();
  const json::array& cases = file.at("cases").as_array();
  ASSERT_GE(cases.size(), 60u);
  for (const json::value& value : cases) {
    const json::object& test_case = value.as_object();
    const json::value& config = test_case.at("config");
    const int64_t which = test_case.at("post_processor").as_int64();
    description.as_object()["post_processor"] = post_processors[static_cast<size_t>(which)];
    EXPECT_EQ(load_tokenizer_json(description, &config).encode("hello"), ids_of(test_case, "ids"))
        << json::serialize(config) << " post-processor " << which;
  }
}

// Special tokens that are searched in normalised text: the spans of data move with it.
TEST(TokenizerFiles, DataStaysDataThroughANormalizer) {
  const json::value description = parse_json(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "<s>": 1, "\u2581": 2, "<": 3, "s": 4, ">": 5}, "merges": []},
          "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            {"type": "Replace", "pattern": {"String": "#"}, "content": "<s>"}]},
          "added_tokens": [{"id": 1, "content": "<s>", "special": true, "normalized": true}],
          "decoder": {"type": "Fuse"}})",
      "test");
  json::value plain = description;  // finds "<s>" anywhere; the other only behind what Prepend writes
  plain.as_object()["normalizer"].as_object()["normalizers"].as_array().erase(
      plain.as_object()["normalizer"].as_object()["normalizers"].as_array().begin());
  const Tokenizer tokenizer = load_tokenizer_json(plain, nullptr);
  const auto encode = [&](std::string_view text, std::vector<TextSpan> data) {
    return tokenizer.encode(text, {.data = data});
  };
  const std::vector<int32_t> letters = {3, 4, 5};
  EXPECT_EQ(encode("<s> a", {{3, 5}}), (std::vector<int32_t>{1, 2, 0}));
  EXPECT_EQ(encode("  <s>", {{1, 5}}), (std::vector<int32_t>{2, 2, 3, 4, 5}));
  EXPECT_EQ(encode("<s>  <s><s>", {{3, 8}}), (std::vector<int32_t>{1, 2, 2, 3, 4, 5, 1}));
  EXPECT_EQ(encode("#", {{0, 1}}), letters);  // a name that only the normaliser makes
  EXPECT_EQ(encode("#", {}), std::vector<int32_t>{1});
  const Tokenizer prefixed = load_tokenizer_json(description, nullptr);
  const std::vector<TextSpan> last = {{4, 8}};
  EXPECT_EQ(prefixed.encode("<s> <s>", {.data = {}}), (std::vector<int32_t>{1, 1}));
  EXPECT_EQ(prefixed.encode("<s>  <s>", {.data = last}), (std::vector<int32_t>{1, 2, 2, 3, 4, 5}));
}

// A model whose vocabulary has names of special tokens like any other word.
TEST(TokenizerFiles, NamesInTheModelsVocabularyAreTextInData) {
  const Tokenizer tokenizer = load("unigram");
  const auto count_ends = [](const std::vector<int32_t>& ids) { return std::ranges::count(ids, 2); };
  const std::string text = "over</s>over</s>";
  const std::vector<TextSpan> data = {{0, 8}};
  EXPECT_EQ(count_ends(tokenizer.encode(text, {.add_special_tokens = false})), 2);
  EXPECT_EQ(count_ends(tokenizer.encode(text, {.add_special_tokens = false, .data = data})), 1);
  EXPECT_EQ(count_ends(tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false})), 0);
  // The normaliser makes ASCII of these.
  const std::string wide = "over\uFF1C/s\uFF1E";
  const std::vector<TextSpan> all = {{0, wide.size()}};
  EXPECT_EQ(count_ends(tokenizer.encode(wide, {.add_special_tokens = false, .data = all})), 0);
}

TEST(TokenizerFiles, DataStaysDataInMalformedText) {
  const Tokenizer tokenizer = load("llama2");
  const std::vector<TextSpan> data = {{4, 8}};
  const auto ids = tokenizer.encode("<s>\xFF\xFF<s></s>", {.add_special_tokens = false, .data = data});
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
  EXPECT_EQ(std::ranges::count(ids, 1), 1);
}

TEST(GgufVocabularies, UnknownNamesAreListed) {
  GgufVocabulary gguf{.model = "gpt2", .pre = "no-such", .tokens = {"a"}};
  try {
    load_gguf_vocabulary(gguf);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("no-such"), std::string_view::npos);
    EXPECT_NE(std::string_view(error.what()).find("llama-bpe"), std::string_view::npos);
  }
  gguf.model = "abacus";
  EXPECT_THROW(load_gguf_vocabulary(gguf), Error);
  gguf.tokens.clear();
  EXPECT_THROW(load_gguf_vocabulary(gguf), Error);
}

TEST(GgufVocabularies, SentencePieceWithoutByteFallback) {
  GgufVocabulary gguf{.model = "llama",
                      .tokens = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "ab"},
                      .scores = {0, 0, 0, -1, -2, -3, -0.5f},
                      .types = {2, 3, 3, 1, 1, 1, 1},
                      .bos_id = 1,
                      .eos_id = 2,
                      .unk_id = 0};
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("ab xyz"), (std::vector<int32_t>{1, 3, 6, 3, 0}));
  gguf.unk_id.reset();  // its type is enough
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("ab xyz"), (std::vector<int32_t>{1, 3, 6, 3, 0}));
  gguf.types[0] = 3;
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("ab xyz"), (std::vector<int32_t>{1, 3, 6, 3}));
}

// A vocabulary of bytes without the one of U+0004; its unknown id is a control token, as in SmolLM2's files.
GgufVocabulary byte_vocabulary() {
  GgufVocabulary gguf{.model = "gpt2",
                      .pre = "gpt-2",
                      .tokens = {"<|endoftext|>", "a", "b", "ab", "<|im_end|>", "<tool>"},
                      .types = {3, 1, 1, 1, 3, 4},
                      .merges = {"a b"},
                      .eos_id = 0,
                      .unk_id = 0};
  return gguf;
}

TEST(GgufVocabularies, ByteThatTheVocabularyLacksIsLeftOut) {
  const Tokenizer tokenizer = load_gguf_vocabulary(byte_vocabulary());
  EXPECT_EQ(tokenizer.encode("a\x04"
                             "ab"),
            (std::vector<int32_t>{1, 3}));
  EXPECT_TRUE(tokenizer.encode("\x04").empty());
  EXPECT_EQ(tokenizer.unk_id(), 0);  // still what the file says
}

TEST(GgufVocabularies, EndsOfTurnsAreSpecialWhateverTheirType) {
  for (const int32_t type : {1, 3, 4}) {
    GgufVocabulary gguf = byte_vocabulary();
    gguf.types[4] = type;
    const Tokenizer tokenizer = load_gguf_vocabulary(gguf);
    EXPECT_EQ(tokenizer.eog_ids(), (std::vector<int32_t>{0, 4})) << type;
    EXPECT_TRUE(tokenizer.is_special(4)) << type;
    EXPECT_EQ(tokenizer.encode("a<|im_end|>"), (std::vector<int32_t>{1, 4})) << type;
    EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 4}), "a") << type;
    EXPECT_FALSE(tokenizer.is_special(5)) << type;
  }
}

TEST(GgufVocabularies, SomeNamesEndATurnOnlyIfTheFileSaysSo) {
  GgufVocabulary gguf{.model = "llama", .tokens = {"<unk>", "<s>", "</s>", "a"}, .types = {2, 3, 4, 1}, .bos_id = 1};
  EXPECT_TRUE(load_gguf_vocabulary(gguf).eog_ids().empty());  // an element of HTML
  gguf.types[2] = 3;
  EXPECT_EQ(load_gguf_vocabulary(gguf).eog_ids(), std::vector<int32_t>{2});
}

TEST(GgufVocabularies, HarmonyEndsATurnWithItsOwnTokens) {
  GgufVocabulary gguf{.model = "gpt2",
                      .pre = "gpt-4o",
                      .tokens = {"a", "<|return|>", "<|call|>", "<|end|>", "<|endoftext|>"},
                      .types = {1, 3, 3, 3, 3},
                      .eos_id = 1};
  EXPECT_EQ(load_gguf_vocabulary(gguf).eog_ids(), (std::vector<int32_t>{1, 2, 4}));
  gguf.tokens[2] = "<|other|>";  // elsewhere that token ends a turn
  EXPECT_EQ(load_gguf_vocabulary(gguf).eog_ids(), (std::vector<int32_t>{1, 3, 4}));
}

TEST(GgufVocabularies, FamiliesWhoseTokensTakeBlanksWithThem) {
  GgufVocabulary gguf{.architecture = "phi3",
                      .name = "Some tune",
                      .model = "llama",
                      .tokens = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "<|user|>", "<0x0A>", "<|endoftext|>"},
                      .types = {2, 3, 3, 1, 1, 3, 1, 3},
                      .bos_id = 1,
                      .unk_id = 0,
                      .add_bos = false,
                      .add_space_prefix = false};
  const std::vector<int32_t> stripped = {5, 4, 7, 3, 4};
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("<|user|>  a<|endoftext|> a"), stripped);
  gguf.architecture = "llama";
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("<|user|> a"), (std::vector<int32_t>{5, 3, 4}));
  gguf.name = "Phi 3.5 mini";
  EXPECT_EQ(load_gguf_vocabulary(gguf).encode("<|user|>  a<|endoftext|> a"), stripped);

  GgufVocabulary phi4 = byte_vocabulary();
  phi4.architecture = "phi3";
  phi4.pre = "dbrx";
  phi4.tokens[2] = "\xC4\xA0";  // a blank
  phi4.merges.clear();
  EXPECT_EQ(load_gguf_vocabulary(phi4).encode("a <|im_end|> a"), (std::vector<int32_t>{1, 4, 1}));

  GgufVocabulary roberta = byte_vocabulary();
  roberta.pre = "roberta-bpe";
  roberta.tokens[2] = "\xC4\xA0";
  roberta.tokens[4] = "<mask>";
  roberta.merges.clear();
  EXPECT_EQ(load_gguf_vocabulary(roberta).encode("a <mask> a"), (std::vector<int32_t>{1, 4, 2, 1}));
}

TEST(TokenBytes, HalvesOfACharacterAreKept) {
  const Tokenizer bytes = load("gpt2");
  const auto ids = bytes.encode("\xF0\x9F\x91\xA8", {.add_special_tokens = false});
  std::string all;
  for (const int32_t id : ids) all += bytes.token_bytes(id);
  EXPECT_EQ(all, " \xF0\x9F\x91\xA8");
  const Tokenizer fallback = load("llama2");
  EXPECT_EQ(fallback.token_bytes(*fallback.find_token("<0xF0>")), "\xF0");
  EXPECT_EQ(fallback.token_bytes(*fallback.find_token("\xE2\x96\x81")), " ");
}

}  // namespace
}  // namespace quire
