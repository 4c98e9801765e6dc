// The half of the interpreter that computes values.
#include "jinja/attributes.h"
#include "jinja/filters.h"
#include "jinja/format.h"
#include "jinja/interpreter.h"
#include "jinja/loop.h"
#include "jinja/operators.h"

namespace quire::jinja {

Value Interpreter::eval(const Expr& expr, Scope* scope) {
  if (expr.kind == ExprKind::kConst) return expr.constant;
  if (expr.kind == ExprKind::kName) return eval_name(expr, scope);
  const Runtime::Level level(runtime_);
  runtime_.charge(1 + expr.operands.size() / 8);
  const auto operand = [&](size_t i) { return eval(*expr.operands[i], scope); };
  const auto here = [&]() -> Runtime& {
    runtime_.line = expr.line;
    return runtime_;
  };
  switch (expr.kind) {
    case ExprKind::kTuple:
    case ExprKind::kList: return eval_items(expr, scope);
    case ExprKind::kDict: return eval_dict(expr, scope);
    case ExprKind::kNot: return Value(!truth(operand(0)));
    case ExprKind::kNegate:
    case ExprKind::kPlus: {
      const Value value = operand(0);
      return negate(here(), value, expr.kind == ExprKind::kNegate);
    }
    case ExprKind::kAnd: {
      Value left = operand(0);
      return truth(left) ? operand(1) : left;
    }
    case ExprKind::kOr: {
      Value left = operand(0);
      return truth(left) ? left : operand(1);
    }
    case ExprKind::kBinary: {
      const Value left = operand(0);
      const Value right = operand(1);
      return binary(here(), expr.ops[0], left, right);
    }
    case ExprKind::kConcat: return eval_concat(expr, scope);
    case ExprKind::kCompare: return eval_compare(expr, scope);
    case ExprKind::kCondition: return eval_condition(expr, scope);
    case ExprKind::kAttribute: {
      const Value object = operand(0);
      return get_attribute(here(), object, expr.text);
    }
    case ExprKind::kItem: {
      const Value object = operand(0);
      const Value key = operand(1);
      return get_item(here(), object, key);
    }
    case ExprKind::kSlice: return eval_slice(expr, scope);
    case ExprKind::kCall: return eval_call(expr, scope, nullptr);
    case ExprKind::kFilter: return eval_filter(expr, scope);
    case ExprKind::kTest: return Value(eval_test(expr, scope));
    default: return Value();
  }
}

Value Interpreter::eval_name(const Expr& expr, Scope* scope) {
  for (; scope != nullptr; scope = scope->parent) {
    const Value* value = scope->find(expr.symbol);
    if (value == nullptr) continue;
    if (value->is_undefined() && value->undefined().why == nullptr) break;
    return *value;
  }
  return runtime_.undefined("'{}' is undefined", template_.symbols[static_cast<size_t>(expr.symbol)]);
}

Value Interpreter::eval_items(const Expr& expr, Scope* scope) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const Expr* item : expr.operands) items.push_back(eval(*item, scope));
  return expr.kind == ExprKind::kList ? runtime_.list(std::move(items)) : runtime_.tuple(std::move(items));
}

Value Interpreter::eval_dict(const Expr& expr, Scope* scope) {
  auto* dict = runtime_.make<Dict>();
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    const Value key = eval(*expr.operands[i], scope);
    Value value = eval(*expr.operands[i + 1], scope);
    runtime_.line = expr.line;
    runtime_.dict_set(*dict, key, std::move(value));
  }
  return Value(dict);
}

Value Interpreter::eval_concat(const Expr& expr, Scope* scope) {
  MarkedText text;
  for (const Expr* part : expr.operands) {
    const Value value = eval(*part, scope);
    value.is_string() ? value.text().append_to(text) : text.append(to_text(runtime_, value));
    runtime_.check_allocation(text.num_bytes());
  }
  runtime_.line = expr.line;
  return runtime_.string(std::move(text));
}

Value Interpreter::eval_compare(const Expr& expr, Scope* scope) {
  Value left = eval(*expr.operands[0], scope);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.operands[i + 1], scope);
    runtime_.line = expr.line;
    if (!compare(runtime_, expr.ops[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::eval_condition(const Expr& expr, Scope* scope) {
  if (truth(eval(*expr.operands[1], scope))) return eval(*expr.operands[0], scope);
  if (expr.operands[2] != nullptr) return eval(*expr.operands[2], scope);
  return runtime_.undefined("the inline if-expression on line {} evaluated to false and has no else", expr.line);
}

Value Interpreter::eval_slice(const Expr& expr, Scope* scope) {
  const Value object = eval(*expr.operands[0], scope);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    const Expr* bound = expr.operands[i + 1];
    bounds[i] = bound == nullptr ? Value(None{}) : eval(*bound, scope);
  }
  runtime_.line = expr.line;
  return slice(runtime_, object, bounds[0], bounds[1], bounds[2]);
}

Args Interpreter::eval_arguments(const Arguments& arguments, Scope* scope) {
  Args args;
  for (const Expr* argument : arguments.positional) args.positional.push_back(eval(*argument, scope));
  for (const auto& [name, argument] : arguments.named) args.named.emplace_back(name, eval(*argument, scope));
  if (arguments.star != nullptr) {
    const Value more = eval(*arguments.star, scope);
    for (Value& item : to_vector(runtime_, more)) args.positional.push_back(std::move(item));
  }
  if (arguments.star_star != nullptr) {
    const Value more = eval(*arguments.star_star, scope);
    const auto* dict = more.as<Dict>();
    if (dict == nullptr) runtime_.fail("TypeError: argument after ** must be a mapping, not {}", type_name(more));
    runtime_.charge_items(dict->entries.size());
    for (const auto& [key, value] : dict->entries) {
      if (!key.is_string()) runtime_.fail("TypeError: keywords must be strings");
      args.named.emplace_back(std::string(key.str()), value);
    }
  }
  return args;
}

Value Interpreter::eval_call(const Expr& expr, Scope* scope, Callable* caller) {
  const Value function = eval(*expr.operands[0], scope);
  Args args = eval_arguments(expr.arguments, scope);
  if (caller != nullptr) args.named.emplace_back("caller", Value(caller));
  runtime_.line = expr.line;
  runtime_.charge();
  if (auto* callable = function.as<Callable>()) return callable->call(runtime_, args);
  if (auto* loop = function.as<Loop>()) {
    if (loop->recurse == nullptr) runtime_.fail("TypeError: the loop needs the 'recursive' marker to be called");
    return loop->recurse->call(runtime_, args);
  }
  runtime_.require_defined(function);
  runtime_.fail("TypeError: '{}' object is not callable", type_name(function));
}

Value Interpreter::eval_filter(const Expr& expr, Scope* scope) {
  if (expr.filter == nullptr) runtime_.raise(ErrorCode::kUnsupported, "there is no filter named '" + expr.text + "'");
  const Value value = expr.operands[0] == nullptr ? captured_ : eval(*expr.operands[0], scope);
  const Args args = eval_arguments(expr.arguments, scope);
  runtime_.line = expr.line;
  runtime_.charge();
  return expr.filter->apply(runtime_, value, args);
}

bool Interpreter::eval_test(const Expr& expr, Scope* scope) {
  if (expr.test == nullptr) runtime_.raise(ErrorCode::kUnsupported, "there is no test named '" + expr.text + "'");
  const Value value = eval(*expr.operands[0], scope);
  const Args args = eval_arguments(expr.arguments, scope);
  runtime_.line = expr.line;
  runtime_.charge();
  return expr.test->holds(runtime_, value, args);
}

}  // namespace quire::jinja
