#include "grammar/json_schema.h"

#include "grammar/json_schema/writer.h"

namespace quire {
namespace {

Symbol write_root(GrammarBuilder& builder, const json::value& schema, const JsonForm& form) {
  const schema::JsonText text(builder, form);
  schema::Evaluator evaluator(builder, text, schema);
  schema::Writer writer(evaluator, form);
  const Symbol value = writer.write(evaluator.terms.schema(schema));
  if (!form.any_whitespace) return value;
  return writer.sequence({builder.terminal(text.space), value});
}

}  // namespace

Symbol json_schema(GrammarBuilder& builder, const json::value& schema, const JsonForm& form) {
  return write_root(builder, schema, form);
}

Symbol json_object(GrammarBuilder& builder, const JsonForm& form) {
  return write_root(builder, json::object{{"type", "object"}}, form);
}

}  // namespace quire
