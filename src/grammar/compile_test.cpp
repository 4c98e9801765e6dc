// Masks against the plain reference: a token may follow where some text that fits begins with it.
#include "grammar/compile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/error.h"

namespace quire {
namespace {

// Tokens of one byte for all printable characters, of several characters, and of parts of characters.
class Vocabulary {
 public:
  Vocabulary() {
    const auto add = [&](std::string text, int32_t type) {
      gguf_.tokens.push_back(std::move(text));
      gguf_.types.push_back(type);
      gguf_.scores.push_back(0);
      return static_cast<int32_t>(gguf_.tokens.size() - 1);
    };
    gguf_.model = "llama";
    gguf_.unk_id = add("<unk>", 2);
    gguf_.bos_id = add("<s>", 3);
    gguf_.eos_id = add("</s>", 3);
    add("<tool>", 3);
    add("</think>", 3);
    for (int byte = 0; byte < 256; ++byte) {
      const char digits[] = "0123456789ABCDEF";
      add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 6);
    }
    for (const std::string text :
         {"a",   "b",  "ab", "aab",   "abc",  "(",   ")",    "))", "+",   "x",   "x+",  "{\"",
          "\":", "\"", "\\", "\\u00", "é",    "éa",  "1",    "12", "123", ",",   ",\"", "}",
          "}}",  "[",  "]",  "]]",    "true", "tru", "null", "<",  "<to", "ol>", "-",   "0."}) {
      add(text, 1);
    }
    tokenizer_ = std::make_unique<Tokenizer>(load_gguf_vocabulary(gguf_));
    grammar_vocabulary_ = GrammarVocabulary::make(*tokenizer_, vocab_size(), std::vector<int32_t>{2});
  }

  int64_t vocab_size() const { return tokenizer_->vocab_size() + 10; }  // the model's rows are padded
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::shared_ptr<const GrammarVocabulary> grammar_vocabulary() const { return grammar_vocabulary_; }
  int32_t id(std::string_view piece) const { return tokenizer_->find_token(piece).value(); }

 private:
  GgufVocabulary gguf_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const GrammarVocabulary> grammar_vocabulary_;
};

const Vocabulary& vocabulary() {
  static const Vocabulary one;
  return one;
}

constexpr double kPatience = 600;  // what is counted decides, not the machine's load

GrammarSpec gbnf_spec(std::string text) { return {.kind = GrammarKind::kGbnf, .text = std::move(text)}; }

template <typename Action>
void expect_limit(Action action) {
  try {
    action();
    ADD_FAILURE() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
  }
}

std::vector<int32_t> allowed(TokenConstraint& constraint) {
  std::vector<uint64_t> mask(mask_words(vocabulary().vocab_size()), ~uint64_t{0});
  constraint.fill_mask(mask);
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < static_cast<int32_t>(64 * mask.size()); ++id) {
    if (is_in_mask(mask, id)) ids.push_back(id);
  }
  return ids;
}

std::vector<int32_t> expected(const Grammar& grammar, const std::string& text) {
  std::vector<int32_t> ids;
  if (fits(grammar, text)) ids.push_back(2);
  for (int32_t id = 0; id < vocabulary().tokenizer().vocab_size(); ++id) {
    if (vocabulary().tokenizer().is_special(id)) continue;
    const std::string bytes = vocabulary().tokenizer().token_bytes(id);
    if (!bytes.empty() && may_begin(grammar, text + bytes)) ids.push_back(id);
  }
  return ids;
}

// Random answers; at each of their tokens the mask is as the reference says.
void expect_reference(const std::shared_ptr<const Grammar>& grammar, std::mt19937& random, int num_texts,
                      size_t length) {
  const auto compiled = compile_grammar(grammar, vocabulary().grammar_vocabulary());
  for (int i = 0; i < num_texts; ++i) {
    const auto constraint = compiled->begin();
    std::string text;
    while (text.size() < length) {
      const std::vector<int32_t> ids = allowed(*constraint);
      ASSERT_EQ(ids, expected(*grammar, text)) << "after '" << text << "'";
      std::vector<int32_t> guessed;
      constraint->guess(4, guessed);
      ASSERT_EQ(constraint->count_fitting(guessed), guessed.size());
      ASSERT_EQ(constraint->is_complete(), ids == std::vector<int32_t>{2}) << text;
      if (ids.empty() || ids == std::vector<int32_t>{2}) break;
      int32_t id = 2;
      while (id == 2) id = ids[random() % ids.size()];
      constraint->accept(id);
      text += vocabulary().tokenizer().token_bytes(id);
    }
  }
}

