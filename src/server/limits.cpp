#include "server/limits.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

// Parser and templates recurse once a level: a thread's stack holds many times more than this.
constexpr uint64_t kMostLevels = 1000;
// SQLite keeps no value of more than 1,000,000,000 bytes, and short errors follow the answers.
constexpr uint64_t kMostOutputBytes = 900'000'000;

constexpr std::array kLimits = {
    LimitRow{"header_bytes", &Limits::header_bytes},
    LimitRow{"header_fields", &Limits::header_fields},
    LimitRow{"target_bytes", &Limits::target_bytes},
    LimitRow{"body_bytes", &Limits::body_bytes},
    LimitRow{"header_seconds", &Limits::header_seconds},
    LimitRow{"body_seconds", &Limits::body_seconds},
    LimitRow{"idle_seconds", &Limits::idle_seconds},
    LimitRow{"receiving_bytes", &Limits::receiving_bytes},
    LimitRow{"write_stall_seconds", &Limits::write_stall_seconds},
    LimitRow{"write_stall_bytes", &Limits::write_stall_bytes},
    LimitRow{"stream_buffer_bytes", &Limits::stream_buffer_bytes},
    LimitRow{"connections", &Limits::connections},
    LimitRow{"connections_per_address", &Limits::connections_per_address},
    LimitRow{"worker_queue_requests", &Limits::worker_queue_requests},
    LimitRow{"worker_queue_bytes", &Limits::worker_queue_bytes},
    LimitRow{"json_depth", &Limits::json_depth, kMostLevels},
    LimitRow{"choices", &Limits::choices},
    LimitRow{"prompts", &Limits::prompts},
    LimitRow{"messages", &Limits::messages},
    LimitRow{"tools", &Limits::tools},
    LimitRow{"tools_bytes", &Limits::tools_bytes},
    LimitRow{"detokenize_tokens", &Limits::detokenize_tokens},
    LimitRow{"stop_strings", &Limits::stop_strings},
    LimitRow{"stop_bytes", &Limits::stop_bytes},
    LimitRow{"stop_token_ids", &Limits::stop_token_ids},
    LimitRow{"logit_bias_entries", &Limits::logit_bias_entries},
    LimitRow{"bad_words", &Limits::bad_words},
    LimitRow{"bad_word_bytes", &Limits::bad_word_bytes},
    LimitRow{"dry_sequence_breakers", &Limits::dry_sequence_breakers},
    LimitRow{"top_logprobs", &Limits::top_logprobs},
    LimitRow{"logprobs", &Limits::logprobs},
    LimitRow{"prompt_logprobs", &Limits::prompt_logprobs},
    LimitRow{"grammar_bytes", &Limits::grammar_bytes},
    LimitRow{"grammar_nodes", &Limits::grammar_nodes},
    LimitRow{"grammar_depth", &Limits::grammar_depth, kMostLevels},
    LimitRow{"grammar_repeats", &Limits::grammar_repeats},
    LimitRow{"grammar_seconds", &Limits::grammar_seconds},
    LimitRow{"grammar_work", &Limits::grammar_work},
    LimitRow{"grammar_memory_bytes", &Limits::grammar_memory_bytes},
    LimitRow{"grammar_cache_bytes", &Limits::grammar_cache_bytes},
    LimitRow{"grammar_queue_requests", &Limits::grammar_queue_requests},
    LimitRow{"grammar_queue_bytes", &Limits::grammar_queue_bytes},
    LimitRow{"grammar_queue_seconds", &Limits::grammar_queue_seconds},
    LimitRow{"cache_salt_bytes", &Limits::cache_salt_bytes},
    LimitRow{"request_id_bytes", &Limits::request_id_bytes},
    LimitRow{"stored_responses", &Limits::stored_responses},
    LimitRow{"stored_tenant_bytes", &Limits::stored_tenant_bytes},
    LimitRow{"stored_bytes", &Limits::stored_bytes},
    LimitRow{"batch_files", &Limits::batch_files},
    LimitRow{"batches", &Limits::batches},
    LimitRow{"batch_lines", &Limits::batch_lines},
    LimitRow{"batch_lines_at_once", &Limits::batch_lines_at_once},
    LimitRow{"batch_output_bytes", &Limits::batch_output_bytes, kMostOutputBytes},
};

}  // namespace

std::span<const LimitRow> limit_rows() { return kLimits; }

uint64_t LimitRow::get(const Limits& limits) const {
  return number != nullptr ? static_cast<uint64_t>(limits.*number) : limits.*bytes;
}

void LimitRow::set(Limits& limits, uint64_t value) const {
  if (value < 1 || value > most) {
    fail(ErrorCode::kInvalidArgument, "the limit {} is {}; 1 to {} are expected", name, value, most);
  }
  if (number != nullptr) {
    limits.*number = static_cast<int>(value);
  } else {
    limits.*bytes = value;
  }
}

void set_limit(Limits& limits, std::string_view assignment) {
  const size_t equals = std::min(assignment.find('='), assignment.size());
  const std::string_view name = assignment.substr(0, equals);
  const std::string_view text = assignment.substr(std::min(equals + 1, assignment.size()));
  const auto row =
      std::find_if(kLimits.begin(), kLimits.end(), [&](const LimitRow& candidate) { return candidate.name == name; });
  if (row == kLimits.end()) {
    std::string names;
    for (const LimitRow& known : kLimits) names += (names.empty() ? "" : ", ") + std::string(known.name);
    fail(ErrorCode::kInvalidArgument, "there is no limit '{}'; the limits are {}", printable(name, 60), names);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::kInvalidArgument, "the limit {} should be a whole number, written {}=NUMBER, found '{}'", name,
         name, printable(text, 40));
  }
  row->set(limits, value);
}

}  // namespace quire
