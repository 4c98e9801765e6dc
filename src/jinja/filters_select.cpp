// map, select, reject, selectattr, rejectattr: one-pass sequences that are evaluated only as far as they are read.
#include "jinja/attribute_path.h"
#include "jinja/filter_tables.h"
#include "jinja/operators.h"

namespace quire::jinja {
namespace {

// The argument `at` as the name of a filter or a test.
std::string_view name_argument(Runtime& runtime, const Args& args, size_t at) {
  if (!args.positional[at].is_string()) runtime.fail("TypeError: the name of a filter or test must be a string");
  return args.positional[at].str();
}

Args arguments_after(const Args& args, size_t num_skipped) {
  Args rest;
  rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(num_skipped), args.positional.end());
  rest.named = args.named;
  return rest;
}

class Map : public Iterator {
 public:
  Map(Value source, Args args) : source_(std::move(source)), args_(std::move(args)) {}

  bool next(Runtime& runtime, Value& out) override {
    const Runtime::Level level(runtime);  // the source may be such a sequence itself
    if (!truth(source_)) return false;
    if (items_ == nullptr) prepare(runtime);
    Value item;
    if (!items_->next(runtime, item)) return false;
    runtime.charge();
    out = filter_ != nullptr ? filter_->apply(runtime, item, rest_) : path_.get(runtime, item, fallback_);
    return true;
  }

 private:
  void prepare(Runtime& runtime) {
    if (!args_.positional.empty()) {
      const std::string_view name = name_argument(runtime, args_, 0);
      filter_ = find_filter(name);
      if (filter_ == nullptr) runtime.fail("there is no filter named '{}'", printable(name));
      rest_ = arguments_after(args_, 1);
    } else {
      const Parameters given(runtime, "map", args_, {"attribute", "default"});
      if (!given.given(0)) runtime.fail("map requires a filter argument");
      path_ = AttributePath(runtime, given[0]);
      if (given.given_not_none(1)) fallback_ = given[1];
    }
    items_ = iterate(runtime, source_);
  }

  Value source_;
  Args args_;
  Args rest_;
  Iterator* items_ = nullptr;
  const Filter* filter_ = nullptr;
  AttributePath path_;
  std::optional<Value> fallback_;
};

class Select : public Iterator {
 public:
  Select(Value source, Args args, bool by_attribute, bool wanted)
      : source_(std::move(source)), args_(std::move(args)), by_attribute_(by_attribute), wanted_(wanted) {}

  bool next(Runtime& runtime, Value& out) override {
    const Runtime::Level level(runtime);  // the source may be such a sequence itself
    if (!truth(source_)) return false;
    if (items_ == nullptr) prepare(runtime);
    for (Value item; items_->next(runtime, item);) {
      runtime.charge();
      const Value judged = path_.get(runtime, item);
      const bool holds = test_ != nullptr ? test_->holds(runtime, judged, rest_) : truth(judged);
      if (holds != wanted_) continue;
      out = std::move(item);
      return true;
    }
    return false;
  }

 private:
  void prepare(Runtime& runtime) {
    const size_t num_paths = by_attribute_ ? 1 : 0;
    if (args_.positional.size() < num_paths) runtime.fail("Missing parameter for attribute name");
    if (by_attribute_) path_ = AttributePath(runtime, args_.positional[0]);
    if (args_.positional.size() > num_paths) {
      const std::string_view name = name_argument(runtime, args_, num_paths);
      test_ = find_test(name);
      if (test_ == nullptr) runtime.fail("there is no test named '{}'", printable(name));
      rest_ = arguments_after(args_, num_paths + 1);
    }
    items_ = iterate(runtime, source_);
  }

  Value source_;
  Args args_;
  Args rest_;
  bool by_attribute_;
  bool wanted_;
  Iterator* items_ = nullptr;
  const Test* test_ = nullptr;
  AttributePath path_;
};

Value map(Runtime& runtime, const Value& value, const Args& args) { return Value(runtime.make<Map>(value, args)); }

template <bool ByAttribute, bool Wanted>
Value select(Runtime& runtime, const Value& value, const Args& args) {
  return Value(runtime.make<Select>(value, args, ByAttribute, Wanted));
}

constexpr Filter kFilters[] = {
    {"map", map},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
};

}  // namespace

std::span<const Filter> selection_filters() { return kFilters; }

}  // namespace quire::jinja
