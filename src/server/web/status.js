// The only file that knows the format of GET /status.

import {get_json} from "./api.js";

// Of a served model, or of the first.
export async function fetch_status(model, signal) {
  return read_status(await get_json(model ? `status?model=${encodeURIComponent(model)}` : "status", signal));
}

const number = (value) => (Number.isFinite(value) ? value : 0);
const text = (value) => (typeof value === "string" ? value : "");
const numbers = (value) => (Array.isArray(value) ? value.slice(0, 1000).map((item) => number(item)) : []);

// -> {time_s, version, state, uptime_s, model, engine, resident_bytes, num_rejected, latency: {ttft, itl, e2e}}
// While the model loads there is neither model nor engine: their numbers are 0.
export function read_status(json) {
  const {latency = {}} = json;
  return {
    time_s: performance.now() / 1000,
    version: text(json.version),
    state: text(json.state),
    uptime_s: number(json.uptime_s),
    model: read_model(json.model ?? {}),
    engine: read_engine(json.engine ?? {}),
    resident_bytes: number(json.memory?.resident_bytes),
    num_rejected: Object.values(json.rejected ?? {}).reduce((sum, value) => sum + number(value), 0),
    latency: {ttft: read_histogram(latency.ttft_s), itl: read_histogram(latency.itl_s), e2e: read_histogram(latency.e2e_s)},
  };
}

const read_numbers = (json, names) => Object.fromEntries(names.map((name) => [name, number(json[name])]));

function read_model(model) {
  return {
    id: text(model.id),
    architecture: text(model.architecture),
    ...read_numbers(model, ["max_model_len", "num_parameters", "weight_bytes", "kv_bytes", "activation_bytes"]),
  };
}

function read_engine(engine) {
  return {
    ...read_numbers(engine, ["num_running", "num_waiting", "num_swapped", "block_size", "num_steps", "prompt_tokens", "cached_tokens",
      "computed_tokens", "generated_tokens", "num_preemptions", "num_swaps", "num_cancelled", "num_timed_out", "num_failed", "num_aborted",
      "num_failed_steps", "refused_requests", "refused_tokens", "plan_ms", "run_ms", "decode_ms"]),
    groups: (Array.isArray(engine.groups) ? engine.groups : []).map(read_group),
  };
}

// A KV group; `blocks` has a letter for every block: f free, a active, s shared, c cached.
function read_group(group) {
  const result = {...read_numbers(group, ["window", "blocks_total", "blocks_active", "blocks_cached"]), blocks: text(group.blocks)};
  return {...result, blocks_free: Math.max(0, result.blocks_total - result.blocks_active - result.blocks_cached)};
}

// counts[i] is what is at most bounds[i] and above the bound before; one more holds the rest.
function read_histogram(histogram = {}) {
  return {bounds: numbers(histogram.bounds), counts: numbers(histogram.counts), count: number(histogram.count), sum: number(histogram.sum)};
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