Symbol random_symbol(GrammarBuilder& builder, std::vector<Symbol>& rules, std::mt19937& random, int depth) {
  const auto inner = [&] { return random_symbol(builder, rules, random, depth + 1); };
  const char* const expressions[] = {"a",      "b?",  "[ab]*",       "(ab|a)+", "\\(", "\\)",
                                     "x{1,3}", "é|a", "1[0-9]{0,2}", "\\+",     ""};
  const uint32_t kind = depth > 3 ? random() % 2 : random() % 8;
  switch (kind) {
    case 0: return builder.terminal(builder.expression(expressions[random() % 11], true));
    case 1: return rules[random() % rules.size()];
    case 2:
    case 3: return builder.sequence(std::vector{inner(), inner(), inner()});
    case 4:
    case 5: return builder.choice(std::vector{inner(), inner(), inner()});
    case 6: {
      GrammarBuilder::Members members{.separator = builder.terminal(builder.literal(",")),
                                      .min = static_cast<int64_t>(random() % 3),
                                      .max = random() % 2 == 0 ? kNoMaximum : static_cast<int64_t>(1 + random() % 4)};
      for (const char* const begin : {"a", "b", "ab", "x", "("}) {
        std::vector<Symbol>* const groups[] = {&members.required, &members.optional, &members.others, nullptr};
        std::vector<Symbol>* const group = groups[random() % 4];
        if (group == nullptr) continue;
        group->push_back(builder.sequence(std::vector{builder.terminal(builder.literal(begin)), inner()}));
      }
      return builder.unordered(members);
    }
    default: {
      const int64_t min = random() % 3;
      return builder.repeat(inner(), min, random() % 2 == 0 ? kNoMaximum : min + 1);
    }
  }
}

