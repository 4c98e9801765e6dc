#include "server/metrics/engine_metrics.h"

#include <algorithm>
#include <vector>

namespace quire {
namespace {

void write_requests_and_tokens(MetricsText& text, const EngineStatus& engine) {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  const double total = count(std::max<int64_t>(engine.blocks_total, 1));
  text.gauge("vllm:num_requests_running", "Sequences in the running batch.", count(engine.num_running));
  text.gauge("vllm:num_requests_waiting", "Sequences waiting to run.", count(engine.num_waiting));
  text.family("vllm:num_requests_waiting_by_reason", "gauge", "Sequences waiting to run, by reason.");
  text.sample("vllm:num_requests_waiting_by_reason", count(engine.num_waiting), {{"reason", "capacity"}});
  text.gauge("vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", count(engine.blocks_active) / total);
  text.family("vllm:cache_config_info", "gauge", "The KV cache's size in its labels.");
  text.sample(
      "vllm:cache_config_info", 1,
      {{"block_size", std::to_string(engine.block_size)}, {"num_gpu_blocks", std::to_string(engine.blocks_total)}});
  text.counter("vllm:prompt_tokens_total", "Prompt tokens of started requests, cached ones included.",
               count(engine.prompt_tokens));
  text.counter("vllm:prompt_tokens_cached_total", "Prompt tokens taken from the prefix cache.",
               count(engine.cached_tokens));
  text.family("vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens by where their KV came from.");
  text.sample("vllm:prompt_tokens_by_source_total", count(engine.prompt_tokens - engine.cached_tokens),
              {{"source", "local_compute"}});
  text.sample("vllm:prompt_tokens_by_source_total", count(engine.cached_tokens), {{"source", "local_cache_hit"}});
  text.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
               count(engine.prompt_tokens));
  text.counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", count(engine.cached_tokens));
  text.counter("vllm:generation_tokens_total", "Generated tokens.", count(engine.generated_tokens));
  text.counter("vllm:num_preemptions_total", "Sequences preempted for others.", count(engine.num_preemptions));
}

void write_drafts(MetricsText& text, const EngineStatus& engine) {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  text.counter("vllm:spec_decode_num_drafts_total", "Steps of a sequence with drafts.", count(engine.num_drafts));
  text.counter("vllm:spec_decode_num_draft_tokens_total", "Drafts that were verified.", count(engine.draft_tokens));
  text.counter("vllm:spec_decode_num_accepted_tokens_total", "Drafts that held.", count(engine.accepted_tokens));
  constexpr const char* kPerPosition = "vllm:spec_decode_num_accepted_tokens_per_pos_total";
  text.family(kPerPosition, "counter", "Drafts that held, by their position behind the last token.");
  for (size_t i = 0; i < engine.accepted_by_position.size(); ++i) {
    text.sample(kPerPosition, count(engine.accepted_by_position[i]), {{"position", std::to_string(i)}});
  }
}

void write_kv_store(MetricsText& text, const EngineStatus::KvStore& store) {
  if (store.name == nullptr) return;
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  text.counter("vllm:external_prefix_cache_queries_total", "Prompt tokens looked up in the KV store.",
               count(store.queried_tokens));
  text.counter("vllm:external_prefix_cache_hits_total", "Prompt tokens fetched from the KV store.",
               count(store.fetched_tokens));
  text.gauge("quire:kv_store_up", "Whether the KV store works: 0 while it is given up.", store.is_available ? 1 : 0);
  text.gauge("quire:kv_store_blocks", "Blocks in the KV store; -1: unknown.", count(store.num_blocks));
  text.gauge("quire:kv_store_bytes", "Bytes in the KV store.", static_cast<double>(store.bytes));
  text.gauge("quire:kv_store_capacity_bytes", "Bytes that the KV store can have; 0: unknown.",
             static_cast<double>(store.capacity_bytes));
  text.counter("quire:kv_store_read_blocks_total", "Blocks read from the KV store.", count(store.blocks_read));
  text.counter("quire:kv_store_written_blocks_total", "Blocks written to the KV store.", count(store.blocks_written));
  text.counter("quire:kv_store_evicted_blocks_total", "Blocks that others replaced in the KV store.",
               count(store.blocks_evicted));
  text.counter("quire:kv_store_dropped_blocks_total", "Blocks that left the pool before they could be written.",
               count(store.blocks_dropped));
  text.counter("quire:kv_store_failures_total", "Operations of the KV store that failed.", count(store.failures));
  text.counter("quire:kv_store_cut_fetches_total", "Fetches given up because computing was as quick.",
               count(store.cut_fetches));
  text.counter("quire:kv_store_fetch_seconds_total", "Time of all fetches.", store.fetch_ms / 1000);
}

void write_steps(MetricsText& text, const EngineStatus& engine) {
  const auto write = [&](std::string_view name, std::string_view help, const auto& bounds, const auto& counts,
                         double unit, double sum) {
    std::vector<double> scaled;
    for (const auto bound : bounds) scaled.push_back(static_cast<double>(bound) * unit);
    const std::vector<uint64_t> copy(counts.begin(), counts.end());
    text.histogram(name, help, scaled, copy, sum);
  };
  write("vllm:iteration_tokens_total", "Tokens per engine step.", kStepTokenBounds, engine.step_tokens, 1.0,
        static_cast<double>(engine.computed_tokens));
  const double step_ms = engine.plan_ms + engine.run_ms + engine.decode_ms;
  write("quire:step_seconds", "Time of an engine step.", kStepMsBounds, engine.step_ms, 0.001, step_ms / 1000.0);
  text.family("quire:step_time_seconds_total", "counter", "Time of all engine steps by part.");
  text.sample("quire:step_time_seconds_total", engine.plan_ms / 1000.0, {{"part", "plan"}});
  text.sample("quire:step_time_seconds_total", engine.run_ms / 1000.0, {{"part", "run"}});
  text.sample("quire:step_time_seconds_total", engine.decode_ms / 1000.0, {{"part", "decode"}});
}

void write_own(MetricsText& text, const EngineStatus& engine) {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  text.family("quire:kv_blocks", "gauge", "KV blocks by state.");
  text.sample("quire:kv_blocks", count(engine.blocks_total - engine.blocks_active - engine.blocks_cached),
              {{"state", "free"}});
  text.sample("quire:kv_blocks", count(engine.blocks_active), {{"state", "active"}});
  text.sample("quire:kv_blocks", count(engine.blocks_cached), {{"state", "cached"}});
  text.gauge("quire:requests_swapped", "Waiting sequences whose KV lies in swap space.", count(engine.num_swapped));
  text.counter("quire:swaps_total", "Preemptions that moved KV instead of dropping it.", count(engine.num_swaps));
  text.counter("quire:choices_cancelled_total", "Choices cancelled by their clients.", count(engine.num_cancelled));
  text.counter("quire:choices_timed_out_total", "Choices that reached their timeout.", count(engine.num_timed_out));
  text.counter("quire:choices_failed_total", "Choices that ended because the model produced NaN or infinity.",
               count(engine.num_failed));
  text.counter("quire:choices_aborted_total", "Choices that ended because their step failed.",
               count(engine.num_aborted));
  text.counter("quire:steps_failed_total", "Steps that could not be carried out.", count(engine.num_failed_steps));
  text.counter("quire:computed_tokens_total", "Rows that went through the model.", count(engine.computed_tokens));
}

// Of a model that is larger than memory.
void write_weight_reads(MetricsText& text, const WeightReads& reads) {
  if (reads.bytes == 0) return;
  const auto count = [](uint64_t number) { return static_cast<double>(number); };
  text.counter("quire:weight_read_bytes_total", "Weights read from disk while steps ran.", count(reads.bytes));
  text.counter("quire:weight_layers_total", "Uses of layers that do not stay in memory.", count(reads.num_acquired));
  text.counter("quire:weight_layers_waited_total", "Of these, layers that were not there in time.",
               count(reads.num_waited));
  text.counter("quire:weight_wait_seconds_total", "Time that steps waited for weights.", reads.wait_seconds);
}

}  // namespace

void write_engine_metrics(MetricsText& text, const EngineStatus& engine) {
  write_requests_and_tokens(text, engine);
  write_drafts(text, engine);
  write_kv_store(text, engine.kv_store);
  write_steps(text, engine);
  write_own(text, engine);
  write_weight_reads(text, engine.weight_reads);
}

}  // namespace quire
