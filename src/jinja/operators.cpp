#include "jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "jinja/format.h"
#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

const char* symbol(Op op) {
  constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()", "==", "!=", "<", "<=", ">", ">="};
  return kSymbols[static_cast<int>(op)];
}

[[noreturn]] void unsupported_operands(Runtime& runtime, Op op, const Value& a, const Value& b) {
  runtime.require_defined(a);
  runtime.require_defined(b);
  runtime.fail("TypeError: unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a), type_name(b));
}

[[noreturn]] void integer_overflow(Runtime& runtime) {
  runtime.raise(ErrorCode::kLimit, "an integer of the template needs more than 128 bits");
}

class VectorIterator : public Iterator {
 public:
  VectorIterator(Value owner, const std::vector<Value>& items) : owner_(std::move(owner)), items_(items) {}
  bool next(Runtime&, Value& out) override {
    if (at_ >= items_.size()) return false;
    out = items_[at_++];
    return true;
  }

 private:
  Value owner_;
  const std::vector<Value>& items_;
  size_t at_ = 0;
};

class StringIterator : public Iterator {
 public:
  explicit StringIterator(Value text) : text_(std::move(text)) {}
  bool next(Runtime& runtime, Value& out) override {
    const std::string_view text = text_.str();
    if (at_ >= text.size()) return false;
    const size_t num_bytes = decode_at(text, at_).num_bytes;
    MarkedText character;
    text_.text().append_to(character, text.substr(at_, num_bytes));
    out = runtime.string(std::move(character));
    at_ += num_bytes;
    return true;
  }

 private:
  Value text_;
  size_t at_ = 0;
};

class DictIterator : public Iterator {
 public:
  DictIterator(const Dict* dict, DictView::Part part) : dict_(dict), part_(part) {}
  bool next(Runtime& runtime, Value& out) override {
    if (at_ >= dict_->entries.size()) return false;
    const auto& [key, value] = dict_->entries[at_++];
    switch (part_) {
      case DictView::Part::kKeys: out = key; break;
      case DictView::Part::kValues: out = value; break;
      case DictView::Part::kItems: out = runtime.tuple({key, value}); break;
    }
    return true;
  }

 private:
  const Dict* dict_;
  DictView::Part part_;
  size_t at_ = 0;
};

class RangeIterator : public Iterator {
 public:
  explicit RangeIterator(const Range* range) : range_(range), left_(range->length()) {}
  bool next(Runtime&, Value& out) override {
    if (left_ == 0) return false;
    out = Value(range_->start + range_->step * static_cast<Int>(range_->length() - left_));
    --left_;
    return true;
  }

 private:
  const Range* range_;
  size_t left_;
};

bool equal_items(Runtime& runtime, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].is_same(b[i]) && !equals(runtime, a[i], b[i])) return false;
  }
  return true;
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(key);
    if (other == nullptr || !(value.is_same(*other) || equals(runtime, value, *other))) return false;
  }
  return true;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_float() && b.is_float()) return a.floating() == b.floating();
  if ((a.is_float() && std::isnan(a.floating())) || (b.is_float() && std::isnan(b.floating()))) return false;
  const KeyLess key_less;
  return !key_less(a, b) && !key_less(b, a);
}

bool less_numbers(const Value& a, const Value& b) {
  if (a.is_float() && b.is_float()) return a.floating() < b.floating();
  if ((a.is_float() && std::isnan(a.floating())) || (b.is_float() && std::isnan(b.floating()))) return false;
  return KeyLess()(a, b);
}

Value power(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && b.integer() >= 0) {
    Int result = 1;
    Int base = a.integer();
    for (Int exponent = b.integer(); exponent > 0; exponent >>= 1) {
      if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) integer_overflow(runtime);
      if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) integer_overflow(runtime);
    }
    return Value(result);
  }
  const double base = a.as_double();
  const double exponent = b.as_double();
  if (base == 0 && exponent < 0) runtime.fail("ZeroDivisionError: 0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(exponent) && std::floor(exponent) != exponent) {
    runtime.fail("a negative number to a fractional power is complex, which templates do not have here");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    runtime.fail("OverflowError: numerical result out of range");
  }
  return Value(result);
}