TEST(Compile, MasksOfRandomGrammarsAreThoseOfTheReference) {
  std::mt19937 random(20);
  int num_built = 0;
  for (int i = 0; i < 25; ++i) {
    GrammarBuilder builder;
    std::vector<Symbol> rules;
    for (const char* name : {"r", "s", "t"}) rules.push_back(builder.declare(name));
    for (const Symbol rule : rules) builder.define(rule, random_symbol(builder, rules, random, 0));
    std::shared_ptr<const Grammar> grammar;
    try {
      grammar = builder.build(rules[0]);
    } catch (const Error&) {
      continue;
    }
    ++num_built;
    SCOPED_TRACE(i);
    expect_reference(grammar, random, 1, 6);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(num_built, 10);
}

TEST(Compile, MasksOfExpressions) {
  std::mt19937 random(21);
  for (const char* pattern : {"[^a]{1,20}b", "(?=.{1,200}$)(a+b+){0,99}a+", "(?=.{30,60}$)(ab?){0,40}", "(a*)*b",
                              ".*a.{3}", "\"([^\"\\\\\\x00-\\x1f]|\\\\u00[0-9a-f]{2})*\"", "\\p{L}{2,3}"}) {
    GrammarBuilder builder;
    const auto grammar = builder.build(builder.terminal(builder.expression(pattern, true)));
    SCOPED_TRACE(pattern);
    expect_reference(grammar, random, 1, 8);
  }
}

TEST(Compile, SpecialTokensComeFromTheirNamesOnly) {
  GrammarBuilder builder;
  const Symbol call = builder.terminal(builder.literal("ab"));
  const GrammarBuilder::Branch branches[] = {{"<tool>", call}};
  const auto compiled =
      compile_grammar(builder.build(builder.text_until(branches, true)), vocabulary().grammar_vocabulary());
  const auto constraint = compiled->begin();
  const auto has = [&](int32_t id) { return std::ranges::binary_search(allowed(*constraint), id); };
  const int32_t tool = vocabulary().id("<tool>");
  EXPECT_TRUE(has(tool));
  EXPECT_FALSE(has(vocabulary().id("</think>")));
  constraint->accept(vocabulary().id("<to"));
  EXPECT_FALSE(has(vocabulary().id("ol>")));  // the name in letters would be read as the token
  EXPECT_TRUE(has(tool));
  constraint->accept(tool);
  EXPECT_FALSE(has(2));
  std::vector<int32_t> guessed;
  constraint->guess(8, guessed);
  constraint->accept(vocabulary().id("ab"));
  EXPECT_TRUE(constraint->is_complete());
  constraint->accept(2);
  EXPECT_TRUE(constraint->is_complete());
  EXPECT_TRUE(allowed(*constraint).empty());
}

TEST(Compile, GuessesWhatIsCertain) {
  GrammarBuilder builder;
  const Symbol parts[] = {builder.terminal(builder.literal("abcabx+")), builder.special("<tool>"),
                          builder.terminal(builder.expression("1|2", true))};
  const auto compiled = compile_grammar(builder.build(builder.sequence(parts)), vocabulary().grammar_vocabulary());
  const auto constraint = compiled->begin();
  std::vector<int32_t> guessed;
  constraint->guess(8, guessed);
  EXPECT_EQ(guessed, (std::vector<int32_t>{vocabulary().id("abc"), vocabulary().id("ab"), vocabulary().id("x+"),
                                           vocabulary().id("<tool>")}));
  guessed.clear();
  constraint->guess(2, guessed);
  EXPECT_EQ(guessed.size(), 2u);
}

TEST(Compile, LongTextsOfRecursiveRulesStaySmall) {
  GrammarBuilder builder;
  const Symbol list = builder.declare("list"), item = builder.terminal(builder.expression("a|b", true));
  builder.define(list, builder.choice(std::vector{builder.sequence(std::vector{item, list}), item}));
  const auto compiled = compile_grammar(builder.build(list), vocabulary().grammar_vocabulary());
  const auto constraint = compiled->begin();
  allowed(*constraint);
  for (int i = 0; i < 100; ++i) constraint->accept(vocabulary().id("ab"));
  const size_t before = compiled->memory_bytes();
  for (int i = 0; i < 10'000; ++i) constraint->accept(vocabulary().id("ab"));
  EXPECT_EQ(compiled->memory_bytes(), before);
}

TEST(Compile, MemoryIsBoundedAndChoicesGoOn) {
  GrammarBuilder builder;
  const auto word = [&](std::string_view text) { return builder.terminal(builder.literal(text)); };
  const Symbol nest = builder.declare("nest");
  builder.define(nest,
                 builder.choice(std::vector{builder.sequence(std::vector{word("("), nest, word(")")}), word("x")}));
  const GrammarLimits limits = {.max_memory_bytes = 3 << 20};
  const auto compiled = compile_grammar(builder.build(nest), vocabulary().grammar_vocabulary(), limits);
  const int32_t open = vocabulary().id("(");
  for (int round = 0; round < 3; ++round) {
    const auto constraint = compiled->begin();
    for (int i = 0; i < 100 + round; ++i) {
      constraint->accept(open);
      allowed(*constraint);
    }
    EXPECT_LT(compiled->memory_bytes(), 2 * limits.max_memory_bytes);
  }
  const auto endless = compiled->begin();
  EXPECT_THROW(
      {
        for (int i = 0; i < 200'000; ++i) endless->accept(open);
      },
      Error);
}

// What neighbours do to the memory that all share is no choice's fault.
TEST(Compile, NeighboursThatFillTheMemoryFailNoChoice) {
  const GrammarLimits limits = {.max_seconds = kPatience, .max_memory_bytes = 3 << 20};
  const auto compiled = compile_grammar(parse_grammar(gbnf_spec("root ::= \"(\" root \")\" | \"x\""), limits),
                                        vocabulary().grammar_vocabulary(), limits);
  const int32_t open = vocabulary().id("(");
  const auto quiet = compiled->begin();
  quiet->accept(open);
  const std::vector<int32_t> first = allowed(*quiet);
  for (int round = 0; round < 20; ++round) {
    const auto loud = compiled->begin();
    expect_limit([&] {
      for (int i = 0; i < 200'000; ++i) loud->accept(open);
    });
    ASSERT_EQ(allowed(*quiet), first);
  }
}

TEST(Compile, ChoicesOfManyThreadsShareAGrammar) {
  GrammarBuilder builder;
  const auto grammar = builder.build(builder.terminal(builder.expression("(ab|a|x\\+?){1,50}", true)));
  const auto compiled = compile_grammar(grammar, vocabulary().grammar_vocabulary());
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      const auto constraint = compiled->begin();
      for (int i = 0; i < 20 && !constraint->is_complete(); ++i) {
        const auto ids = allowed(*constraint);
        ASSERT_FALSE(ids.empty());
        constraint->accept(ids[random() % ids.size()]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Rules that wait for one another in a long chain, for each of many alternatives.
std::string chain_of_rules(int num_rules, int num_alternatives) {
  std::string text = "root ::= c0\n";
  for (int i = 0; i < num_rules; ++i) {
    text += "c" + std::to_string(i) + " ::= c" + std::to_string(i + 1) + " | \"y\"\n";
  }
  std::string last = "c" + std::to_string(num_rules) + " ::= \"y\"";
  for (int i = 0; i < num_alternatives; ++i) {
    const std::string name = "t" + std::to_string(i);
    text += name + " ::= \"(\" " + name + " \")\" | \"" + std::to_string(i) + "\"\n";
    last += " | \"x\" " + name;
  }
  return text + last;
}

TEST(Compile, WorkWithinOneStepIsCounted) {
  const GrammarLimits limits = {.max_seconds = kPatience, .max_work = 20'000'000};
  const auto compile = [&](int num_rules, int num_alternatives) {
    return compile_grammar(parse_grammar(gbnf_spec(chain_of_rules(num_rules, num_alternatives)), limits),
                           vocabulary().grammar_vocabulary(), limits);
  };
  const int32_t x = vocabulary().id("x");
  const auto small = compile(50, 20)->begin();
  EXPECT_EQ(allowed(*small), (std::vector<int32_t>{vocabulary().id("<0x78>"), vocabulary().id("<0x79>"), x}));
  small->accept(x);
  const auto large = compile(4'000, 2'000)->begin();
  EXPECT_EQ(large->count_fitting(std::vector{x, x}), 2u);  // not known at little cost
  expect_limit([&] { allowed(*large); });
  std::vector<int32_t> guessed;
  large->guess(4, guessed);
  EXPECT_TRUE(guessed.empty());
}

// Each step is cheap enough; all of them are too much. An answer as long over states that are known goes on.
TEST(Compile, WorkOfAnAnswerIsBounded) {
  const GrammarLimits limits = {.max_seconds = kPatience, .max_work = 1'000'000};
  const auto begin = [&](std::string_view pattern) {
    GrammarBuilder builder(limits);
    return compile_grammar(builder.build(builder.terminal(builder.expression(pattern, true))),
                           vocabulary().grammar_vocabulary(), limits)
        ->begin();
  };
  const auto write = [](TokenConstraint& constraint, int count) {
    std::mt19937 random(22);
    for (int i = 0; i < count; ++i) {
      allowed(constraint);
      constraint.accept(vocabulary().id(random() % 2 == 0 ? "a" : "b"));
    }
  };
  write(*begin("[ab]*a[ab]{4}"), 3'000);
  const auto hostile = begin("[ab]*a[ab]{400}");
  expect_limit([&] { write(*hostile, 3'000); });
}

// Input that is made to be slow is refused, or ends soon within its memory.
TEST(Compile, HostileGrammarsEndSoon) {
  const auto many = [](std::string_view part, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += part;
    return text;
  };
  std::string words = "[\"w\"";
  for (int i = 0; i < 90'000; ++i) words += ",\"w" + std::to_string(i) + "\"";
  std::string chain = "root ::= r0\n", doubling = "root ::= d40\nd0 ::= \"a\"?\n";
  for (int i = 0; i < 5'000; ++i)
    chain += "r" + std::to_string(i) + " ::= \"a\" r" + std::to_string(i + 1) + " \"b\"\n";
  for (int i = 0; i < 40; ++i) {
    doubling += "d" + std::to_string(i + 1) + " ::= d" + std::to_string(i) + " d" + std::to_string(i) + "\n";
  }
  const std::vector<GrammarSpec> specs = {
      {.kind = GrammarKind::kRegex, .text = many("(", 100'000)},
      {.kind = GrammarKind::kRegex, .text = many("[", 100'000)},
      {.kind = GrammarKind::kRegex, .text = "(a|a)*(a*)*(a?){1000}b"},
      {.kind = GrammarKind::kRegex, .text = "((a{1,1000}){1,1000}){1,1000}b"},
      {.kind = GrammarKind::kRegex, .text = ".*a.{1000}"},
      {.kind = GrammarKind::kRegex, .text = many("(a|b|ab)*", 200)},
      {.kind = GrammarKind::kRegex, .text = "^(?=.*a.*b)(?=.*b.*c)(?=.*c.*a)(?!.*(aa|bb)).{50,90}$"},
      {.kind = GrammarKind::kChoice, .text = words + "]"},
      {.kind = GrammarKind::kGbnf, .text = "root ::= " + many("(", 100'000)},
      {.kind = GrammarKind::kGbnf, .text = "root ::= root root | root root root | \"a\" | "},
      {.kind = GrammarKind::kGbnf, .text = "root ::= (\"a\" | \"ab\" root? | root)* "},
      {.kind = GrammarKind::kGbnf, .text = doubling},
      {.kind = GrammarKind::kGbnf, .text = chain + "r5000 ::= \"c\""},
      {.kind = GrammarKind::kJsonSchema, .text = many("[", 100'000)},
      {.kind = GrammarKind::kJsonSchema, .text = R"({"$ref": "#"})"},
  };
  const GrammarLimits limits = {.max_seconds = kPatience, .max_memory_bytes = 64 << 20, .max_work = 50'000'000};
  for (const GrammarSpec& spec : specs) {
    SCOPED_TRACE(spec.text.substr(0, 60));
    try {
      const auto compiled = compile_grammar(parse_grammar(spec, limits), vocabulary().grammar_vocabulary(), limits);
      const auto constraint = compiled->begin();
      for (int i = 0; i < 30; ++i) {
        const auto ids = allowed(*constraint);
        if (ids.empty() || ids == std::vector<int32_t>{2}) break;
        constraint->accept(ids.back());
      }
      EXPECT_LT(compiled->memory_bytes(), 3 * limits.max_memory_bytes);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace quire
