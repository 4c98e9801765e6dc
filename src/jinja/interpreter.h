// Renders a parsed template. One interpreter, one rendering, one thread; the template is only read.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "jinja/ast.h"
#include "jinja/runtime.h"

namespace quire::jinja {

// Variables of one scope. A loop has one scope for all its turns (emptied before each), as Jinja's compiled code has.
struct Scope : Object {
  static constexpr ObjectKind kKind = ObjectKind::kScope;
  explicit Scope(Scope* enclosing) : Object(kKind), parent(enclosing) {}
  Value* find(int symbol) {
    for (auto& [name, value] : variables) {
      if (name == symbol) return &value;
    }
    return nullptr;
  }
  void set(int symbol, Value value) {
    if (Value* old = find(symbol)) {
      *old = std::move(value);
    } else {
      variables.emplace_back(symbol, std::move(value));
    }
  }
  Scope* parent;
  std::vector<std::pair<int, Value>> variables;
};

class Interpreter {
 public:
  // `context` gives the template's variables; its strings are not copied and must outlive the interpreter. They are
  // data, but for the variables named in `own` and the roles of messages.
  Interpreter(const Template& parsed, const json::object& context, std::span<const std::string_view> own,
              Runtime& runtime);
  MarkedText render();

  // For the callables that it makes.
  Value call_macro(const Stmt& macro, Scope* defined_in, Args& args);
  Value call_loop(const Stmt& loop, Scope* scope, const Value& items, int depth0);
  bool loop_condition(const Stmt& loop, const Value& item, Scope* scope);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Value to_value(const json::value& value, bool is_data);
  Scope* new_scope(Scope* parent, const std::vector<int>& hidden);

  Flow exec(const Block& block, Scope* scope);
  Flow exec(const Stmt& stmt, Scope* scope);
  Flow exec_if(const Stmt& stmt, Scope* scope);
  Flow exec_for(const Stmt& stmt, const Value& items, Scope* scope, int depth0);
  Flow exec_set_block(const Stmt& stmt, Scope* scope);
  Flow exec_filter_block(const Stmt& stmt, Scope* scope);
  Flow exec_with(const Stmt& stmt, Scope* scope);
  void exec_call_block(const Stmt& stmt, Scope* scope);
  // Runs `body` with its output going to `text`.
  Flow capture(const Block& body, Scope* scope, MarkedText& text);
  void assign(const Expr& target, Value value, Scope* scope);
  void emit(std::string_view own);
  void emit(const Value& value);
  void hold_output(size_t num_bytes);

  Value eval(const Expr& expr, Scope* scope);
  Value eval_name(const Expr& expr, Scope* scope);
  Value eval_items(const Expr& expr, Scope* scope);
  Value eval_dict(const Expr& expr, Scope* scope);
  Value eval_concat(const Expr& expr, Scope* scope);
  Value eval_compare(const Expr& expr, Scope* scope);
  Value eval_condition(const Expr& expr, Scope* scope);
  Value eval_slice(const Expr& expr, Scope* scope);
  Value eval_call(const Expr& expr, Scope* scope, Callable* caller);
  Value eval_filter(const Expr& expr, Scope* scope);
  bool eval_test(const Expr& expr, Scope* scope);
  Args eval_arguments(const Arguments& arguments, Scope* scope);

  const Template& template_;
  Runtime& runtime_;
  Scope* globals_;
  MarkedText* out_ = nullptr;
  Value captured_;  // the input of the innermost filter of a filter block or set block
};

}  // namespace quire::jinja
