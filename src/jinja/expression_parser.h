// The half of the parser that reads expressions, in the order of Python's and Jinja's precedence.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "jinja/syntax_reader.h"

namespace quire::jinja {

class ExpressionParser : protected SyntaxReader {
 protected:
  using SyntaxReader::SyntaxReader;

  // One expression, `a if b else c` included.
  const Expr* parse_expression();
  // One expression or several with commas. `end_name` ends the list; without `with_condition`, so does an `if`.
  const Expr* parse_tuple(bool with_condition, std::string_view end_name = "", bool in_parentheses = false);
  bool at_tuple_end(std::string_view end_name) const;
  // `| name(arguments) | ...` behind `expr`, which is null for the text of a block.
  const Expr* parse_filters(const Expr* expr, bool without_bar = false);

  bool soft_ = false;  // inside the branches of an `if` of this frame

 private:
  const Expr* parse_or();
  const Expr* parse_and();
  const Expr* parse_not();
  std::optional<Op> take_compare_op();
  const Expr* parse_compare();
  const Expr* binary(int line, Op op, const Expr* left, const Expr* right);
  const Expr* parse_sum();
  const Expr* parse_concat();
  const Expr* parse_product();
  const Expr* parse_power();
  const Expr* parse_unary(bool with_filters);
  const Expr* parse_primary();
  const Expr* parse_name();
  const Expr* parse_list(int line);
  const Expr* parse_dict(int line);
  const Expr* parse_postfix(const Expr* expr);
  const Expr* parse_dot(const Expr* object);
  const Expr* parse_subscript(const Expr* object);
  const Expr* parse_slice(const Expr* object, const Expr* start, int line);
  Arguments parse_arguments();
  const Expr* parse_call(const Expr* function);
  const Expr* parse_filter_chain(const Expr* expr);
  std::string parse_dotted_name();
  bool at_bare_test_argument() const;
  const Expr* parse_test(const Expr* value);
};

}  // namespace quire::jinja
