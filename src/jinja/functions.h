// Callable values: builtin functions, and methods bound to their object.
#pragma once

#include "jinja/runtime.h"
#include "jinja/value.h"

namespace quire::jinja {

class Function : public Callable {
 public:
  using Body = Value (*)(Runtime& runtime, Args& args);
  Function(std::string function_name, Body body) : Callable(std::move(function_name)), body_(body) {}
  Value call(Runtime& runtime, Args& args) override { return body_(runtime, args); }

 private:
  Body body_;
};

class Method : public Callable {
 public:
  using Body = Value (*)(Runtime& runtime, const Value& self, Args& args);
  Method(std::string method_name, Value self, Body body)
      : Callable(std::move(method_name)), self_(std::move(self)), body_(body) {}
  Value call(Runtime& runtime, Args& args) override { return body_(runtime, self_, args); }
  std::string description() const override {
    return "<built-in method " + name + " of " + type_name(self_) + " object>";
  }

 private:
  Value self_;
  Body body_;
};

// The values of cycler(...): each next() gives the following one, cyclically.
struct Cycler : Object {
  static constexpr ObjectKind kKind = ObjectKind::kCycler;
  explicit Cycler(std::vector<Value> values) : Object(kKind), items(std::move(values)) {}
  std::vector<Value> items;
  size_t at = 0;
};

}  // namespace quire::jinja
