#include "jinja/expression_parser.h"

#include "jinja/filters.h"

namespace quire::jinja {
namespace {

// Inside an `if`, Jinja reports an unknown filter or test only when it is used.
[[noreturn]] void unknown(const char* what, const Expr& expr) {
  fail(ErrorCode::kUnsupported, "there is no {} named '{}' (chat template, line {})", what, printable(expr.text),
       expr.line);
}

}  // namespace

bool ExpressionParser::at_tuple_end(std::string_view end_name) const {
  return at_kind(TokenKind::kOutputEnd) || at_kind(TokenKind::kBlockEnd) || at_op(")") ||
         (!end_name.empty() && at_name(end_name));
}

const Expr* ExpressionParser::parse_tuple(bool with_condition, std::string_view end_name, bool in_parentheses) {
  const int line = peek().line;
  std::vector<const Expr*> items;
  bool is_tuple = false;
  while (!at_tuple_end(end_name)) {
    items.push_back(with_condition ? parse_expression() : parse_or());
    if (!take_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return items[0];
  if (!is_tuple && !in_parentheses) unexpected("an expression");
  return new_expr(ExprKind::kTuple, line, std::move(items));
}

const Expr* ExpressionParser::parse_expression() {
  const Nesting nesting(*this);
  const int line = peek().line;
  const Expr* value = parse_or();
  while (take_name("if")) {
    const Expr* condition = parse_or();
    const Expr* otherwise = take_name("else") ? parse_expression() : nullptr;
    value = new_expr(ExprKind::kCondition, line, {value, condition, otherwise});
  }
  return value;
}

const Expr* ExpressionParser::parse_or() {
  const Expr* left = parse_and();
  while (at_name("or")) {
    const int line = next().line;
    left = new_expr(ExprKind::kOr, line, {left, parse_and()});
  }
  return left;
}

const Expr* ExpressionParser::parse_and() {
  const Expr* left = parse_not();
  while (at_name("and")) {
    const int line = next().line;
    left = new_expr(ExprKind::kAnd, line, {left, parse_not()});
  }
  return left;
}

const Expr* ExpressionParser::parse_not() {
  if (!at_name("not")) return parse_compare();
  const Nesting nesting(*this);
  const int line = next().line;
  return new_expr(ExprKind::kNot, line, {parse_not()});
}

std::optional<Op> ExpressionParser::take_compare_op() {
  if (at_name("not") && at_name("in", 1)) {
    next();
    next();
    return Op::kNotIn;
  }
  if (take_name("in")) return Op::kIn;
  constexpr std::pair<std::string_view, Op> kCompare[] = {{"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt},
                                                          {"<=", Op::kLe}, {">", Op::kGt},  {">=", Op::kGe}};
  for (const auto& [text, op] : kCompare) {
    if (take_op(text)) return op;
  }
  return std::nullopt;
}

const Expr* ExpressionParser::parse_compare() {
  const int line = peek().line;
  std::vector<const Expr*> operands = {parse_sum()};
  std::vector<Op> ops;
  while (const auto op = take_compare_op()) {
    ops.push_back(*op);
    operands.push_back(parse_sum());
  }
  if (ops.empty()) return operands[0];
  Expr* compare = new_expr(ExprKind::kCompare, line, std::move(operands));
  compare->ops = std::move(ops);
  return compare;
}

const Expr* ExpressionParser::binary(int line, Op op, const Expr* left, const Expr* right) {
  Expr* expr = new_expr(ExprKind::kBinary, line, {left, right});
  expr->ops = {op};
  return expr;
}

const Expr* ExpressionParser::parse_sum() {
  const Expr* left = parse_concat();
  while (at_op("+") || at_op("-")) {
    const Token& token = next();
    const Op op = token.text == "+" ? Op::kAdd : Op::kSub;
    left = binary(token.line, op, left, parse_concat());
  }
  return left;
}

const Expr* ExpressionParser::parse_concat() {
  const int line = peek().line;
  std::vector<const Expr*> parts = {parse_product()};
  while (take_op("~")) parts.push_back(parse_product());
  return parts.size() == 1 ? parts[0] : new_expr(ExprKind::kConcat, line, std::move(parts));
}

const Expr* ExpressionParser::parse_product() {
  const Expr* left = parse_power();
  while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
    const Token& token = next();
    const Op op =
        token.text == "*" ? Op::kMul : (token.text == "/" ? Op::kDiv : (token.text == "%" ? Op::kMod : Op::kFloorDiv));
    left = binary(token.line, op, left, parse_power());
  }
  return left;
}

const Expr* ExpressionParser::parse_power() {
  const Expr* left = parse_unary(true);
  while (at_op("**")) {
    const int line = next().line;
    left = binary(line, Op::kPow, left, parse_unary(true));
  }
  return left;
}

const Expr* ExpressionParser::parse_unary(bool with_filters) {
  const Expr* expr = nullptr;
  if (at_op("-") || at_op("+")) {
    const Nesting nesting(*this);
    const Token& token = next();
    const ExprKind kind = token.text == "-" ? ExprKind::kNegate : ExprKind::kPlus;
    expr = new_expr(kind, token.line, {parse_unary(false)});
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(expr);
  return with_filters ? parse_filter_chain(expr) : expr;
}

const Expr* ExpressionParser::parse_primary() {
  const Token& token = peek();
  switch (token.kind) {
    case TokenKind::kName: return parse_name();
    case TokenKind::kString: {
      std::string text = next().text;
      while (at_kind(TokenKind::kString)) text += next().text;
      return text_constant(token.line, std::move(text));
    }
    case TokenKind::kInteger: return constant(token.line, Value(next().integer));
    case TokenKind::kFloat: return constant(token.line, Value(next().floating));
    default: break;
  }
  const Nesting nesting(*this);
  if (take_op("(")) {
    const Expr* inner = parse_tuple(true, "", true);
    expect_op(")");
    return inner;
  }
  if (take_op("[")) return parse_list(token.line);
  if (take_op("{")) return parse_dict(token.line);
  unexpected("an expression");
}

const Expr* ExpressionParser::parse_name() {
  const Token& token = next();
  if (token.text == "true" || token.text == "True") return constant(token.line, Value(true));
  if (token.text == "false" || token.text == "False") return constant(token.line, Value(false));
  if (token.text == "none" || token.text == "None") return constant(token.line, Value(None{}));
  return load_name(token.line, token.text);
}

const Expr* ExpressionParser::parse_list(int line) {
  std::vector<const Expr*> items;
  while (!at_op("]")) {
    items.push_back(parse_expression());
    if (!at_op("]")) expect_op(",");
  }
  next();
  return new_expr(ExprKind::kList, line, std::move(items));
}

const Expr* ExpressionParser::parse_dict(int line) {
  std::vector<const Expr*> items;
  while (!at_op("}")) {
    items.push_back(parse_expression());
    expect_op(":");
    items.push_back(parse_expression());
    if (!at_op("}")) expect_op(",");
  }
  next();
  return new_expr(ExprKind::kDict, line, std::move(items));
}

const Expr* ExpressionParser::parse_postfix(const Expr* expr) {
  for (;;) {
    if (at_op(".")) {
      expr = parse_dot(expr);
    } else if (at_op("[")) {
      expr = parse_subscript(expr);
    } else if (at_op("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

const Expr* ExpressionParser::parse_dot(const Expr* object) {
  const int line = next().line;
  if (at_kind(TokenKind::kInteger)) {
    return new_expr(ExprKind::kItem, line, {object, constant(line, Value(next().integer))});
  }
  Expr* expr = new_expr(ExprKind::kAttribute, line, {object});
  expr->text = expect_name();
  result_->fields.insert(expr->text);
  return expr;
}

const Expr* ExpressionParser::parse_subscript(const Expr* object) {
  const int line = next().line;
  std::vector<const Expr*> parts;
  bool has_slice = false;
  while (!at_op("]")) {
    if (!parts.empty()) expect_op(",");
    if (has_slice) syntax_error(line, "a slice cannot stand beside other subscripts");
    const Expr* start = at_op(":") ? nullptr : parse_expression();
    if (!at_op(":")) {
      parts.push_back(start);
      continue;
    }
    has_slice = true;
    parts.push_back(parse_slice(object, start, line));
  }
  next();
  if (has_slice && parts.size() > 1) syntax_error(line, "a slice cannot stand beside other subscripts");
  if (has_slice) return parts[0];
  const Expr* key = parts.size() == 1 ? parts[0] : new_expr(ExprKind::kTuple, line, std::move(parts));
  if (key->kind == ExprKind::kConst && key->constant.is_string())
    result_->fields.insert(std::string(key->constant.str()));
  return new_expr(ExprKind::kItem, line, {object, key});
}

const Expr* ExpressionParser::parse_slice(const Expr* object, const Expr* start, int line) {
  const Expr* bounds[2] = {nullptr, nullptr};
  for (const Expr*& bound : bounds) {
    if (!take_op(":")) break;
    if (!at_op(":") && !at_op("]") && !at_op(",")) bound = parse_expression();
  }
  return new_expr(ExprKind::kSlice, line, {object, start, bounds[0], bounds[1]});
}

Arguments ExpressionParser::parse_arguments() {
  const int line = peek().line;
  expect_op("(");
  Arguments arguments;
  while (!at_op(")")) {
    const auto require = [&](bool valid) {
      if (!valid) syntax_error(line, "a call's arguments are in the wrong order");
    };
    if (take_op("*")) {
      require(arguments.star == nullptr && arguments.star_star == nullptr);
      arguments.star = parse_expression();
    } else if (take_op("**")) {
      require(arguments.star_star == nullptr);
      arguments.star_star = parse_expression();
    } else if (at_kind(TokenKind::kName) && peek(1).kind == TokenKind::kOperator && peek(1).text == "=") {
      require(arguments.star_star == nullptr);
      std::string name = next().text;
      next();
      for (const auto& [other, value] : arguments.named) {
        if (other == name) syntax_error(line, fmt::format("the argument '{}' is given twice", printable(name)));
      }
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else {
      require(arguments.star == nullptr && arguments.star_star == nullptr && arguments.named.empty());
      arguments.positional.push_back(parse_expression());
    }
    if (!at_op(")")) expect_op(",");
  }
  next();
  return arguments;
}

const Expr* ExpressionParser::parse_call(const Expr* function) {
  const int line = peek().line;
  Expr* call = new_expr(ExprKind::kCall, line, {function});
  call->arguments = parse_arguments();
  update_height(*call);
  return call;
}

const Expr* ExpressionParser::parse_filter_chain(const Expr* expr) {
  for (;;) {
    if (at_op("|")) {
      expr = parse_filters(expr);
    } else if (at_name("is")) {
      expr = parse_test(expr);
    } else if (at_op("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect_name();
  while (take_op(".")) name += "." + expect_name();
  return name;
}

const Expr* ExpressionParser::parse_filters(const Expr* expr, bool without_bar) {
  while (without_bar || take_op("|")) {
    without_bar = false;
    Expr* filter = new_expr(ExprKind::kFilter, peek().line, {expr});
    filter->text = parse_dotted_name();
    if (at_op("(")) filter->arguments = parse_arguments();
    filter->filter = find_filter(filter->text);
    if (filter->filter == nullptr && !soft_) unknown("filter", *filter);
    update_height(*filter);
    expr = filter;
  }
  return expr;
}

bool ExpressionParser::at_bare_test_argument() const {
  if (at_name("else") || at_name("or") || at_name("and")) return false;
  switch (peek().kind) {
    case TokenKind::kName:
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat: return true;
    default: return at_op("[") || at_op("{");
  }
}

const Expr* ExpressionParser::parse_test(const Expr* value) {
  const int line = next().line;
  const bool negated = take_name("not");
  Expr* test = new_expr(ExprKind::kTest, line, {value});
  test->text = parse_dotted_name();
  if (at_op("(")) {
    test->arguments = parse_arguments();
  } else if (at_bare_test_argument()) {
    if (at_name("is")) syntax_error(line, "tests with 'is' cannot be chained");
    test->arguments.positional = {parse_postfix(parse_primary())};
  }
  test->test = find_test(test->text);
  if (test->test == nullptr && !soft_) unknown("test", *test);
  update_height(*test);
  return negated ? new_expr(ExprKind::kNot, line, {test}) : test;
}

}  // namespace quire::jinja
