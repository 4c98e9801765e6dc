#include "apps/generation.h"

#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "apps/units.h"
#include "base/error.h"
#include "dialogue/choice_text.h"

namespace quire {

Generation generate(Engine& engine, const TextProcessor& text, GenerationInput input,
                    const std::function<void(std::string_view)>& on_text, const std::function<bool()>& is_interrupted) {
  Generation result;
  const std::vector<int32_t>& prompt = input.request.prompt;
  result.stats.prompt_tokens = static_cast<int64_t>(prompt.size());
  ChoiceText answer(text.tokenizer(),
                    {.stops = std::move(input.stops),
                     .shown_tokens = std::move(input.shown_tokens),
                     .min_tokens = input.request.sampling.min_tokens},
                    input.continues_prompt ? std::span(prompt) : std::span<const int32_t>());
  const auto emit = [&](const TextPiece& piece) {
    if (piece.text.empty()) return;
    result.text += piece.text;
    on_text(piece.text);
  };

  const WeightReads reads_before = engine.runner().weight_reads();
  const auto stream = engine.submit(std::move(input.request)).stream;
  if (!stream) fail(ErrorCode::kLimit, "the engine's queue is full");
  while (!stream->is_drained()) {
    if (is_interrupted() || answer.is_stopped()) stream->cancel();
    if (!engine.step() && engine.is_fetching()) std::this_thread::sleep_for(std::chrono::microseconds(100));
    while (const auto event = stream->try_next()) {
      if (event->has_token) {
        ++result.stats.generated_tokens;
        result.tokens.push_back(event->token);
        emit(answer.push(event->token, event->is_stop_token));
      }
      if (event->finish == FinishReason::kNone) continue;
      emit(answer.finish());
      result.finish = answer.is_stopped() ? FinishReason::kStop : event->finish;
      result.error = event->error;
      result.stats.cached_tokens = event->num_cached_tokens;
      result.stats.drafts = event->drafts;
      result.stats.ttft_ms = event->timing.first_token_ms - event->timing.arrival_ms;
      result.stats.decode_ms = event->timing.last_token_ms - event->timing.first_token_ms;
    }
  }
  result.stop = answer.stop_string();
  const int64_t positions = result.stats.prompt_tokens + result.stats.generated_tokens;
  const MemoryPlan& plan = engine.runner().plan();
  for (const KvGroupPlan& group : plan.kv_groups) {
    const int64_t held = blocks_for(positions) - KvGroup{.window = group.window}.first_block(positions);
    result.stats.kv_bytes += static_cast<uint64_t>(held) * group.block_bytes;
  }
  result.stats.weight_bytes = plan.weight_bytes;
  result.stats.weight_reads = engine.runner().weight_reads() - reads_before;
  result.stats.peak_memory_bytes = peak_memory_bytes();
  return result;
}

uint64_t peak_memory_bytes() {
  struct rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

namespace {

// A line, or nothing where nothing was drafted.
std::string describe_drafts(const GenerationStats& stats) {
  const int64_t num_drafts = stats.drafts.num_verified;
  const int64_t num_accepted = stats.drafts.num_accepted;
  if (num_drafts == 0) return "";
  return fmt::format("drafts    {:>7} tokens, accepted {} ({:.0f} %), {:.1f} tokens per step\n", num_drafts,
                     num_accepted, 100.0 * static_cast<double>(num_accepted) / static_cast<double>(num_drafts),
                     stats.tokens_per_step());
}

// Likewise where no layer was read.
std::string describe_reads(const WeightReads& reads) {
  if (reads.num_acquired == 0) return "";
  const auto in_time = static_cast<double>(reads.num_acquired - reads.num_waited);
  return fmt::format(
      "disk      {} of weights read; {:.0f} % of {} layers were there in time, waited {:.2f} s for others\n",
      format_bytes(reads.bytes), 100.0 * in_time / static_cast<double>(reads.num_acquired), reads.num_acquired,
      reads.wait_seconds);
}

}  // namespace

std::string describe(const GenerationStats& stats) {
  const std::string cached =
      stats.cached_tokens > 0 ? fmt::format("; {} more tokens were cached", stats.cached_tokens) : "";
  return fmt::format(
      "prefill   {:>7} tokens  {:>9.1f} tokens/s   TTFT {:.1f} ms (reading the prompt{}, compute bound)\n"
      "decode    {:>7} tokens  {:>9.1f} tokens/s   TPOT {:.2f} ms ({})\n"
      "{}{}memory    KV cache {} of this sequence, weights {}, process peak {}\n",
      stats.prompt_tokens - stats.cached_tokens, stats.prefill_tokens_per_second(), stats.ttft_ms, cached,
      stats.generated_tokens, stats.decode_tokens_per_second(), stats.tpot_ms(),
      stats.drafts.num_verified > 0 ? "several tokens at a time" : "one token at a time, memory bound",
      describe_drafts(stats), describe_reads(stats.weight_reads), format_bytes(stats.kv_bytes),
      format_bytes(stats.weight_bytes), format_bytes(stats.peak_memory_bytes));
}

json::object to_json(const GenerationStats& stats) {
  json::object out = {{"prompt_tokens", stats.prompt_tokens},
                      {"cached_tokens", stats.cached_tokens},
                      {"completion_tokens", stats.generated_tokens},
                      {"total_tokens", stats.prompt_tokens + stats.generated_tokens},
                      {"ttft_ms", stats.ttft_ms},
                      {"tpot_ms", stats.tpot_ms()},
                      {"prefill_tokens_per_second", stats.prefill_tokens_per_second()},
                      {"decode_tokens_per_second", stats.decode_tokens_per_second()},
                      {"kv_bytes", stats.kv_bytes},
                      {"weight_bytes", stats.weight_bytes},
                      {"peak_memory_bytes", stats.peak_memory_bytes}};
  if (stats.drafts.num_verified > 0) {
    out["draft_tokens"] = stats.drafts.num_verified;
    out["accepted_draft_tokens"] = stats.drafts.num_accepted;
    out["tokens_per_step"] = stats.tokens_per_step();
  }
  if (stats.weight_reads.num_acquired > 0) {
    out["weight_read_bytes"] = stats.weight_reads.bytes;
    out["layers_streamed"] = stats.weight_reads.num_acquired;
    out["layers_waited_for"] = stats.weight_reads.num_waited;
    out["weight_wait_seconds"] = stats.weight_reads.wait_seconds;
  }
  return out;
}

}  // namespace quire
