// The live view: what the engine does now, read from /status once a second while the page is visible.

import {BlockMap} from "./block_map.js";
import {draw_histogram, draw_line, draw_parts} from "./charts.js";
import {by_id, el, fill} from "./dom.js";
import {bytes, count, duration, milliseconds, percent, rate, short_count} from "./format.js";
import {fetch_status, histogram_since} from "./status.js";

const kPeriodMs = 1000;
const kTimeoutMs = 8000;
const kHistory = 90;       // readings kept and drawn
const kWindowS = 60;       // "last minute"

export class Live {
  // page: {model(), ask_key(then), on_status(status | null, failure)}
  constructor(page) {
    this.page = page;
    this.history = [];
    this.recent = false;
    this.shown = false;
    this.timer = 0;
    this.maps = [];  // of each KV group
    this.lines = Object.fromEntries(["running", "waiting", "speed", "hits"].map((name) => [name, []]));
    document.addEventListener("visibilitychange", () => this.arrange());
    for (const input of document.querySelectorAll("input[name=window]")) {
      input.addEventListener("change", () => {
        this.recent = input.value === "recent" && input.checked;
        this.draw_latency();
      });
    }
  }

  set_shown(shown) {
    this.shown = shown;
    this.arrange();
  }

  // Starts or stops the clock.
  arrange() {
    const wanted = this.shown && !document.hidden;
    if (wanted && !this.timer && !this.reading) this.poll();
    if (!wanted) {
      clearTimeout(this.timer);
      this.timer = 0;
    }
  }

  async poll() {
    this.timer = 0;
    this.reading = true;
    await this.read();
    this.reading = false;
    if (this.shown && !document.hidden) this.timer = setTimeout(() => this.poll(), kPeriodMs);
  }

  // One reading, also used by the chat to know the server's state.
  async read() {
    try {
      const status = await fetch_status(this.page.model(), AbortSignal.timeout(kTimeoutMs));
      this.take(status);
      this.page.on_status(status, null);
    } catch (error) {
      this.page.on_status(null, error);
      if (this.shown) this.draw_failure(error);
    }
  }

  take(status) {
    const before = this.history.at(-1);
    if (before && status.uptime_s < before.uptime_s) this.forget();  // another process answers now
    if (before && status.model.id !== before.model.id) this.forget();  // another model was chosen
    this.append(status, this.history.at(-1));
    this.history.push({...status, engine: {...status.engine, groups: []}});
    if (this.history.length > kHistory) this.history.shift();
    this.status = status;
    if (this.shown) this.draw();
  }

  forget() {
    this.history.length = 0;
    for (const values of Object.values(this.lines)) values.length = 0;
  }

  append(status, before) {
    const now = {running: status.engine.num_running, waiting: status.engine.num_waiting, speed: NaN, hits: NaN};
    const elapsed = before ? status.time_s - before.time_s : 0;
    if (before && elapsed > 0.2) now.speed = (status.engine.generated_tokens - before.engine.generated_tokens) / elapsed;
    now.hits = this.hit_rate(status);
    for (const [name, values] of Object.entries(this.lines)) {
      // A pause leaves a gap instead of a straight line through it.
      if (elapsed > 3) values.push(NaN);
      values.push(now[name]);
      while (values.length > kHistory) values.shift();
    }
  }

  // The reading of a minute ago, or the oldest.
  minute_ago(status) {
    return this.history.find((other) => status.time_s - other.time_s <= kWindowS);
  }

  hit_rate(status) {
    const before = this.minute_ago(status)?.engine;
    const prompt = status.engine.prompt_tokens - (before?.prompt_tokens ?? 0);
    const cached = status.engine.cached_tokens - (before?.cached_tokens ?? 0);
    return before && prompt > 0 ? cached / prompt : NaN;
  }

  draw() {
    by_id("live_failure").hidden = true;
    by_id("live_body").hidden = false;
    this.draw_figures();
    this.draw_cache();
    this.draw_latency();
    this.draw_steps();
    this.draw_facts();
  }

  draw_figures() {
    const {engine} = this.status;
    const swapped = engine.num_swapped ? `${count(engine.num_swapped)} of them swapped out` : "in the queue";
    const whole = engine.prompt_tokens ? `${percent(engine.cached_tokens / engine.prompt_tokens)} since the start` : "no prompts yet";
    const prefill = this.recent_rate("computed_tokens");
    this.figure("running", count(engine.num_running), "being answered");
    this.figure("waiting", count(engine.num_waiting), swapped);
    this.figure("speed", rate(this.lines.speed.at(-1)), `written; ${rate(prefill)} with prompts`);
    this.figure("hits", percent(this.lines.hits.at(-1)), whole);
  }