Value integer_arithmetic(Runtime& runtime, Op op, Int a, Int b) {
  Int result = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd: overflow = __builtin_add_overflow(a, b, &result); break;
    case Op::kSub: overflow = __builtin_sub_overflow(a, b, &result); break;
    case Op::kMul: overflow = __builtin_mul_overflow(a, b, &result); break;
    default: {  // floor division and modulo
      if (b == 0) runtime.fail("ZeroDivisionError: integer division or modulo by zero");
      if (b == -1) {
        if (op == Op::kMod) return Value(0);
        overflow = __builtin_sub_overflow(Int{0}, a, &result);
        break;
      }
      const Int quotient = a / b;
      const Int rest = a % b;
      const bool adjust = rest != 0 && (rest < 0) != (b < 0);
      result = op == Op::kMod ? rest + (adjust ? b : 0) : quotient - (adjust ? 1 : 0);
    }
  }
  if (overflow) integer_overflow(runtime);
  return Value(result);
}

// Floor division and modulo of doubles with the sign and exactness rules of CPython's float_divmod.
Value float_divmod(Runtime& runtime, Op op, double a, double b) {
  if (b == 0) runtime.fail("ZeroDivisionError: float floor division by zero");
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1.0;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (op == Op::kMod) return Value(rest);
  if (quotient == 0) return Value(std::copysign(0.0, a / b));
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1.0;
  return Value(whole);
}

Value arithmetic(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (op == Op::kPow) return power(runtime, a, b);
  if (op == Op::kDiv) {
    if (b.as_double() == 0) runtime.fail("ZeroDivisionError: division by zero");
    return Value(a.as_double() / b.as_double());
  }
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(runtime, op, a.integer(), b.integer());
  const double x = a.as_double();
  const double y = b.as_double();
  switch (op) {
    case Op::kAdd: return Value(x + y);
    case Op::kSub: return Value(x - y);
    case Op::kMul: return Value(x * y);
    default: return float_divmod(runtime, op, x, y);
  }
}

Value concatenate(Runtime& runtime, const Value& a, const Value& b) {
  const bool markup = a.is_markup() || b.is_markup();
  const Value left = markup ? escape(runtime, a) : a;
  const Value right = markup ? escape(runtime, b) : b;
  runtime.check_allocation(left.str().size() + right.str().size());
  MarkedText joined;
  joined.text.reserve(left.str().size() + right.str().size());
  left.text().append_to(joined);
  right.text().append_to(joined);
  return runtime.string(std::move(joined), markup);
}

