// CHECK: a programmer's error; always on, ends the process with the place and the condition. DCHECK: the same in debug
// builds only, for inner loops. Neither checks input from outside: bad input is an Error.
#pragma once

namespace quire {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::quire::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define DCHECK(condition) void(sizeof(condition))
#else
#define DCHECK(condition) CHECK(condition)
#endif