  recent_rate(name) {
    const [before, now] = this.history.slice(-2);
    return now ? (now.engine[name] - before.engine[name]) / (now.time_s - before.time_s) : NaN;
  }

  figure(name, value, note) {
    const box = by_id(`figure_${name}`);
    box.querySelector(".value").textContent = value;
    box.querySelector(".note").textContent = note;
    draw_line(box.querySelector(".spark"), this.lines[name], kHistory);
  }

  draw_cache() {
    const {engine} = this.status;
    const {groups, block_size} = engine;
    if (this.maps.length !== groups.length) {
      this.maps = groups.map(() => new BlockMap(groups.length));
      fill(by_id("maps"), this.maps.map((map) => map.element));
    }
    const size = (group) => `${count(group.blocks_total)} blocks of ${count(block_size)} tokens`;
    const room = (group) => `${size(group)}, room for ${short_count(group.blocks_total * block_size)} tokens`;
    const is_divided = groups.length > 1;
    by_id("map_title").textContent = is_divided ? `${groups.length} groups of layers` : groups.length ? room(groups[0]) : "";
    groups.forEach((group, index) => {
      const caption = group.window ? `Layers that see the last ${count(group.window)} tokens: ${size(group)}` : `Layers that see all tokens: ${room(group)}`;
      this.maps[index].show(group, is_divided ? caption : "");
    });
  }

  draw_latency() {
    if (!this.status) return;
    const before = this.recent ? this.minute_ago(this.status)?.latency : undefined;
    const pick = (name) => histogram_since(this.status.latency[name], before?.[name]);
    draw_histogram(by_id("latency_ttft"), "Time to first token", "From the arrival of a request to its first token", pick("ttft"));
    draw_histogram(by_id("latency_itl"), "Between tokens", "Inter-token latency: the gap between two tokens of a stream", pick("itl"));
    draw_histogram(by_id("latency_e2e"), "Whole request", "End to end: from the arrival of a request to its last token", pick("e2e"));
  }

  draw_steps() {
    const {engine} = this.status;
    const first = this.minute_ago(this.status);
    const before = first?.engine;
    const span = duration(first ? this.status.time_s - first.time_s : 0);
    const since = (name) => Math.max(0, engine[name] - (before?.[name] ?? 0));
    const steps = since("num_steps");
    by_id("steps_title").textContent = `mean of ${count(steps)} steps in the last ${span}`;
    const each = (name) => (steps ? since(name) / steps : 0);
    draw_parts(by_id("steps"), [
      {name: "plan", value: each("plan_ms"), kind: "cached"},
      {name: "model", value: each("run_ms"), kind: "active"},
      {name: "sample and publish", value: each("decode_ms"), kind: "shared"},
    ], milliseconds);
  }

  draw_facts() {
    const {status} = this;
    const {engine, model} = status;
    const size = (value) => value > 0 && bytes(value);
    const facts = [
      ["Model", model.id],
      ["Architecture", model.architecture],
      ["Parameters", model.num_parameters > 0 && short_count(model.num_parameters)],
      ["Context", model.max_model_len > 0 && `${count(model.max_model_len)} tokens`],
      ["Weights", size(model.weight_bytes)],
      ["KV cache", size(model.kv_bytes)],
      ["Activations", size(model.activation_bytes)],
      ["Process memory", size(status.resident_bytes)],
      ["Up", duration(status.uptime_s)],
      ["Version", status.version],
      ["Prompt tokens", short_count(engine.prompt_tokens)],
      ["Tokens written", short_count(engine.generated_tokens)],
      ["Preemptions", count(engine.num_preemptions)],
      ["Drafts held", engine.draft_tokens > 0 && `${count(engine.accepted_tokens)} of ${count(engine.draft_tokens)} (${percent(engine.accepted_tokens / engine.draft_tokens)})`],
      ["Refused", count(Math.max(status.num_rejected, engine.refused_requests + engine.refused_tokens))],
      ["Cancelled", count(engine.num_cancelled)],
      ["Timed out", count(engine.num_timed_out)],
      ["Ended by NaN", count(engine.num_failed)],
      ["Ended by a failed step", count(engine.num_aborted)],
      ["Failed steps", count(engine.num_failed_steps)],
    ];
    fill(by_id("facts"), facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  draw_failure(error) {
    const box = by_id("live_failure");
    box.hidden = false;
    if (!this.status) by_id("live_body").hidden = true;
    const needs_key = error.status === 401;
    fill(box, el("p", {}, needs_key ? "The live view needs the server's API key." : `No reading: ${error.message}`),
      needs_key && el("button", {type: "button", class: "primary", onclick: () => this.page.ask_key(() => this.read())}, "Enter key"));
  }

  repaint() {
    for (const map of this.maps) map.draw();
  }
}
