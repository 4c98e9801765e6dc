#include "grammar/grammar_compiler.h"

#include <mutex>
#include <utility>

namespace quire {

CompileGrammar grammar_compiler(const Tokenizer& tokenizer, int64_t vocab_size, std::vector<int32_t> eog_ids,
                                const GrammarLimits& limits) {
  struct Vocabulary {
    std::once_flag once;
    std::shared_ptr<const GrammarVocabulary> made;
  };
  return [vocabulary = std::make_shared<Vocabulary>(), &tokenizer, vocab_size, eog_ids = std::move(eog_ids),
          limits](const GrammarSpec& spec) {
    const std::shared_ptr<const Grammar> grammar = parse_grammar(spec, limits);
    std::call_once(vocabulary->once,
                   [&] { vocabulary->made = GrammarVocabulary::make(tokenizer, vocab_size, eog_ids); });
    return compile_grammar(grammar, vocabulary->made, limits);
  };
}

}  // namespace quire
