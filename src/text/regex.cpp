#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include <chrono>

#include "base/check.h"
#include "base/error.h"
#include "text/utf8.h"

namespace quire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxExpressionBytes = 16 * 1024;
constexpr uint32_t kHeapLimitKib = 256 * 1024;
constexpr size_t kMaxJitStackBytes = 64 * 1024 * 1024;  // address space; touched only as needed
// Backtracking steps of one match: a class repeated over the whole text may legitimately backtrack over all of it.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kMatchLimitPerByte = 8;
// The longest time for one text; ordinary expressions need some 50 ns per byte.
constexpr std::chrono::seconds kBaseTime{5};
constexpr std::chrono::microseconds kTimePerByte{2};
constexpr int kMatchesPerTimeCheck = 64;

std::string message_of(int error) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(error, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// A thread's state for matching; made once per thread.
struct MatchScratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, kMaxJitStackBytes, nullptr);

  MatchScratch() {
    CHECK(data != nullptr && context != nullptr);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);  // else 32 KiB of the thread's own
    pcre2_set_heap_limit(context, kHeapLimitKib);
  }
  ~MatchScratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (stack != nullptr) pcre2_jit_stack_free(stack);
  }
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;
};

pcre2_code* compile(const std::string& pattern, const std::string& original) {
  if (original.size() > kMaxExpressionBytes) {
    fail(ErrorCode::kLimit, "an expression of {} bytes; at most {} are allowed", original.size(), kMaxExpressionBytes);
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // Anchored: for_each_match walks the text itself, so that every start position has its own bounds.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C,
                                   &error, &offset, context.get());
  if (code == nullptr) {
    fail(ErrorCode::kUnsupported, "expression \"{}\" cannot be used: {}", printable(original), message_of(error));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without JIT support the interpreter runs it
  return code;
}

}  // namespace

TextRegex::TextRegex(std::string_view expression)
    : expression_(expression),
      code_(compile(translate_expression(repair_utf8(expression)), expression_), pcre2_code_free) {}

void TextRegex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  thread_local MatchScratch scratch;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const uint64_t limit = kMatchLimit + uint64_t{kMatchLimitPerByte} * text.size();
  pcre2_set_match_limit(scratch.context, static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  const auto deadline = Clock::now() + kBaseTime + kTimePerByte * text.size();

  size_t at = 0;
  size_t last_end = std::string_view::npos;
  for (int tries = 1; at <= text.size(); ++tries) {
    const int rc =
        pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
      fail(ErrorCode::kLimit, "expression \"{}\" on a text of {} bytes: {}", printable(expression_), text.size(),
           message_of(rc));
    }
    if (tries % kMatchesPerTimeCheck == 0 && Clock::now() > deadline) {
      fail(ErrorCode::kLimit, "expression \"{}\" is too slow on a text of {} bytes", printable(expression_),
           text.size());
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.data);
    const size_t begin = rc < 0 ? 0 : std::max<size_t>(ends[0], at);  // \K may move it
    const size_t end = rc < 0 ? 0 : ends[1];
    // An empty match directly after the last match does not count.
    const bool matched = rc >= 0 && begin <= end && !(begin == end && last_end == end);
    if (matched) {
      visit(begin, end);
      last_end = end;
    }
    if (matched && end > at) {
      at = end;
    } else {
      at += at < text.size() ? utf8_size(text[at]) : 1;
    }
  }
}

}  // namespace quire
