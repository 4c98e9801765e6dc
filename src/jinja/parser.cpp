#include "jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "jinja/expression_parser.h"
#include "jinja/scopes.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

// The half that reads tags and what stands between them.
class Parser : private ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  std::unique_ptr<const Template> run() {
    result_->body = parse_block({});
    find_hidden_names(*result_);
    return std::move(result_);
  }

 private:
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

  int loop_depth_ = 0;
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
