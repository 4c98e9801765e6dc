#include "jinja/loop.h"

#include "jinja/functions.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"

namespace quire::jinja {
namespace {

bool peek(Runtime& runtime, Loop& loop) {
  if (loop.after) return true;
  Value item;
  if (!loop.iterator->next(runtime, item)) return false;
  loop.after = std::move(item);
  return true;
}

Value cycle(Runtime& runtime, const Value& self, Args& args) {
  if (args.positional.empty()) runtime.fail("TypeError: no items for cycling given");
  const auto* loop = self.as<Loop>();
  return args.positional[static_cast<size_t>(loop->index0) % args.positional.size()];
}

Value changed(Runtime& runtime, const Value& self, Args& args) {
  auto* loop = self.as<Loop>();
  Value values = runtime.tuple(args.positional);
  if (loop->last_changed && equals(runtime, *loop->last_changed, values)) return Value(false);
  loop->last_changed = std::move(values);
  return Value(true);
}

}  // namespace

bool Loop::advance(Runtime& runtime) {
  Value item;
  if (after) {
    item = std::move(*after);
    after.reset();
  } else if (!iterator->next(runtime, item)) {
    return false;
  }
  ++index0;
  before = std::move(current);
  current = std::move(item);
  return true;
}

size_t Loop::length(Runtime& runtime) {
  if (known_length) return *known_length;
  const auto size = is_filtered ? std::nullopt : jinja::length(source);
  if (size) {
    known_length = size;
  } else {  // a generator: take all the rest now
    const Value rest = runtime.list(to_vector(runtime, Value(iterator)));
    iterator = iterate(runtime, rest);
    known_length = rest.items().size() + static_cast<size_t>(index0 + 1) + (after ? 1 : 0);
  }
  return *known_length;
}

Value Loop::attribute(Runtime& runtime, std::string_view name) {
  if (name == "index") return Value(index0 + 1);
  if (name == "index0") return Value(index0);
  if (name == "first") return Value(index0 == 0);
  if (name == "last") return Value(!peek(runtime, *this));
  if (name == "length") return Value(length(runtime));
  if (name == "revindex") return Value(static_cast<Int>(length(runtime)) - index0);
  if (name == "revindex0") return Value(static_cast<Int>(length(runtime)) - index0 - 1);
  if (name == "previtem") return index0 == 0 ? runtime.undefined("there is no previous item") : before;
  if (name == "nextitem") return peek(runtime, *this) ? *after : runtime.undefined("there is no next item");
  if (name == "depth") return Value(depth0 + 1);
  if (name == "depth0") return Value(depth0);
  if (name == "cycle") return Value(runtime.make<Method>("cycle", Value(this), cycle));
  if (name == "changed") return Value(runtime.make<Method>("changed", Value(this), changed));
  return runtime.undefined("'LoopContext' has no attribute '{}'", printable(name));
}

}  // namespace quire::jinja
