// Any text as a grammar, its kind in the first byte; then tokens that it allows are chosen. Refused with an Error, or
// every choice of allowed tokens can go on or end.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "grammar/compile.h"

namespace {

struct Model {
  quire::Tokenizer tokenizer;
  std::shared_ptr<const quire::GrammarVocabulary> vocabulary;
};

const Model& model() {
  static const Model one = [] {
    quire::GgufVocabulary gguf;
    const auto add = [&](std::string text, int32_t type) {
      gguf.tokens.push_back(std::move(text));
      gguf.types.push_back(type);
      gguf.scores.push_back(0);
    };
    gguf.model = "llama";
    gguf.unk_id = 0;
    gguf.eos_id = 1;
    add("<unk>", 2);
    add("</s>", 3);
    add("<tool>", 3);
    for (int byte = 0; byte < 256; ++byte) {
      const char digits[] = "0123456789ABCDEF";
      add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 6);
    }
    for (const char* text : {"ab", "\"a", "\":", "{\"", "}}", "12", "true", "\\u00", "\xC3\xA9\xC3"}) add(text, 1);
    quire::Tokenizer tokenizer = quire::load_gguf_vocabulary(gguf);
    auto vocabulary = quire::GrammarVocabulary::make(tokenizer, tokenizer.vocab_size(), std::vector<int32_t>{1});
    return Model{std::move(tokenizer), std::move(vocabulary)};
  }();
  return one;
}

void choose_tokens(const quire::CompiledGrammar& compiled, uint64_t seed) {
  const auto constraint = compiled.begin();
  std::vector<uint64_t> mask(quire::mask_words(model().tokenizer.vocab_size()));
  std::vector<int32_t> allowed, drafts;
  for (int i = 0; i < 24 && !constraint->is_complete(); ++i) {
    constraint->fill_mask(mask);
    allowed.clear();
    for (int32_t id = 0; id < model().tokenizer.vocab_size(); ++id) {
      if (quire::is_in_mask(mask, id)) allowed.push_back(id);
    }
    CHECK(!allowed.empty());
    drafts.clear();
    constraint->guess(4, drafts);
    CHECK(constraint->count_fitting(drafts) == drafts.size());
    seed = seed * 6364136223846793005 + 1442695040888963407;
    constraint->accept(allowed[(seed >> 33) % allowed.size()]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const quire::GrammarLimits limits = {.max_nodes = 20'000, .max_memory_bytes = 32 << 20};
  quire::GrammarSpec spec;
  spec.kind = static_cast<quire::GrammarKind>(data[0] % 6);
  spec.any_whitespace = (data[0] & 0x40) != 0;
  spec.text.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const auto compiled = quire::compile_grammar(quire::parse_grammar(spec, limits), model().vocabulary, limits);
    choose_tokens(*compiled, size);
  } catch (const quire::Error&) {
  }
  return 0;
}
