// Compiles schemas, checks texts against them and writes random texts that fit, for tools/check_schemas.py: a JSON
// object a line in, one a line out.
//   {"schema": ..., "texts": [...], "walks": 2, "seed": 1, "any_order": false, "any_whitespace": true}  ->
//   {"compile_ms": 1.5, "fits": [true, ...], "walks": ["{...", ...]}  or  {"error": "...", "code": "unsupported"}
#include <chrono>
#include <iostream>
#include <random>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "grammar/compile.h"
#include "grammar/json_schema.h"

namespace quire {
namespace {

constexpr int32_t kEnd = 2;

// Tokens of every byte, and some of several characters, among them those that cross the parts of a JSON text.
class Vocabulary {
 public:
  Vocabulary() {
    gguf_.model = "llama";
    gguf_.unk_id = 0;
    gguf_.bos_id = 1;
    gguf_.eos_id = kEnd;
    add("<unk>", 2);
    add("<s>", 3);
    add("</s>", 3);
    for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), 6);
    for (const std::string_view text :
         {"{\"", "\":", "\": \"", "\",",    "\", \"", "\"}", "},",    "}]",   "]}",    "[{\"", "[[", "[]",
          "{}",  ", ",  "\n  ",   "\n    ", "\\\"",   "\\n", "\\u00", "true", "false", "null", "1.", ".5",
          "00",  "10",  "-1",     "e+",     "ab",     "ing", " the",  "aa",   "é",     "éa"}) {
      add(std::string(text), 1);
    }
    tokenizer_ = std::make_unique<Tokenizer>(load_gguf_vocabulary(gguf_));
    tokens_ = GrammarVocabulary::make(*tokenizer_, tokenizer_->vocab_size(), std::vector<int32_t>{kEnd});
  }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const std::shared_ptr<const GrammarVocabulary>& tokens() const { return tokens_; }

 private:
  void add(std::string text, int32_t type) {
    gguf_.tokens.push_back(std::move(text));
    gguf_.types.push_back(type);
    gguf_.scores.push_back(0);
  }

  GgufVocabulary gguf_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const GrammarVocabulary> tokens_;
};

const Vocabulary& vocabulary() {
  static const Vocabulary one;
  return one;
}

// Any of the tokens that may follow; after a while, what ends strings, arrays and objects, if it can.
class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {}
  std::string run(const CompiledGrammar& grammar);

 private:
  int32_t choose(const std::vector<int32_t>& allowed, size_t num_tokens);

  std::mt19937_64 random_;
};

int32_t Walk::choose(const std::vector<int32_t>& allowed, size_t num_tokens) {
  constexpr size_t kEnough = 40;
  const auto any_of = [&](const std::vector<int32_t>& ids) { return ids[random_() % ids.size()]; };
  if (num_tokens < kEnough && random_() % 4 != 0) return any_of(allowed);
  std::vector<int32_t> ends;
  for (const int32_t id : allowed) {
    const std::string text = id == kEnd ? "}" : vocabulary().tokenizer().token_bytes(id);
    if (text.find_first_not_of("\"}]") == text.npos) ends.push_back(id);
  }
  return any_of(ends.empty() ? allowed : ends);
}

std::string Walk::run(const CompiledGrammar& grammar) {
  constexpr size_t kTooLong = 3'000;
  const auto constraint = grammar.begin();
  std::vector<uint64_t> mask(mask_words(vocabulary().tokenizer().vocab_size()));
  std::string text;
  for (size_t num_tokens = 0; num_tokens < kTooLong && !constraint->is_complete(); ++num_tokens) {
    constraint->fill_mask(mask);
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < vocabulary().tokenizer().vocab_size(); ++id) {
      if (is_in_mask(mask, id)) allowed.push_back(id);
    }
    if (allowed.empty()) return text + " (nothing may follow)";
    const int32_t token = choose(allowed, num_tokens);
    if (token == kEnd) return text;
    constraint->accept(token);
    text += vocabulary().tokenizer().token_bytes(token);
  }
  return constraint->is_complete() ? text : "";
}

json::object answer(const json::object& request) {
  const auto start = std::chrono::steady_clock::now();
  GrammarBuilder builder;
  const JsonForm form{.any_whitespace = find_bool(request, "any_whitespace", true),
                      .any_order = find_bool(request, "any_order", false)};
  const auto grammar = builder.build(json_schema(builder, request.at("schema"), form));
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  json::array results;
  for (const json::value& text : request.at("texts").as_array()) {
    results.push_back(fits(*grammar, std::string_view(text.get_string())));
  }
  json::array walks;
  if (const int64_t num_walks = find_int(request, "walks", 0); num_walks > 0) {
    const auto compiled = compile_grammar(grammar, vocabulary().tokens());
    Walk walk(static_cast<uint64_t>(find_int(request, "seed", 0)));
    for (int64_t i = 0; i < num_walks; ++i) walks.push_back(json::value(walk.run(*compiled)));
  }
  return {{"compile_ms", spent.count()}, {"fits", std::move(results)}, {"walks", std::move(walks)}};
}

}  // namespace
}  // namespace quire

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    quire::json::object result;
    try {
      result = quire::answer(quire::parse_json(line, "the request", 1000).as_object());
    } catch (const quire::Error& error) {
      result = {{"error", error.what()}, {"code", quire::name(error.code())}};
    }
    std::cout << quire::json::serialize(result) << std::endl;
  }
  return 0;
}
