#include "jinja/functions.h"

#include <array>

#include "jinja/filters.h"
#include "jinja/format.h"
#include "jinja/operators.h"

namespace quire::jinja {
namespace {

constexpr size_t kMaxRange = 100'000;  // Jinja's sandbox has the same
constexpr Int kMaxBound = Int{1} << 62;

Value range(Runtime& runtime, Args& args) {
  const Parameters given(runtime, "range", args, {"", "", ""}, 1);
  const Int step = given.integer(2, 1);
  const Int start = given.given(1) ? given.integer(0, 0) : 0;
  const Int stop = given.integer(given.given(1) ? 1 : 0, 0);
  for (const Int bound : {start, stop, step}) {
    if (bound > kMaxBound || bound < -kMaxBound) runtime.raise(ErrorCode::kLimit, "a bound of range() is too large");
  }
  if (step == 0) runtime.fail("ValueError: range() arg 3 must not be zero");
  auto* result = runtime.make<Range>(start, stop, step);
  if (result->length() > kMaxRange) {
    runtime.raise(ErrorCode::kLimit, fmt::format("range() of the template has more than {} items", kMaxRange));
  }
  return Value(result);
}

// dict(...): from a mapping or from pairs, then keywords.
void fill_dict(Runtime& runtime, Dict& dict, const Args& args) {
  if (args.positional.size() > 1) runtime.fail("TypeError: dict expected at most 1 argument");
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (const auto* other = source.as<Dict>()) {
      runtime.charge_items(other->entries.size());
      for (const auto& [key, value] : other->entries) runtime.dict_set(dict, key, value);
    } else {
      for (const Value& pair : to_vector(runtime, source)) {
        const std::vector<Value> parts = to_vector(runtime, pair);
        if (parts.size() != 2) runtime.fail("ValueError: dict() needs pairs, got {} values", parts.size());
        runtime.dict_set(dict, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) runtime.dict_set(dict, runtime.keyword(name), value);
}

Value make_dict(Runtime& runtime, Args& args) {
  auto* dict = runtime.make<Dict>();
  fill_dict(runtime, *dict, args);
  return Value(dict);
}

Value make_namespace(Runtime& runtime, Args& args) {
  auto* space = runtime.make<Namespace>();
  fill_dict(runtime, space->attributes, args);
  for (const auto& [name, value] : space->attributes.entries) {
    if (name.is_string() && name.str().starts_with('_')) {
      runtime.fail("SecurityError: the attribute '{}' of a namespace starts with an underscore", printable(name.str()));
    }
  }
  return Value(space);
}

Value cycler(Runtime& runtime, Args& args) {
  if (args.positional.empty()) runtime.fail("at least one item has to be provided to cycler()");
  return Value(runtime.make<Cycler>(args.positional));
}

class Joiner : public Callable {
 public:
  explicit Joiner(Value separator) : Callable("joiner"), separator_(std::move(separator)) {}
  Value call(Runtime& runtime, Args&) override { return std::exchange(used_, true) ? separator_ : runtime.own(""); }

 private:
  Value separator_;
  bool used_ = false;
};

Value joiner(Runtime& runtime, Args& args) {
  const Parameters given(runtime, "joiner", args, {"sep"});
  return Value(runtime.make<Joiner>(given.given(0) ? given[0] : runtime.own(", ")));
}

Value raise_exception(Runtime& runtime, Args& args) {
  const Parameters given(runtime, "raise_exception", args, {"message"}, 1);
  runtime.raise(ErrorCode::kInvalidArgument, to_text(runtime, given[0]).text);
}

// Directives are formatted one at a time, so that no padding flag can turn a short format into a long text.
Value strftime_now(Runtime& runtime, Args& args) {
  const Parameters given(runtime, "strftime_now", args, {"format"}, 1);
  const std::string_view format = given.text(0, "");
  runtime.charge_bytes(format.size() * 16);
  constexpr std::string_view kFlags = "-_0^#";
  constexpr std::string_view kDirectives = "aAwdbBmyYHIpMSjUWcxXGuVCDeFgGhklnrRsTt";
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at];
      continue;
    }
    std::string directive = "%";
    if (kFlags.find(format[at + 1]) != std::string_view::npos) directive += format[++at];
    const char letter = at + 1 < format.size() ? format[++at] : ' ';
    directive += letter;
    if (letter == '%') {
      out += '%';
    } else if (letter == 'f') {
      out += "000000";
    } else if (letter == 'z' || letter == 'Z') {
      continue;  // the time has no zone
    } else if (kDirectives.find(letter) != std::string_view::npos) {
      std::array<char, 256> buffer{};
      out.append(buffer.data(), std::strftime(buffer.data(), buffer.size(), directive.c_str(), &runtime.now()));
    } else {
      out += directive;
    }
  }
  return runtime.rewritten(given[0], std::move(out));
}

}  // namespace

Value find_function(Runtime& runtime, std::string_view name) {
  constexpr std::pair<std::string_view, Function::Body> kFunctions[] = {
      {"cycler", cycler},
      {"dict", make_dict},
      {"joiner", joiner},
      {"namespace", make_namespace},
      {"raise_exception", raise_exception},
      {"range", range},
      {"strftime_now", strftime_now},
  };
  for (const auto& [function_name, body] : kFunctions) {
    if (function_name == name) return Value(runtime.make<Function>(std::string(name), body));
  }
  return Value();
}

}  // namespace quire::jinja
