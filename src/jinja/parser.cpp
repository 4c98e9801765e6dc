#include "jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "base/error.h"
#include "jinja/filters.h"
#include "jinja/lexer.h"
#include "jinja/scopes.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)), result_(std::make_unique<Template>()) {}

  std::unique_ptr<const Template> run() {
    result_->body = parse_block({});
    find_hidden_names(*result_);
    return std::move(result_);
  }

 private:
  // A nested construct: bounds the recursion of this parser.
  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser.depth_ > kMaxParseDepth) {
        fail(ErrorCode::kLimit, "the template nests deeper than {} levels (chat template, line {})", kMaxParseDepth,
             parser.peek().line);
      }
    }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool at_kind(TokenKind kind) const { return peek().kind == kind; }
  bool at_op(std::string_view op) const { return at_kind(TokenKind::kOperator) && peek().text == op; }
  bool at_name(std::string_view name, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == name;
  }
  bool take_op(std::string_view op) { return at_op(op) && (next(), true); }
  bool take_name(std::string_view name) { return at_name(name) && (next(), true); }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kText: return "text";
      case TokenKind::kOutputBegin: return "'{{'";
      case TokenKind::kOutputEnd: return "'}}'";
      case TokenKind::kBlockBegin: return "'{%'";
      case TokenKind::kBlockEnd: return "'%}'";
      case TokenKind::kString: return "a string";
      case TokenKind::kEnd: return "the end of the template";
      default: return "'" + printable(token.text, 40) + "'";
    }
  }
  [[noreturn]] void unexpected(const std::string& expected) const {
    syntax_error(peek().line, fmt::format("expected {}, found {}", expected, describe(peek())));
  }
  void expect_op(std::string_view op) {
    if (!take_op(op)) unexpected(fmt::format("'{}'", op));
  }
  void expect_kind(TokenKind kind, const char* what) {
    if (!at_kind(kind)) unexpected(what);
    next();
  }
  std::string expect_name() {
    if (!at_kind(TokenKind::kName)) unexpected("a name");
    return next().text;
  }

  // Nodes.
  Expr* new_expr(ExprKind kind, int line, std::vector<const Expr*> operands = {}) {
    result_->exprs.push_back(std::make_unique<Expr>());
    Expr* expr = result_->exprs.back().get();
    expr->kind = kind;
    expr->line = line;
    expr->operands = std::move(operands);
    update_height(*expr);
    return expr;
  }
  static void update_height(Expr& expr) {
    int below = 0;
    const auto look = [&](const Expr* child) { below = std::max(below, child == nullptr ? 0 : child->height); };
    for (const Expr* operand : expr.operands) look(operand);
    for (const Expr* argument : expr.arguments.positional) look(argument);
    for (const auto& [name, argument] : expr.arguments.named) look(argument);
    look(expr.arguments.star);
    look(expr.arguments.star_star);
    expr.height = below + 1;
    if (expr.height > kMaxExprHeight) {
      fail(ErrorCode::kLimit, "an expression is more than {} operations deep (chat template, line {})", kMaxExprHeight,
           expr.line);
    }
  }
  Stmt* new_stmt(StmtKind kind, int line) {
    result_->stmts.push_back(std::make_unique<Stmt>());
    result_->stmts.back()->kind = kind;
    result_->stmts.back()->line = line;
    return result_->stmts.back().get();
  }
  Expr* constant(int line, Value value) {
    Expr* expr = new_expr(ExprKind::kConst, line);
    expr->constant = std::move(value);
    return expr;
  }
  Expr* text_constant(int line, std::string text) {
    return constant(line, Value(std::make_shared<const Text>(MarkedText{std::move(text), {}}, false, nullptr)));
  }
  Expr* load_name(int line, const std::string& name) {
    Expr* expr = new_expr(ExprKind::kName, line);
    expr->symbol = result_->intern(name);
    result_->loaded.insert(expr->symbol);
    for (Stmt* macro : macros_) {
      macro->uses_caller |= name == "caller";
      macro->uses_varargs |= name == "varargs";
      macro->uses_kwargs |= name == "kwargs";
    }
    return expr;
  }

  // Statements.
  Block parse_block(std::initializer_list<std::string_view> end_names) {
    const Nesting nesting(*this);
    Block block;
    while (!at_kind(TokenKind::kEnd)) {
      const int line = peek().line;
      if (at_kind(TokenKind::kText)) {
        Stmt* text = new_stmt(StmtKind::kText, line);
        text->text = next().text;
        block.push_back(text);
      } else if (at_kind(TokenKind::kOutputBegin)) {
        next();
        block.push_back(output(line, parse_tuple(true)));
        expect_kind(TokenKind::kOutputEnd, "'}}'");
      } else {
        expect_kind(TokenKind::kBlockBegin, "'{%'");
        if (!at_kind(TokenKind::kName)) unexpected("a tag's name");
        if (std::find(end_names.begin(), end_names.end(), peek().text) != end_names.end()) return block;
        parse_statement(block);
        expect_kind(TokenKind::kBlockEnd, "'%}'");
      }
    }
    if (end_names.size() > 0) unexpected(fmt::format("'{}'", fmt::join(end_names, "' or '")));
    return block;
  }

  // The body of a tag, from the end of the tag to the one that closes it; the closing name is consumed.
  Block parse_body(std::initializer_list<std::string_view> end_names) {
    take_op(":");
    expect_kind(TokenKind::kBlockEnd, "'%}'");
    return parse_block(end_names);
  }
  // As parse_body, in its own frame.
  Block parse_inner_body(std::initializer_list<std::string_view> end_names) {
    const bool was_soft = std::exchange(soft_, false);
    Block block = parse_body(end_names);
    soft_ = was_soft;
    return block;
  }
  // As parse_inner_body, for a body that runs as a function: `break` and `continue` in it cannot act on loops outside.
  Block parse_function_body(std::initializer_list<std::string_view> end_names) {
    const int outer_loops = std::exchange(loop_depth_, 0);
    Block block = parse_inner_body(end_names);
    loop_depth_ = outer_loops;
    return block;
  }

  Stmt* output(int line, const Expr* expr) {
    Stmt* stmt = new_stmt(StmtKind::kOutput, line);
    stmt->expr = expr;
    return stmt;
  }

  void parse_statement(Block& block) {
    const int line = peek().line;
    const std::string name = next().text;
    if (name == "print") {
      while (!at_kind(TokenKind::kBlockEnd)) {
        block.push_back(output(line, parse_expression()));
        if (!at_kind(TokenKind::kBlockEnd)) expect_op(",");
      }
      return;
    }
    block.push_back(parse_tag(name, line));
  }

  const Stmt* parse_tag(const std::string& name, int line) {
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "macro") return parse_macro(line);
    if (name == "call") return parse_call_block(line);
    if (name == "filter") return parse_filter_block(line);
    if (name == "with") return parse_with(line);
    if (name == "generation") {
      Stmt* stmt = new_stmt(StmtKind::kGeneration, line);
      stmt->body = parse_function_body({"endgeneration"});
      next();
      return stmt;
    }
    if (name == "break" || name == "continue") {
      if (loop_depth_ == 0) syntax_error(line, fmt::format("'{}' outside of a loop", name));
      return new_stmt(name == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
    }
    for (const std::string_view known : {"block", "extends", "include", "import", "from", "autoescape"}) {
      if (name == known) {
        fail(ErrorCode::kUnsupported, "the tag '{}' is not supported (chat template, line {})", name, line);
      }
    }
    syntax_error(line, fmt::format("unknown tag '{}'", printable(name)));
  }

  const Stmt* parse_if(int line) {
    Stmt* stmt = new_stmt(StmtKind::kIf, line);
    const bool was_soft = std::exchange(soft_, true);
    for (;;) {
      const Expr* condition = parse_tuple(false);
      stmt->branches.push_back({condition, parse_body({"elif", "else", "endif"})});
      const std::string end = next().text;
      if (end == "elif") continue;
      if (end == "else") {
        stmt->otherwise = parse_body({"endif"});
        next();
      }
      break;
    }
    soft_ = was_soft;
    return stmt;
  }

  const Stmt* parse_for(int line) {
    Stmt* stmt = new_stmt(StmtKind::kFor, line);
    stmt->target = parse_target(false, "in");
    ++loop_depth_;
    check_loop_target(*stmt->target);
    --loop_depth_;
    if (!take_name("in")) unexpected("'in'");
    stmt->expr = parse_tuple(false, "recursive");
    if (take_name("if")) stmt->condition = parse_expression();
    stmt->recursive = take_name("recursive");
    ++loop_depth_;
    stmt->body = parse_inner_body({"endfor", "else"});
    --loop_depth_;
    if (next().text == "else") {
      stmt->otherwise = parse_inner_body({"endfor"});
      next();
    }
    return stmt;
  }

  // `loop` belongs to the loop.
  void check_loop_target(const Expr& target) const {
    if (loop_depth_ == 0) return;
    if (target.kind == ExprKind::kName && result_->symbols[static_cast<size_t>(target.symbol)] == "loop") {
      syntax_error(target.line, "'loop' cannot be assigned inside a loop");
    }
    for (const Expr* part : target.operands) check_loop_target(*part);
  }

  const Stmt* parse_set(int line) {
    const Expr* target = parse_target(true, "");
    check_loop_target(*target);
    if (take_op("=")) {
      Stmt* stmt = new_stmt(StmtKind::kSet, line);
      stmt->target = target;
      stmt->expr = parse_tuple(true);
      return stmt;
    }
    Stmt* stmt = new_stmt(StmtKind::kSetBlock, line);
    stmt->target = target;
    if (at_op("|")) stmt->expr = parse_filters(nullptr);
    stmt->body = parse_inner_body({"endset"});
    next();
    return stmt;
  }

  const Stmt* parse_macro(int line) {
    Stmt* stmt = new_stmt(StmtKind::kMacro, line);
    stmt->text = expect_name();
    stmt->symbol = result_->intern(stmt->text);
    macros_.push_back(stmt);
    parse_signature(*stmt);
    stmt->body = parse_function_body({"endmacro"});
    macros_.pop_back();
    next();
    drop_shadowed_specials(*stmt);
    return stmt;
  }

  const Stmt* parse_call_block(int line) {
    Stmt* stmt = new_stmt(StmtKind::kCallBlock, line);
    if (at_op("(")) {
      macros_.push_back(stmt);
      parse_signature(*stmt);
      macros_.pop_back();
    }
    stmt->expr = parse_expression();
    if (stmt->expr->kind != ExprKind::kCall) syntax_error(line, "a call block needs a call");
    macros_.push_back(stmt);
    stmt->body = parse_function_body({"endcall"});
    macros_.pop_back();
    next();
    drop_shadowed_specials(*stmt);
    return stmt;
  }

  void parse_signature(Stmt& stmt) {
    expect_op("(");
    while (!at_op(")")) {
      if (!stmt.parameters.empty()) expect_op(",");
      Parameter parameter{0, expect_name(), nullptr};
      parameter.symbol = result_->intern(parameter.name);
      if (take_op("=")) {
        parameter.fallback = parse_expression();
      } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback != nullptr) {
        syntax_error(peek().line, "a parameter without default follows one with a default");
      }
      stmt.parameters.push_back(std::move(parameter));
    }
    expect_op(")");
  }

  // A parameter named like a special variable is an ordinary one.
  static void drop_shadowed_specials(Stmt& stmt) {
    for (const Parameter& parameter : stmt.parameters) {
      if (parameter.name == "varargs") stmt.uses_varargs = false;
      if (parameter.name == "kwargs") stmt.uses_kwargs = false;
      if (parameter.name == "caller" && stmt.uses_caller && parameter.fallback == nullptr) {
        syntax_error(stmt.line, "the special parameter 'caller' needs a default");
      }
    }
  }

  const Stmt* parse_filter_block(int line) {
    Stmt* stmt = new_stmt(StmtKind::kFilterBlock, line);
    stmt->expr = parse_filters(nullptr, true);
    stmt->body = parse_inner_body({"endfilter"});
    next();
    return stmt;
  }

  const Stmt* parse_with(int line) {
    Stmt* stmt = new_stmt(StmtKind::kWith, line);
    while (!at_kind(TokenKind::kBlockEnd)) {
      if (!stmt->assignments.empty()) expect_op(",");
      const Expr* target = parse_target(false, "");
      expect_op("=");
      stmt->assignments.emplace_back(target, parse_expression());
    }
    stmt->body = parse_inner_body({"endwith"});
    next();
    return stmt;
  }

  // What may be left of `=` or between `for` and `in`: names, tuples of them, in a set also ns.attribute.
  const Expr* parse_target(bool with_namespace, std::string_view end_name) {
    const int line = peek().line;
    std::vector<const Expr*> parts;
    bool is_tuple = false;
    while (!at_tuple_end(end_name)) {
      parts.push_back(parse_target_part(with_namespace));
      if (!take_op(",")) break;
      is_tuple = true;
    }
    if (parts.empty()) unexpected("a name to assign to");
    return is_tuple ? new_expr(ExprKind::kTuple, line, std::move(parts)) : parts[0];
  }

  const Expr* parse_target_part(bool with_namespace) {
    const Nesting nesting(*this);
    const int line = peek().line;
    if (take_op("(")) {
      const Expr* inner = parse_target(false, "");
      expect_op(")");
      return inner;
    }
    const std::string name = expect_name();
    for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (name == reserved) syntax_error(line, fmt::format("cannot assign to '{}'", name));
    }
    if (with_namespace && take_op(".")) {
      Expr* reference = new_expr(ExprKind::kNamespaceRef, line);
      reference->symbol = result_->intern(name);
      result_->loaded.insert(reference->symbol);
      reference->text = expect_name();
      return reference;
    }
    Expr* target = new_expr(ExprKind::kName, line);
    target->symbol = result_->intern(name);
    return target;
  }

  // Expressions.
  bool at_tuple_end(std::string_view end_name) const {
    return at_kind(TokenKind::kOutputEnd) || at_kind(TokenKind::kBlockEnd) || at_op(")") ||
           (!end_name.empty() && at_name(end_name));
  }

  const Expr* parse_tuple(bool with_condition, std::string_view end_name = "", bool in_parentheses = false) {
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

  const Expr* parse_expression() {
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

  const Expr* parse_or() {
    const Expr* left = parse_and();
    while (at_name("or")) {
      const int line = next().line;
      left = new_expr(ExprKind::kOr, line, {left, parse_and()});
    }
    return left;
  }

  const Expr* parse_and() {
    const Expr* left = parse_not();
    while (at_name("and")) {
      const int line = next().line;
      left = new_expr(ExprKind::kAnd, line, {left, parse_not()});
    }
    return left;
  }

  const Expr* parse_not() {
    if (!at_name("not")) return parse_compare();
    const Nesting nesting(*this);
    const int line = next().line;
    return new_expr(ExprKind::kNot, line, {parse_not()});
  }

  std::optional<Op> take_compare_op() {
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

  const Expr* parse_compare() {
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

  const Expr* binary(int line, Op op, const Expr* left, const Expr* right) {
    Expr* expr = new_expr(ExprKind::kBinary, line, {left, right});
    expr->ops = {op};
    return expr;
  }

  const Expr* parse_sum() {
    const Expr* left = parse_concat();
    while (at_op("+") || at_op("-")) {
      const Token& token = next();
      const Op op = token.text == "+" ? Op::kAdd : Op::kSub;
      left = binary(token.line, op, left, parse_concat());
    }
    return left;
  }

  const Expr* parse_concat() {
    const int line = peek().line;
    std::vector<const Expr*> parts = {parse_product()};
    while (take_op("~")) parts.push_back(parse_product());
    return parts.size() == 1 ? parts[0] : new_expr(ExprKind::kConcat, line, std::move(parts));
  }

  const Expr* parse_product() {
    const Expr* left = parse_power();
    while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
      const Token& token = next();
      const Op op = token.text == "*" ? Op::kMul
                                      : (token.text == "/" ? Op::kDiv : (token.text == "%" ? Op::kMod : Op::kFloorDiv));
      left = binary(token.line, op, left, parse_power());
    }
    return left;
  }

  const Expr* parse_power() {
    const Expr* left = parse_unary(true);
    while (at_op("**")) {
      const int line = next().line;
      left = binary(line, Op::kPow, left, parse_unary(true));
    }
    return left;
  }

  const Expr* parse_unary(bool with_filters) {
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

  const Expr* parse_primary() {
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

  const Expr* parse_name() {
    const Token& token = next();
    if (token.text == "true" || token.text == "True") return constant(token.line, Value(true));
    if (token.text == "false" || token.text == "False") return constant(token.line, Value(false));
    if (token.text == "none" || token.text == "None") return constant(token.line, Value(None{}));
    return load_name(token.line, token.text);
  }

  const Expr* parse_list(int line) {
    std::vector<const Expr*> items;
    while (!at_op("]")) {
      items.push_back(parse_expression());
      if (!at_op("]")) expect_op(",");
    }
    next();
    return new_expr(ExprKind::kList, line, std::move(items));
  }

  const Expr* parse_dict(int line) {
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

  const Expr* parse_postfix(const Expr* expr) {
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

  const Expr* parse_dot(const Expr* object) {
    const int line = next().line;
    if (at_kind(TokenKind::kInteger)) {
      return new_expr(ExprKind::kItem, line, {object, constant(line, Value(next().integer))});
    }
    Expr* expr = new_expr(ExprKind::kAttribute, line, {object});
    expr->text = expect_name();
    result_->fields.insert(expr->text);
    return expr;
  }

  const Expr* parse_subscript(const Expr* object) {
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

  const Expr* parse_slice(const Expr* object, const Expr* start, int line) {
    const Expr* bounds[2] = {nullptr, nullptr};
    for (const Expr*& bound : bounds) {
      if (!take_op(":")) break;
      if (!at_op(":") && !at_op("]") && !at_op(",")) bound = parse_expression();
    }
    return new_expr(ExprKind::kSlice, line, {object, start, bounds[0], bounds[1]});
  }

  Arguments parse_arguments() {
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

  const Expr* parse_call(const Expr* function) {
    const int line = peek().line;
    Expr* call = new_expr(ExprKind::kCall, line, {function});
    call->arguments = parse_arguments();
    update_height(*call);
    return call;
  }

  const Expr* parse_filter_chain(const Expr* expr) {
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

  std::string parse_dotted_name() {
    std::string name = expect_name();
    while (take_op(".")) name += "." + expect_name();
    return name;
  }

  const Expr* parse_filters(const Expr* expr, bool without_bar = false) {
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

  // Inside an `if`, Jinja reports an unknown filter or test only when it is used.
  [[noreturn]] static void unknown(const char* what, const Expr& expr) {
    fail(ErrorCode::kUnsupported, "there is no {} named '{}' (chat template, line {})", what, printable(expr.text),
         expr.line);
  }

  bool at_bare_test_argument() const {
    if (at_name("else") || at_name("or") || at_name("and")) return false;
    switch (peek().kind) {
      case TokenKind::kName:
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat: return true;
      default: return at_op("[") || at_op("{");
    }
  }

  const Expr* parse_test(const Expr* value) {
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

  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::unique_ptr<Template> result_;
  int depth_ = 0;
  int loop_depth_ = 0;
  bool soft_ = false;  // inside the branches of an `if` of this frame
  std::vector<Stmt*> macros_;
};

void check_utf8(std::string_view source) {
  int line = 1;
  for (size_t at = 0; at < source.size();) {
    if (source[at] == '\n') ++line;
    const auto [point, num_bytes] = decode_at(source, at);
    if (num_bytes == 1 && point >= 0x80) syntax_error(line, "the template is not valid UTF-8");
    at += num_bytes;
  }
}

}  // namespace

std::unique_ptr<const Template> parse_template(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    fail(ErrorCode::kLimit, "the chat template has {} bytes, more than {}", source.size(), kMaxSourceBytes);
  }
  check_utf8(source);
  return Parser(source).run();
}

}  // namespace quire::jinja
