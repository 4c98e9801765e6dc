// Masks over published vocabularies against the plain reference. Needs QUIRE_TEST_DATA.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/mapped_file.h"
#include "grammar/compile.h"

namespace quire {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;

std::vector<GrammarSpec> specs() {
  return {
      {.kind = GrammarKind::kJsonObject},
      {.kind = GrammarKind::kJsonSchema,
       .text = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                   "größe": {"enum": ["klein", "groß", 3]}, "on": {"type": "array", "items": {"type": "boolean"}}},
                   "required": ["name", "größe"], "additionalProperties": false})"},
      {.kind = GrammarKind::kRegex, .text = "(\\p{L}+ ){1,4}[^a-z]{2}"},
      {.kind = GrammarKind::kChoice, .text = R"(["yes", "no", "Grüße 😀"])"},
      {.kind = GrammarKind::kGbnf,
       .text = "root ::= sum\nsum ::= sum \"+\" term | term\nterm ::= \"(\" sum \")\" | [0-9]+"},
  };
}

// Answers of random tokens. The reference is asked for some tokens of each kind: it is slow.
void expect_reference(const Tokenizer& tokenizer) {
  const int64_t vocab_size = tokenizer.vocab_size();
  const auto vocabulary = GrammarVocabulary::make(tokenizer, vocab_size, tokenizer.eog_ids());
  std::mt19937 random(4);
  for (const GrammarSpec& spec : specs()) {
    SCOPED_TRACE(spec.text);
    const auto grammar = parse_grammar(spec);
    const auto constraint = compile_grammar(grammar, vocabulary)->begin();
    std::vector<uint64_t> mask(mask_words(vocab_size));
    std::string text;
    for (int step = 0; step < 8; ++step) {
      constraint->fill_mask(mask);
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < vocab_size; ++id) {
        if (is_in_mask(mask, id) && !tokenizer.is_eog(id)) allowed.push_back(id);
      }
      ASSERT_EQ(is_in_mask(mask, tokenizer.eog_ids()[0]), fits(*grammar, text)) << text;
      if (allowed.empty()) break;
      for (int i = 0; i < 12; ++i) {
        const auto any = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
        for (const int32_t id : {any, allowed[random() % allowed.size()]}) {
          const std::string bytes = tokenizer.is_special(id) ? std::string() : tokenizer.token_bytes(id);
          if (tokenizer.is_eog(id)) continue;
          ASSERT_EQ(is_in_mask(mask, id), !bytes.empty() && may_begin(*grammar, text + bytes))
              << text << " + " << bytes;
        }
      }
      const int32_t id = allowed[random() % allowed.size()];
      constraint->accept(id);
      text += tokenizer.token_bytes(id);
    }
  }
}

TEST(Vocabularies, MasksAreThoseOfTheReference) {
  const char* root = std::getenv("QUIRE_TEST_DATA");
  if (root == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of test data";
  const std::filesystem::path data = std::filesystem::path(root) / "tokenizers";
  const auto merges = MappedFile::open(data / "qwen2/merges.txt");
  const auto bytes = merges.bytes();
  const json::value config = read_json_file(data / "qwen2/tokenizer_config.json", kMaxFileBytes);
  expect_reference(load_vocab_merges(read_json_file(data / "qwen2/vocab.json", kMaxFileBytes),
                                     {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, &config));
  expect_reference(load_tokenizer_json(read_json_file(data / "hf/phi-3/tokenizer.json", kMaxFileBytes), nullptr));
}

}  // namespace
}  // namespace quire
