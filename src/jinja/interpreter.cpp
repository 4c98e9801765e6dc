#include "jinja/interpreter.h"

#include <algorithm>

#include "jinja/attributes.h"
#include "jinja/filters.h"
#include "jinja/format.h"
#include "jinja/functions.h"
#include "jinja/loop.h"
#include "jinja/operators.h"

namespace quire::jinja {
namespace {

class Macro : public Callable {
 public:
  Macro(Interpreter& interpreter, const Stmt& stmt, Scope* scope)
      : Callable(stmt.text), interpreter_(interpreter), stmt_(stmt), scope_(scope) {}

  Value call(Runtime&, Args& args) override { return interpreter_.call_macro(stmt_, scope_, args); }

  Value attribute(Runtime& runtime, std::string_view attribute_name) override {
    if (attribute_name == "name") return name.empty() ? Value(None{}) : runtime.own(name);
    if (attribute_name == "catch_kwargs") return Value(stmt_.uses_kwargs);
    if (attribute_name == "catch_varargs") return Value(stmt_.uses_varargs);
    if (attribute_name == "caller") return Value(stmt_.uses_caller);
    if (attribute_name == "arguments") {
      std::vector<Value> names;
      for (const Parameter& parameter : stmt_.parameters) names.push_back(runtime.own(parameter.name));
      return runtime.tuple(std::move(names));
    }
    return Callable::attribute(runtime, attribute_name);
  }

  std::string description() const override { return name.empty() ? "<Macro anonymous>" : "<Macro '" + name + "'>"; }

 private:
  Interpreter& interpreter_;
  const Stmt& stmt_;
  Scope* scope_;
};

// loop(items) inside a recursive loop: the loop's body over other items, as text.
class Recursion : public Callable {
 public:
  Recursion(Interpreter& interpreter, const Stmt& stmt, Scope* scope, int depth0)
      : Callable("loop"), interpreter_(interpreter), stmt_(stmt), scope_(scope), depth0_(depth0) {}

  Value call(Runtime& runtime, Args& args) override {
    const Parameters given(runtime, "loop", args, {"iterable"}, 1);
    return interpreter_.call_loop(stmt_, scope_, given[0], depth0_ + 1);
  }

 private:
  Interpreter& interpreter_;
  const Stmt& stmt_;
  Scope* scope_;
  int depth0_;
};

// The items of a loop that pass its `if`.
class Selection : public Iterator {
 public:
  Selection(Interpreter& interpreter, const Stmt& stmt, Iterator* items, Scope* scope)
      : interpreter_(interpreter), stmt_(stmt), items_(items), scope_(scope) {}

  bool next(Runtime& runtime, Value& out) override {
    while (items_->next(runtime, out)) {
      runtime.charge();
      if (interpreter_.loop_condition(stmt_, out, scope_)) return true;
    }
    return false;
  }

