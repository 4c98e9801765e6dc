// The kinds of grammars that requests bring.
#include "base/error.h"
#include "grammar/compile.h"
#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/structural_tag.h"
#include "text/utf8.h"

namespace quire {
namespace {

json::value parse_text(const GrammarSpec& spec, std::string_view what, const GrammarLimits& limits) {
  if (spec.text.size() > limits.max_text_bytes) {
    fail(ErrorCode::kLimit, "{} of {} bytes; at most {} are read", what, spec.text.size(), limits.max_text_bytes);
  }
  try {
    return parse_json(spec.text, what);
  } catch (const Error& error) {
    fail(ErrorCode::kInvalidArgument, "{}", error.what());
  }
}

Symbol choice(GrammarBuilder& builder, const json::value& list) {
  if (!list.is_array() || list.get_array().empty()) {
    fail(ErrorCode::kInvalidArgument, "a choice is a list of one or more strings");
  }
  std::vector<Regex> texts;
  for (const json::value& one : list.get_array()) {
    if (!one.is_string()) fail(ErrorCode::kInvalidArgument, "a choice is a list of strings; /{} is none", texts.size());
    texts.push_back(builder.literal(std::string_view(one.get_string())));
  }
  return builder.terminal(builder.any_of(texts));
}

Symbol body(GrammarBuilder& builder, const GrammarSpec& spec, const GrammarLimits& limits) {
  const JsonForm form = {.any_whitespace = spec.any_whitespace, .any_order = spec.any_order};
  switch (spec.kind) {
    case GrammarKind::kJsonSchema: return json_schema(builder, parse_text(spec, "JSON schema", limits), form);
    case GrammarKind::kJsonObject: return json_object(builder, form);
    case GrammarKind::kRegex: return builder.terminal(builder.expression(spec.text, true));
    case GrammarKind::kChoice: return choice(builder, parse_text(spec, "choice", limits));
    case GrammarKind::kGbnf: return gbnf(builder, spec.text, limits);
    case GrammarKind::kStructuralTag:
      return structural_tag(builder, parse_text(spec, "structural tag", limits), form, limits);
  }
  return {};
}

}  // namespace

std::shared_ptr<const Grammar> parse_grammar(const GrammarSpec& spec, const GrammarLimits& limits) {
  GrammarBuilder builder(limits);
  const auto behind = [&](std::string_view text, Symbol rest) {
    if (text.empty()) return rest;
    const Symbol both[] = {marked_text(builder, text), rest};
    return builder.sequence(both);
  };
  Symbol root = behind(spec.opening, body(builder, spec, limits));
  if (!spec.starts_after.empty()) {
    const GrammarBuilder::Branch branch[] = {{spec.starts_after, behind(spec.next, root)}};
    const Symbol after = builder.text_until(branch, false);
    if (spec.starts_after_begin.empty()) {
      root = after;
    } else {
      const Symbol either[] = {behind(spec.starts_after_begin, after), root};
      root = builder.choice(either);
    }
  }
  return builder.build(root);
}

}  // namespace quire