Value repeat(Runtime& runtime, const Value& value, Int times) {
  const size_t size =
      value.is_string() ? value.str().size() + value.text().data.size_bytes() : value.items().size() * sizeof(Value);
  if (times < 0 || size == 0) times = 0;
  if (times > 0 && times > static_cast<Int>(runtime.limits().memory_bytes / size)) {
    runtime.check_allocation(runtime.limits().memory_bytes + 1);
  }
  const auto count = static_cast<size_t>(times);
  runtime.check_allocation(size * count);
  runtime.charge_bytes(size * count);
  if (value.is_string()) {
    MarkedText text;
    text.text.reserve(value.str().size() * count);
    for (size_t i = 0; i < count; ++i) value.text().append_to(text);
    return runtime.string(std::move(text), value.is_markup());
  }
  std::vector<Value> items;
  items.reserve(value.items().size() * count);
  for (size_t i = 0; i < count; ++i) items.insert(items.end(), value.items().begin(), value.items().end());
  return value.is_object(ObjectKind::kList) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

Value merge_items(Runtime& runtime, const Value& a, const Value& b) {
  std::vector<Value> items;
  const size_t size = a.items().size() + b.items().size();
  runtime.check_allocation(size * sizeof(Value));
  items.reserve(size);
  items.insert(items.end(), a.items().begin(), a.items().end());
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_object(ObjectKind::kList) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

// The element indices a Python slice selects from `size` elements: first index, step and count.
struct SlicePlan {
  Int first, step;
  size_t count;
};

constexpr Int kMaxIndex = Int{1} << 62;

Int slice_bound(Runtime& runtime, const Value& value, Int fallback) {
  if (value.is_none()) return fallback;
  if (!value.is_integral()) {
    runtime.fail("TypeError: slice indices must be integers or None or have an __index__ method");
  }
  return std::clamp(value.integer(), -kMaxIndex, kMaxIndex);  // any index beyond is beyond every sequence
}

SlicePlan plan_slice(Runtime& runtime, size_t size, const Value& start, const Value& stop, const Value& by) {
  const Int step = slice_bound(runtime, by, 1);
  if (step == 0) runtime.fail("ValueError: slice step cannot be zero");
  const Int length = static_cast<Int>(size);
  const Int lower = step < 0 ? -1 : 0;
  const Int upper = step < 0 ? length - 1 : length;
  const auto clamp = [&](Int index) { return std::clamp(index < 0 ? index + length : index, lower, upper); };
  const Int first = start.is_none() ? (step < 0 ? upper : lower) : clamp(slice_bound(runtime, start, 0));
  const Int last = stop.is_none() ? (step < 0 ? lower : upper) : clamp(slice_bound(runtime, stop, 0));
  return {first, step, Range(first, last, step).length()};
}

}  // namespace

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_bool()) return value.boolean();
  if (value.is_int()) return value.integer() != 0;
  if (value.is_float()) return value.floating() != 0;
  const auto size = length(value);
  return !size || *size > 0;
}

bool equals(Runtime& runtime, const Value& a, const Value& b) {
  runtime.charge();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    runtime.charge_bytes(std::min(a.str().size(), b.str().size()));
    return a.str() == b.str();
  }
  if (a.object() == nullptr || b.object() == nullptr) return a.is_none() && b.is_none();
  if (a.object() == b.object()) return true;
  const Runtime::Level level(runtime);
  if (a.object()->kind != b.object()->kind) return false;
  if (a.is_sequence()) return equal_items(runtime, a.items(), b.items());
  if (const auto* dict = a.as<Dict>()) return equal_dicts(runtime, *dict, *b.as<Dict>());
  if (const auto* range = a.as<Range>()) {
    const auto* other = b.as<Range>();
    return range->length() == other->length() &&
           (range->length() == 0 ||
            (range->start == other->start && (range->length() == 1 || range->step == other->step)));
  }
  if (const auto* view = a.as<DictView>()) {
    const auto* other = b.as<DictView>();
    if (view->part != other->part || view->part == DictView::Part::kValues) return false;
    if (view->part == DictView::Part::kItems) return equal_dicts(runtime, *view->dict, *other->dict);
    return view->dict->entries.size() == other->dict->entries.size() &&
           std::all_of(view->dict->entries.begin(), view->dict->entries.end(),
                       [&](const auto& entry) { return other->dict->find(entry.first) != nullptr; });
  }
  return false;
}

