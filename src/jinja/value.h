// The values a template computes with: Python's None, bool, int, float, str, list, tuple, dict and what Jinja adds
// (undefined, namespaces, loops, callables, one-pass iterators).
//
// A Value is small and copied freely. Strings are reference counted and immutable. Every other compound value is an
// Object owned by the Runtime of one rendering and freed with it, so cycles (a macro sees itself) need no collector.
// Nothing here is shared between renderings except the string constants of a parsed template, which never change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/marked_text.h"

namespace quire::jinja {

class Runtime;
class Value;

// Python's integers have no bound; 128 bits cover every 64-bit JSON number and its arithmetic. Larger ones are Error
// kLimit.
using Int = __int128;

struct Text {
  MarkedText owned;                // empty when `view` points into the caller's context
  TextSpan whole{};                // what `data` shows then, if the text is data
  std::string_view view;           // UTF-8
  std::span<const TextSpan> data;  // the bytes of `view` that came from the caller's values
  size_t num_points = 0;           // code points
  bool markup = false;             // marked safe for HTML: Jinja's Markup, which escapes what is added to it
  Runtime* accounts = nullptr;     // the runtime that counts its memory; null for a template's constants

  Text(MarkedText text, bool is_markup, Runtime* runtime);
  Text(std::string_view borrowed, bool is_data, Runtime* runtime);
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  ~Text();
  bool is_ascii() const { return num_points == view.size(); }
  bool has_data(std::string_view part) const;  // whether some byte of this part of it is data
  void append_to(MarkedText& out) const { out.append(view, data, view); }
  void append_to(MarkedText& out, std::string_view part) const { out.append(view, data, part); }
};

enum class ObjectKind : uint8_t {
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,
  kNamespace,
  kCallable,
  kLoop,
  kCycler,
  kScope,
};

struct Object {
  explicit Object(ObjectKind object_kind) : kind(object_kind) {}
  virtual ~Object() = default;
  const ObjectKind kind;
};

struct Undefined {
  std::shared_ptr<const std::string> why;  // the message of the error that most uses raise
};
struct None {};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(Int value) : data_(value) {}
  Value(int value) : data_(static_cast<Int>(value)) {}
  Value(int64_t value) : data_(static_cast<Int>(value)) {}
  Value(size_t value) : data_(static_cast<Int>(value)) {}
  Value(double value) : data_(value) {}
  Value(std::shared_ptr<const Text> text) : data_(std::move(text)) {}
  Value(Object* object) : data_(object) {}
  Value(const void*) = delete;

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<Int>(data_); }  // false for bool
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_integral() const { return is_int() || is_bool(); }
  bool is_number() const { return is_integral() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
  bool is_object(ObjectKind kind) const { return object() != nullptr && object()->kind == kind; }
  bool is_sequence() const { return is_object(ObjectKind::kList) || is_object(ObjectKind::kTuple); }

  const Undefined& undefined() const { return std::get<Undefined>(data_); }
  bool boolean() const { return std::get<bool>(data_); }
  Int integer() const { return is_bool() ? static_cast<Int>(boolean()) : std::get<Int>(data_); }
  double floating() const { return std::get<double>(data_); }
  double as_double() const { return is_float() ? floating() : static_cast<double>(integer()); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  std::string_view str() const { return text().view; }
  bool is_markup() const { return is_string() && text().markup; }
  Object* object() const {
    const auto* object = std::get_if<Object*>(&data_);
    return object == nullptr ? nullptr : *object;
  }
  // The object as a T when it is one, else null.
  template <typename T>
  T* as() const {
    return is_object(T::kKind) ? static_cast<T*>(object()) : nullptr;
  }
  const std::vector<Value>& items() const;  // of a list or a tuple

  bool is_same(const Value& other) const;  // Python's `is`

 private:
  std::variant<Undefined, None, bool, Int, double, std::shared_ptr<const Text>, Object*> data_;
};

struct Sequence : Object {
  Sequence(ObjectKind list_or_tuple, std::vector<Value> values) : Object(list_or_tuple), items(std::move(values)) {}
  std::vector<Value> items;
};

// A total order over hashable values in which equal keys (1, 1.0, True) are equivalent. Ordered search instead of
// hashing rules out collisions made by an attacker.
struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

struct Dict : Object {
  static constexpr ObjectKind kKind = ObjectKind::kDict;
  Dict() : Object(kKind) {}
  const Value* find(const Value& key) const;
  void set(const Value& key, Value value);
  std::vector<std::pair<Value, Value>> entries;  // in order of first insertion

 private:
  std::map<Value, size_t, KeyLess> index_;  // only for large dicts
};

struct DictView : Object {
  static constexpr ObjectKind kKind = ObjectKind::kDictView;
  enum class Part { kKeys, kValues, kItems };
  DictView(Dict* of, Part which) : Object(kKind), dict(of), part(which) {}
  Dict* dict;
  Part part;
};

struct Range : Object {
  static constexpr ObjectKind kKind = ObjectKind::kRange;
  Range(Int first, Int end, Int by) : Object(kKind), start(first), stop(end), step(by) {}
  size_t length() const;
  Int start, stop, step;
};

// A one-pass sequence: what generators are in Python. It has no length and is always true.
struct Iterator : Object {
  static constexpr ObjectKind kKind = ObjectKind::kIterator;
  Iterator() : Object(kKind) {}
  virtual bool next(Runtime& runtime, Value& out) = 0;
};

struct Namespace : Object {
  static constexpr ObjectKind kKind = ObjectKind::kNamespace;
  Namespace() : Object(kKind) {}
  Dict attributes;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable : Object {
  static constexpr ObjectKind kKind = ObjectKind::kCallable;
  explicit Callable(std::string function_name) : Object(kKind), name(std::move(function_name)) {}
  virtual Value call(Runtime& runtime, Args& args) = 0;
  virtual Value attribute(Runtime& runtime, std::string_view attribute_name);  // undefined unless it has some
  virtual std::string description() const;                                     // its text when printed
  std::string name;
};

// Names for error messages, as Python gives them: "str", "int", "NoneType" ...
const char* type_name(const Value& value);
bool is_hashable(const Value& value);

}  // namespace quire::jinja
