// What one rendering owns: its objects, its budgets and its current line (for error messages). One thread; created per
// rendering. Everything that a hostile template can make large or deep is counted here.
#pragma once

#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "jinja/value.h"

namespace quire::jinja {

struct Limits {
  size_t operations = 500'000;       // statements, calls, loop turns ...; also one for every kBytesPerOperation touched
  size_t depth = 400;                // nested evaluation: macros calling macros, expressions in expressions
  size_t output_bytes = 4u << 20;    // of the rendering, and of every captured block
  size_t memory_bytes = 256u << 20;  // of intermediate values alive at one time
};

constexpr size_t kBytesPerOperation = 1024;

class Runtime {
 public:
  Runtime(const Limits& limits, std::tm now) : limits_(limits), now_(now) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Budgets. Each throws Error kLimit when it is spent.
  void charge(size_t operations = 1) {
    if (operations > limits_.operations - spent_) over_limit("operations", limits_.operations);
    spent_ += operations;
  }
  void charge_bytes(size_t bytes) { charge(bytes / kBytesPerOperation); }
  void charge_items(size_t count) { charge(count / 8); }
  // Refuses a value of this size before it is allocated.
  void check_allocation(size_t bytes) const {
    if (bytes > limits_.memory_bytes - held_) over_limit("bytes of memory", limits_.memory_bytes);
  }
  // For comparing a dict's key with the keys along its search.
  void charge_key(const Value& key);
  void hold_output(size_t bytes) {
    check_allocation(bytes);
    held_ += bytes;
  }
  void release_output(size_t bytes) { held_ -= bytes; }
  void hold_text(size_t bytes) { held_ += bytes + sizeof(Text); }
  void release_text(size_t bytes) { held_ -= bytes + sizeof(Text); }
  size_t operations_spent() const { return spent_; }
  const Limits& limits() const { return limits_; }

  // Counts one level of nesting while it lives.
  class Level {
   public:
    explicit Level(Runtime& runtime) : runtime_(runtime) {
      if (runtime.depth_ >= runtime.limits_.depth) runtime.over_limit("levels of nesting", runtime.limits_.depth);
      ++runtime.depth_;
    }
    ~Level() { --runtime_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Runtime& runtime_;
  };

  // Values.
  Value string(MarkedText text, bool markup = false);
  Value own(std::string text);  // characters that no value of the caller can choose
  // The name of a keyword argument. Data, because `**values` may have named it.
  Value keyword(std::string name);
  // A piece of a string, which must lie in it; with the string's markup.
  Value part(const Value& source, std::string_view piece);
  // Text computed from a string's characters: data as a whole if any of them is. With the string's markup.
  Value rewritten(const Value& source, std::string text);
  Value borrowed(std::string_view text, bool is_data);  // the caller keeps the bytes alive for the whole rendering
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  template <typename T, typename... Args>
  T* make(Args&&... args) {
    check_allocation(sizeof(T));
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* result = object.get();
    held_ += sizeof(T) + sizeof(object);
    objects_.push_back(std::move(object));
    return result;
  }
  void dict_set(Dict& dict, const Value& key, Value value);  // throws for an unhashable key
  template <typename... Parts>
  Value undefined(fmt::format_string<Parts...> format, Parts&&... parts) {
    return Value(Undefined{std::make_shared<const std::string>(fmt::format(format, std::forward<Parts>(parts)...))});
  }

  // An error raised by the template, with its line: Error kInvalidArgument.
  template <typename... Parts>
  [[noreturn]] void fail(fmt::format_string<Parts...> format, Parts&&... parts) const {
    raise(ErrorCode::kInvalidArgument, fmt::format(format, std::forward<Parts>(parts)...));
  }
  [[noreturn]] void raise(ErrorCode code, const std::string& message) const;
  // Raises what using this undefined value raises; does nothing for a defined one.
  void require_defined(const Value& value) const;

  int line = 1;
  const std::tm& now() const { return now_; }

 private:
  [[noreturn]] void over_limit(const char* what, size_t limit) const;

  Limits limits_;
  std::tm now_;
  size_t spent_ = 0;
  size_t held_ = 0;
  size_t depth_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;  // last member: objects hold strings that are counted in this runtime
};

// The arguments of a builtin matched to its parameter names, as Python matches them.
class Parameters {
 public:
  Parameters(Runtime& runtime, std::string_view function, const Args& args,
             std::initializer_list<std::string_view> names, size_t num_required = 0);
  bool given(size_t i) const { return values_[i] != nullptr; }
  bool given_not_none(size_t i) const { return given(i) && !values_[i]->is_none(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  bool flag(size_t i, bool fallback) const;
  Int integer(size_t i, Int fallback) const;
  std::string_view text(size_t i, std::string_view fallback) const;

 private:
  Runtime& runtime_;
  std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace quire::jinja