bool less(Runtime& runtime, const Value& a, const Value& b) {
  runtime.charge();
  if (a.is_number() && b.is_number()) return less_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    runtime.charge_bytes(std::min(a.str().size(), b.str().size()));
    return a.str() < b.str();
  }
  if (a.is_sequence() && b.is_sequence() && a.object()->kind == b.object()->kind) {
    const Runtime::Level level(runtime);
    const auto& left = a.items();
    const auto& right = b.items();
    for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
      if (!left[i].is_same(right[i]) && !equals(runtime, left[i], right[i])) return less(runtime, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  unsupported_operands(runtime, Op::kLt, a, b);
}

bool compare(Runtime& runtime, Op op, const Value& a, const Value& b) {
  switch (op) {
    case Op::kEq: return equals(runtime, a, b);
    case Op::kNe: return !equals(runtime, a, b);
    case Op::kIn: return contains(runtime, b, a);
    case Op::kNotIn: return !contains(runtime, b, a);
    case Op::kLt: return less(runtime, a, b);
    case Op::kGt: return less(runtime, b, a);
    default: break;
  }
  const Value& low = op == Op::kLe ? a : b;
  const Value& high = op == Op::kLe ? b : a;
  const bool with_nan =
      low.is_number() && high.is_number() && (std::isnan(low.as_double()) || std::isnan(high.as_double()));
  const bool above = less(runtime, high, low);
  return !above && !with_nan;
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      runtime.fail("TypeError: 'in <string>' requires string as left operand, not {}", type_name(item));
    }
    runtime.charge_bytes(container.str().size());
    return find_text(container.str(), item.str()) != std::string_view::npos;
  }
  const auto* view = container.as<DictView>();
  const Dict* dict = view != nullptr && view->part == DictView::Part::kKeys ? view->dict : container.as<Dict>();
  if (dict != nullptr) {
    runtime.charge_key(item);
    return dict->find(item) != nullptr;
  }
  if (!is_iterable(container)) {
    runtime.fail("TypeError: argument of type '{}' is not iterable", type_name(container));
  }
  Iterator* iterator = iterate(runtime, container);
  for (Value element; iterator->next(runtime, element);) {
    if (element.is_same(item) || equals(runtime, element, item)) return true;
  }
  return false;
}

Value binary(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return arithmetic(runtime, op, a, b);
  if (op == Op::kAdd) {
    if (a.is_string() && b.is_string()) return concatenate(runtime, a, b);
    if (a.is_sequence() && b.is_sequence() && a.object()->kind == b.object()->kind) return merge_items(runtime, a, b);
    if (a.is_string() && !b.is_undefined()) {
      runtime.fail("TypeError: can only concatenate str (not \"{}\") to str", type_name(b));
    }
  }
  if (op == Op::kMul) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral()) return repeat(runtime, a, b.integer());
    if ((b.is_string() || b.is_sequence()) && a.is_integral()) return repeat(runtime, b, a.integer());
  }
  if (op == Op::kMod && a.is_string()) return format_percent(runtime, a, b);
  unsupported_operands(runtime, op, a, b);
}

Value negate(Runtime& runtime, const Value& value, bool minus) {
  if (value.is_float()) return Value(minus ? -value.floating() : value.floating());
  if (!value.is_integral()) {
    runtime.require_defined(value);
    runtime.fail("TypeError: bad operand type for unary {}: '{}'", minus ? '-' : '+', type_name(value));
  }
  return minus ? integer_arithmetic(runtime, Op::kSub, 0, value.integer()) : Value(value.integer());
}

std::optional<size_t> length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return value.text().num_points;
  if (value.is_sequence()) return value.items().size();
  if (const auto* dict = value.as<Dict>()) return dict->entries.size();
  if (const auto* view = value.as<DictView>()) return view->dict->entries.size();
  if (const auto* range = value.as<Range>()) return range->length();
  return std::nullopt;
}

bool is_iterable(const Value& value) { return length(value).has_value() || value.is_object(ObjectKind::kIterator); }

Iterator* iterate(Runtime& runtime, const Value& value) {
  static const std::vector<Value> kNothing;
  if (value.is_undefined()) return runtime.make<VectorIterator>(value, kNothing);
  if (value.is_sequence()) return runtime.make<VectorIterator>(value, value.items());
  if (value.is_string()) return runtime.make<StringIterator>(value);
  if (const auto* dict = value.as<Dict>()) return runtime.make<DictIterator>(dict, DictView::Part::kKeys);
  if (const auto* view = value.as<DictView>()) return runtime.make<DictIterator>(view->dict, view->part);
  if (const auto* range = value.as<Range>()) return runtime.make<RangeIterator>(range);
  if (auto* iterator = value.as<Iterator>()) return iterator;
  runtime.fail("TypeError: '{}' object is not iterable", type_name(value));
}

