// The only file that knows the format of GET /status.

import {get_json} from "./api.js";

export async function fetch_status(signal) {
  return read_status(await get_json("status", signal));
}

const number = (value, otherwise = 0) => (typeof value === "number" && Number.isFinite(value) ? value : otherwise);
const optional = (value) => number(value, NaN);
const text = (value) => (typeof value === "string" ? value : "");
const numbers = (value) => (Array.isArray(value) ? value.slice(0, 1000).map((item) => number(item)) : []);

// -> {time_s, version, state, uptime_s, model, engine, memory, num_rejected, latency: {ttft, itl, e2e}}
export function read_status(json) {
  const model = json.model ?? {};
  const latency = json.latency ?? {};
  return {
    time_s: performance.now() / 1000,
    version: text(json.version),
    state: text(json.state) || "ready",
    uptime_s: optional(json.uptime_s),
    model: {
      id: text(model.id),
      architecture: text(model.architecture),
      quantization: text(model.quantization ?? model.weight_type),
      max_model_len: number(model.max_model_len),
      num_parameters: optional(model.num_parameters),
      weight_bytes: optional(model.weight_bytes),
    },
    engine: read_engine(json.engine ?? {}),
    memory: read_memory(json, model),
    num_rejected: Object.values(json.rejected ?? {}).reduce((sum, value) => sum + number(value), 0),
    latency: {
      ttft: read_histogram(latency.ttft_s ?? latency.ttft),
      itl: read_histogram(latency.itl_s ?? latency.itl),
      e2e: read_histogram(latency.e2e_s ?? latency.e2e),
    },
  };
}

function read_engine(engine) {
  const names = ["num_running", "num_waiting", "num_swapped", "blocks_total", "blocks_active", "blocks_cached", "block_size",
    "num_steps", "prompt_tokens", "cached_tokens", "computed_tokens", "generated_tokens", "num_preemptions", "num_cancelled",
    "num_failed", "refused_requests", "refused_tokens", "plan_ms", "run_ms", "decode_ms"];
  const result = Object.fromEntries(names.map((name) => [name, number(engine[name])]));
  result.blocks = text(engine.blocks);
  result.blocks_free = Math.max(0, result.blocks_total - result.blocks_active - result.blocks_cached);
  return result;
}

function read_memory(json, model) {
  const memory = json.memory ?? {};
  return {
    weights: optional(memory.weight_bytes ?? model.weight_bytes),
    kv: optional(memory.kv_bytes ?? model.kv_bytes ?? json.engine?.kv_bytes),
    activations: optional(memory.activation_bytes ?? model.activation_bytes),
    process: optional(memory.resident_bytes ?? memory.process_bytes ?? json.process?.resident_bytes),
  };
}

// Bucket i counts what is at most bounds[i]; one more bucket holds the rest. Cumulative counts are accepted too.
function read_histogram(histogram) {
  const bounds = numbers(histogram?.bounds);
  let counts = numbers(histogram?.counts);
  const total = number(histogram?.count, counts.reduce((sum, item) => sum + item, 0));
  const rising = counts.every((item, index) => index === 0 || item >= counts[index - 1]);
  const sum_of_counts = counts.reduce((sum, item) => sum + item, 0);
  if (rising && sum_of_counts > total && counts[bounds.length - 1] <= total) {
    counts = counts.map((item, index) => item - (index ? counts[index - 1] : 0));
  }
  if (counts.length === bounds.length) counts.push(Math.max(0, total - counts.reduce((sum, item) => sum + item, 0)));
  return {bounds, counts, count: total, sum: number(histogram?.sum)};
}

// What was added between two readings; all of `later` when the server restarted in between.
export function histogram_since(later, earlier) {
  if (!earlier || earlier.count > later.count || earlier.counts.length !== later.counts.length) return later;
  return {
    bounds: later.bounds,
    counts: later.counts.map((item, index) => Math.max(0, item - earlier.counts[index])),
    count: later.count - earlier.count,
    sum: later.sum - earlier.sum,
  };
}

// The value below which `share` of the observations lie, interpolated inside its bucket; NaN without observations.
export function quantile(histogram, share) {
  const {bounds, counts} = histogram;
  const total = counts.reduce((sum, item) => sum + item, 0);
  if (!total || !bounds.length) return NaN;
  let below = 0;
  for (let i = 0; i < counts.length; ++i) {
    if (below + counts[i] >= share * total && counts[i] > 0) {
      if (i >= bounds.length) return bounds[bounds.length - 1];
      const low = i ? bounds[i - 1] : 0;
      return low + (bounds[i] - low) * ((share * total - below) / counts[i]);
    }
    below += counts[i];
  }
  return bounds[bounds.length - 1];
}
