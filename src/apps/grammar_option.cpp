#include "apps/grammar_option.h"

#include "apps/flags/values.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "grammar/grammar_compiler.h"

namespace quire {
namespace {

struct Given {
  const char* flag;
  const std::string& text;
  GrammarKind kind;
  bool is_file;
};

}  // namespace

void GrammarOption::add(Command& to) {
  to.add(
      {.title = "Form of the answer", .has_environment = true},
      {{.names = "--grammar",
        .value = text(grammar),
        .help = "Answer in this grammar (GBNF, or EBNF); begins with root"},
       {.names = "--grammar-file", .value = text(grammar_file, "FILE"), .help = "The same from a file"},
       {.names = "-j,--json-schema",
        .value = text(json_schema, "SCHEMA"),
        .help = "Answer with JSON that is valid under this JSON Schema; {} is any JSON"},
       {.names = "-jf,--json-schema-file", .value = text(json_schema_file, "FILE"), .help = "The same from a file"}});
}

std::optional<GrammarSpec> GrammarOption::spec() const {
  const Given all[] = {{"--grammar", grammar, GrammarKind::kGbnf, false},
                       {"--grammar-file", grammar_file, GrammarKind::kGbnf, true},
                       {"--json-schema", json_schema, GrammarKind::kJsonSchema, false},
                       {"--json-schema-file", json_schema_file, GrammarKind::kJsonSchema, true}};
  const Given* only = nullptr;
  for (const Given& given : all) {
    if (given.text.empty()) continue;
    if (only != nullptr) {
      fail(ErrorCode::kInvalidArgument, "{} and {} both say what form the answer has; give one of them", only->flag,
           given.flag);
    }
    only = &given;
  }
  if (only == nullptr) return std::nullopt;
  const size_t most_bytes = GrammarLimits().max_text_bytes;
  try {
    GrammarSpec spec{.kind = only->kind, .text = only->is_file ? read_text_file(only->text, most_bytes) : only->text};
    parse_grammar(spec);
    return spec;
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", only->flag, error.what());
  }
}

std::shared_ptr<const ConstraintSource> GrammarOption::constraint(const TextProcessor& text, int64_t vocab_size) const {
  const std::optional<GrammarSpec> asked = spec();
  if (!asked) return nullptr;
  return grammar_compiler(text.tokenizer(), vocab_size, text.eog_ids(), {})(*asked);
}

}  // namespace quire