std::vector<Value> to_vector(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  if (value.is_sequence()) {
    runtime.check_allocation(value.items().size() * sizeof(Value));
    runtime.charge_items(value.items().size());
    return value.items();
  }
  Iterator* iterator = iterate(runtime, value);
  for (Value item; iterator->next(runtime, item);) {
    runtime.charge();
    items.push_back(item);
  }
  return items;
}

std::optional<Value> find_item(Runtime& runtime, const Value& value, const Value& key) {
  if (const auto* dict = value.as<Dict>()) {
    if (!is_hashable(key)) return std::nullopt;
    runtime.charge_key(key);
    const Value* found = dict->find(key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  const bool indexed = value.is_string() || value.is_sequence() || value.is_object(ObjectKind::kRange);
  if (!indexed || !key.is_integral()) return std::nullopt;
  const Int size = static_cast<Int>(*length(value));
  Int index = key.integer();
  if (index < 0 && index >= -size) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  if (value.is_sequence()) return value.items()[static_cast<size_t>(index)];
  if (const auto* range = value.as<Range>()) return Value(range->start + range->step * index);
  const std::string_view text = value.str();
  auto at = static_cast<size_t>(index);
  if (!value.text().is_ascii()) {
    runtime.charge_bytes(text.size());
    at = point_offset(text, at);
  }
  return runtime.part(value, text.substr(at, decode_at(text, at).num_bytes));
}

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.is_undefined()) runtime.require_defined(value);
  const auto* range = value.as<Range>();
  if (!value.is_string() && !value.is_sequence() && range == nullptr) {
    runtime.fail("TypeError: '{}' object is not subscriptable", type_name(value));
  }
  const SlicePlan plan = plan_slice(runtime, *length(value), start, stop, step);
  if (range != nullptr) {
    const Int first = range->start + range->step * plan.first;
    const Int by = range->step * plan.step;
    return Value(runtime.make<Range>(first, first + by * static_cast<Int>(plan.count), by));
  }
  if (value.is_sequence()) {
    std::vector<Value> items;
    runtime.check_allocation(plan.count * sizeof(Value));
    items.reserve(plan.count);
    for (size_t i = 0; i < plan.count; ++i) {
      items.push_back(value.items()[static_cast<size_t>(plan.first + plan.step * static_cast<Int>(i))]);
    }
    return value.is_object(ObjectKind::kList) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
  }
  const std::string_view text = value.str();
  runtime.charge_bytes(text.size());
  if (plan.step == 1) {
    const bool ascii = value.text().is_ascii();
    const auto first = static_cast<size_t>(plan.first);
    const size_t from = ascii ? first : point_offset(text, first);
    const size_t size = ascii ? plan.count : point_offset(text.substr(from), plan.count);
    return runtime.part(value, text.substr(from, size));
  }
  std::vector<uint32_t> offsets;  // of each code point
  offsets.reserve(value.text().num_points + 1);
  for (size_t at = 0; at < text.size(); at += decode_at(text, at).num_bytes) {
    offsets.push_back(static_cast<uint32_t>(at));
  }
  offsets.push_back(static_cast<uint32_t>(text.size()));
  MarkedText out;
  for (size_t i = 0; i < plan.count; ++i) {
    const auto index = static_cast<size_t>(plan.first + plan.step * static_cast<Int>(i));
    value.text().append_to(out, text.substr(offsets[index], offsets[index + 1] - offsets[index]));
  }
  return runtime.string(std::move(out), value.is_markup());
}

Value escape(Runtime& runtime, const Value& value) {
  if (value.is_markup()) return value;
  const MarkedText text = to_text(runtime, value);
  MarkedText out;
  for (const char c : text.text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  if (!text.data.empty()) out.mark();
  return runtime.string(std::move(out), true);
}

}  // namespace quire::jinja