 private:
  Interpreter& interpreter_;
  const Stmt& stmt_;
  Iterator* items_;
  Scope* scope_;
};

// A role is a word of the API, not text: templates make names of it ("<|" + role + "|>").
bool is_role(std::string_view key, const json::value& value) {
  constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function"};
  return key == "role" && value.is_string() && std::ranges::find(kRoles, value.get_string()) != std::end(kRoles);
}

}  // namespace

Interpreter::Interpreter(const Template& parsed, const json::object& context, std::span<const std::string_view> own,
                         Runtime& runtime)
    : template_(parsed), runtime_(runtime), globals_(runtime.make<Scope>(nullptr)) {
  for (size_t i = 0; i < parsed.symbols.size(); ++i) {
    const std::string& name = parsed.symbols[i];
    const json::value* given = context.if_contains(name);
    const Value value =
        given != nullptr ? to_value(*given, std::ranges::find(own, name) == own.end()) : find_function(runtime, name);
    if (!value.is_undefined()) globals_->variables.emplace_back(static_cast<int>(i), value);
  }
}

Value Interpreter::to_value(const json::value& value, bool is_data) {
  const Runtime::Level level(runtime_);
  switch (value.kind()) {
    case json::kind::null: return Value(None{});
    case json::kind::bool_: return Value(value.get_bool());
    case json::kind::int64: return Value(static_cast<Int>(value.get_int64()));
    case json::kind::uint64: return Value(static_cast<Int>(value.get_uint64()));
    case json::kind::double_: return Value(value.get_double());
    case json::kind::string: return runtime_.borrowed(value.get_string(), is_data);
    case json::kind::array: {
      std::vector<Value> items;
      items.reserve(value.get_array().size());
      for (const json::value& item : value.get_array()) items.push_back(to_value(item, is_data));
      return runtime_.list(std::move(items));
    }
    case json::kind::object: break;
  }
  auto* dict = runtime_.make<Dict>();
  for (const auto& [key, item] : value.get_object()) {
    runtime_.dict_set(*dict, runtime_.borrowed(key, is_data), to_value(item, is_data && !is_role(key, item)));
  }
  return Value(dict);
}

MarkedText Interpreter::render() {
  MarkedText text;
  capture(template_.body, new_scope(globals_, template_.hidden), text);
  return text;
}

Scope* Interpreter::new_scope(Scope* parent, const std::vector<int>& hidden) {
  auto* scope = runtime_.make<Scope>(parent);
  for (const int symbol : hidden) scope->set(symbol, Value());
  return scope;
}

void Interpreter::emit(std::string_view own) {
  hold_output(own.size());
  *out_ += own;
}

void Interpreter::emit(const Value& value) {
  const Value text = soft_text(runtime_, value);
  hold_output(text.str().size());
  const size_t spans_before = out_->data.size();
  text.text().append_to(*out_);
  runtime_.hold_output((out_->data.size() - spans_before) * sizeof(TextSpan));
}

void Interpreter::hold_output(size_t num_bytes) {
  runtime_.charge_bytes(num_bytes);
  const size_t limit = runtime_.limits().output_bytes;
  if (num_bytes > limit - out_->text.size()) {
    runtime_.raise(ErrorCode::kLimit, fmt::format("the template's output is longer than {} bytes", limit));
  }
  runtime_.hold_output(num_bytes);
}

Interpreter::Flow Interpreter::capture(const Block& body, Scope* scope, MarkedText& text) {
  MarkedText* outer = std::exchange(out_, &text);
  const Flow flow = exec(body, scope);  // when it throws, the whole rendering is over
  out_ = outer;
  runtime_.release_output(text.num_bytes());
  return flow;
}

Interpreter::Flow Interpreter::exec(const Block& block, Scope* scope) {
  const Runtime::Level level(runtime_);
  for (const Stmt* stmt : block) {
    const Flow flow = exec(*stmt, scope);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt, Scope* scope) {
  runtime_.line = stmt.line;
  runtime_.charge();
  switch (stmt.kind) {
    case StmtKind::kText: emit(stmt.text); break;
    case StmtKind::kOutput: emit(eval(*stmt.expr, scope)); break;
    case StmtKind::kIf: return exec_if(stmt, scope);
    case StmtKind::kFor: return exec_for(stmt, eval(*stmt.expr, scope), scope, 0);
    case StmtKind::kSet: assign(*stmt.target, eval(*stmt.expr, scope), scope); break;
    case StmtKind::kSetBlock: return exec_set_block(stmt, scope);
    case StmtKind::kMacro: scope->set(stmt.symbol, Value(runtime_.make<Macro>(*this, stmt, scope))); break;
    case StmtKind::kCallBlock: exec_call_block(stmt, scope); break;
    case StmtKind::kFilterBlock: return exec_filter_block(stmt, scope);
    case StmtKind::kWith: return exec_with(stmt, scope);
    case StmtKind::kGeneration: exec(stmt.body, new_scope(scope, stmt.hidden)); break;
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt, Scope* scope) {
  for (const Branch& branch : stmt.branches) {
    if (truth(eval(*branch.condition, scope))) return exec(branch.body, scope);
  }
  return exec(stmt.otherwise, scope);
}

Interpreter::Flow Interpreter::exec_for(const Stmt& stmt, const Value& items, Scope* scope, int depth0) {
  Iterator* iterator = iterate(runtime_, items);
  if (stmt.condition != nullptr) {
    iterator = runtime_.make<Selection>(*this, stmt, iterator, runtime_.make<Scope>(scope));
  }
  auto* loop = runtime_.make<Loop>(items, iterator, stmt.condition != nullptr, depth0);
  if (stmt.recursive) loop->recurse = runtime_.make<Recursion>(*this, stmt, scope, depth0);
  Scope* turn = runtime_.make<Scope>(scope);
  const int loop_symbol = template_.symbol_of.at("loop");
  bool one_turn_finished = false;  // only a turn that reaches the end of the body keeps `else` away, as in Jinja
  while (loop->advance(runtime_)) {
    runtime_.line = stmt.line;
    runtime_.charge();
    turn->variables.clear();
    for (const int symbol : stmt.hidden) turn->set(symbol, Value());
    turn->set(loop_symbol, Value(loop));
    assign(*stmt.target, loop->current, turn);
    const Flow flow = exec(stmt.body, turn);
    if (flow == Flow::kBreak) break;
    one_turn_finished |= flow == Flow::kNext;
  }
  if (one_turn_finished || stmt.otherwise.empty()) return Flow::kNext;
  return exec(stmt.otherwise, new_scope(scope, stmt.hidden_otherwise));
}

bool Interpreter::loop_condition(const Stmt& loop, const Value& item, Scope* scope) {
  scope->variables.clear();
  assign(*loop.target, item, scope);
  return truth(eval(*loop.condition, scope));
}

Value Interpreter::call_loop(const Stmt& loop, Scope* scope, const Value& items, int depth0) {
  const Runtime::Level level(runtime_);
  MarkedText text;
  MarkedText* outer = std::exchange(out_, &text);
  exec_for(loop, items, scope, depth0);
  out_ = outer;
  runtime_.release_output(text.num_bytes());
  return runtime_.string(std::move(text));
}

Interpreter::Flow Interpreter::exec_set_block(const Stmt& stmt, Scope* scope) {
  Scope* inner = new_scope(scope, stmt.hidden);
  MarkedText text;
  const Flow flow = capture(stmt.body, inner, text);
  if (flow != Flow::kNext) return flow;
  Value value = runtime_.string(std::move(text));
  if (stmt.expr != nullptr) {
    const Value outer = std::exchange(captured_, value);
    value = eval(*stmt.expr, inner);
    captured_ = outer;
  }
  assign(*stmt.target, std::move(value), scope);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_filter_block(const Stmt& stmt, Scope* scope) {
  Scope* inner = new_scope(scope, stmt.hidden);
  MarkedText text;
  const Flow flow = capture(stmt.body, inner, text);
  if (flow != Flow::kNext) return flow;
  const Value outer = std::exchange(captured_, runtime_.string(std::move(text)));
  emit(eval(*stmt.expr, inner));
  captured_ = outer;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec_with(const Stmt& stmt, Scope* scope) {
  Scope* inner = new_scope(scope, stmt.hidden);
  for (const auto& [target, value] : stmt.assignments) assign(*target, eval(*value, scope), inner);
  return exec(stmt.body, inner);
}

void Interpreter::exec_call_block(const Stmt& stmt, Scope* scope) {
  auto* caller = runtime_.make<Macro>(*this, stmt, scope);
  emit(eval_call(*stmt.expr, scope, caller));
}

Value Interpreter::call_macro(const Stmt& macro, Scope* defined_in, Args& args) {
  const Runtime::Level level(runtime_);
  runtime_.charge();
  Scope* scope = new_scope(defined_in, macro.hidden);
  const auto take_named = [&](const std::string& name) -> std::optional<Value> {
    for (size_t i = 0; i < args.named.size(); ++i) {
      if (args.named[i].first != name) continue;
      Value value = std::move(args.named[i].second);
      args.named.erase(args.named.begin() + static_cast<std::ptrdiff_t>(i));
      return value;
    }
    return std::nullopt;
  };
  std::vector<const Parameter*> missing;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    std::optional<Value> value;
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else {
      value = take_named(parameter.name);
    }
    if (!value) missing.push_back(&parameter);
    scope->set(parameter.symbol, value ? std::move(*value) : Value());
  }
  const auto special = [&](const char* name, Value value) {
    scope->set(template_.symbol_of.at(name), std::move(value));
  };
  if (macro.uses_caller && !scope->find(template_.symbol_of.at("caller"))) {
    special("caller", take_named("caller").value_or(runtime_.undefined("No caller defined")));
  }
  if (macro.uses_kwargs) {
    auto* rest = runtime_.make<Dict>();
    for (auto& [name, value] : args.named) runtime_.dict_set(*rest, runtime_.keyword(name), value);
    special("kwargs", Value(rest));
  } else if (!args.named.empty()) {
    runtime_.fail("TypeError: macro '{}' takes no keyword argument '{}'", macro.text, printable(args.named[0].first));
  }
  const size_t num_taken = std::min(macro.parameters.size(), args.positional.size());
  if (macro.uses_varargs) {
    const auto rest = args.positional.begin() + static_cast<std::ptrdiff_t>(num_taken);
    special("varargs", runtime_.tuple(std::vector<Value>(rest, args.positional.end())));
  } else if (args.positional.size() > num_taken) {
    runtime_.fail("TypeError: macro '{}' takes not more than {} argument(s)", macro.text, macro.parameters.size());
  }
  for (const Parameter* parameter : missing) {
    scope->set(parameter->symbol, parameter->fallback != nullptr
                                      ? eval(*parameter->fallback, scope)
                                      : runtime_.undefined("parameter '{}' was not provided", parameter->name));
  }
  MarkedText text;
  capture(macro.body, scope, text);
  return runtime_.string(std::move(text));
}

void Interpreter::assign(const Expr& target, Value value, Scope* scope) {
  if (target.kind == ExprKind::kName) {
    scope->set(target.symbol, std::move(value));
    return;
  }
  runtime_.line = target.line;
  if (target.kind == ExprKind::kNamespaceRef) {
    const Value object = eval_name(target, scope);
    auto* space = object.as<Namespace>();
    if (space == nullptr) runtime_.fail("cannot assign attribute on non-namespace object");
    if (target.text.starts_with('_')) {
      runtime_.fail("SecurityError: the attribute '{}' of a namespace starts with an underscore", target.text);
    }
    runtime_.dict_set(space->attributes, runtime_.own(target.text), std::move(value));
    return;
  }
  if (!is_iterable(value)) runtime_.fail("TypeError: cannot unpack non-iterable {} object", type_name(value));
  const std::vector<Value> parts = to_vector(runtime_, value);
  if (parts.size() != target.operands.size()) {
    runtime_.fail("ValueError: expected {} values to unpack, got {}", target.operands.size(), parts.size());
  }
  for (size_t i = 0; i < parts.size(); ++i) assign(*target.operands[i], parts[i], scope);
}

}  // namespace quire::jinja
