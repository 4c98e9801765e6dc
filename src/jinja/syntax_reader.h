// What both halves of the parser stand on: a place in the template's tokens, and the nodes of the tree that they
// become.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "jinja/ast.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"

namespace quire::jinja {

class SyntaxReader {
 protected:
  explicit SyntaxReader(std::string_view source) : result_(std::make_unique<Template>()), tokens_(tokenize(source)) {}

  // A nested construct: bounds the recursion of the parser.
  class Nesting {
   public:
    explicit Nesting(SyntaxReader& reader) : reader_(reader) {
      if (++reader.depth_ > kMaxParseDepth) {
        fail(ErrorCode::kLimit, "the template nests deeper than {} levels (chat template, line {})", kMaxParseDepth,
             reader.peek().line);
      }
    }
    ~Nesting() { --reader_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    SyntaxReader& reader_;
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

  std::unique_ptr<Template> result_;
  int depth_ = 0;
  std::vector<Stmt*> macros_;  // that are open here

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace quire::jinja
