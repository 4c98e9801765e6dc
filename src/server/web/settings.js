// The drawer of settings. An empty field is not sent: the server's own default holds, which the field shows as far as the server
// tells it.

import {AnswerForm, kFormNames} from "./answer_form.js";
import {by_id, el, fill} from "./dom.js";
import {Presets, checked_presets} from "./presets.js";

const kName = "quire.settings";
const kMaxSystemChars = 100000;

// One row per field of the request. `rest`: where the slider stands, and what the field says, while the server has told no default.
const kFields = [
  {name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, rest: 1, hint: "0 always takes the likeliest token; higher is freer."},
  {name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, rest: 1, hint: "Keeps the likeliest tokens that together reach this probability."},
  {name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, integer: true, hint: "Keeps this many of the likeliest tokens; 0 keeps all."},
  {name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, rest: 0, hint: "Drops tokens below this share of the likeliest one's probability."},
  {name: "max_tokens", label: "Max tokens", min: 1, max: 4096, step: 1, integer: true, unbounded: true, rest: 4096, word: "none", hint: "The answer ends here at the latest."},
  {name: "seed", label: "Seed", min: 0, step: 1, integer: true, unbounded: true, word: "random", hint: "The same seed gives the same answer."},
  {name: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.01, rest: 1, hint: "Above 1 makes tokens that occurred less likely."},
  {name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.05, rest: 0, hint: "Subtracted once from tokens that occurred."},
  {name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.05, rest: 0, hint: "Subtracted for each time a token occurred."},
];
const kMaxStops = 4;

export class Settings {
  constructor(on_change) {
    this.on_change = on_change;
    this.values = this.read();
    this.defaults = {};  // by field, as the server says
    this.rows = kFields.map((field) => this.build_row(field));
    this.stops = el("textarea", {id: "stop_strings", rows: 2, spellcheck: "false", "aria-describedby": "stop_hint",
      value: (this.values.stop ?? []).join("\n"), oninput: () => this.take_stops()});
    fill(by_id("sampling"), this.rows.map((row) => row.element), el("div", {class: "field"},
      el("label", {for: "stop_strings"}, "Stop strings"), this.stops,
      el("p", {class: "hint", id: "stop_hint"}, `One a line, at most ${kMaxStops}; \\n means a line break.`)));
    this.form = new AnswerForm(this);
    this.presets = new Presets(this);
    by_id("reset_sampling").addEventListener("click", () => this.reset());
    by_id("default_system").value = this.values.system ?? "";
    by_id("default_system").addEventListener("input", ({target}) => this.set("system", target.value.slice(0, kMaxSystemChars) || null));
  }

  read() {
    let json = {};
    try {
      json = JSON.parse(localStorage.getItem(kName)) ?? {};
    } catch {
      // None yet, or unreadable: defaults.
    }
    const values = preset_of(json);
    if (typeof json.model === "string") values.model = json.model;
    values.probabilities = json.probabilities === true;
    values.drafts = json.drafts === true;
    values.presets = checked_presets(json.presets);
    return values;
  }

  // What a preset keeps: all that shapes an answer.
  preset() {
    return preset_of(this.values);
  }

  take_preset(preset) {
    for (const name of kPresetNames) delete this.values[name];
    Object.assign(this.values, preset_of(preset));
    this.set("presets", this.values.presets);
    this.show();
  }

  set(name, value) {
    if (value === null || value === undefined) delete this.values[name];
    else this.values[name] = value;
    try {
      localStorage.setItem(kName, JSON.stringify(this.values));
    } catch {
      // Kept for this page only.
    }
    this.on_change();
  }

  // `json`: the model's default_generation_settings, or undefined when the server tells none.
  set_defaults(json) {
    this.defaults = {};
    for (const field of kFields) {
      const value = checked(field, json?.[field.name]);
      if (value !== null) this.defaults[field.name] = value;
    }
    for (const row of this.rows) row.show();
    this.on_change();
  }

  // What goes into a request.
  fields() {
    const result = {};
    for (const {name} of kFields) {
      if (this.values[name] !== undefined) result[name] = this.values[name];
    }
    if (this.values.stop?.length) result.stop = this.values.stop.map((item) => item.replaceAll("\\n", "\n"));
    Object.assign(result, this.form.fields());
    if (this.values.probabilities) Object.assign(result, {logprobs: true, top_logprobs: 5});
    if (this.values.drafts) result.quire_drafts = true;
    return result;
  }

  // A short summary for the composer.
  summary() {
    const parts = kFields.filter(({name}) => this.values[name] !== undefined)
      .map(({name, label}) => `${label.toLowerCase()} ${this.values[name]}`);
    if (this.values.stop?.length) parts.push(`${this.values.stop.length} stop string${this.values.stop.length > 1 ? "s" : ""}`);
    parts.push(...this.form.summary());
    return parts.length > 3 ? `${parts.slice(0, 2).join(" · ")} · ${parts.length - 2} more` : parts.join(" · ");
  }

  // All that is known of how answers are drawn.
  description() {
    const known = kFields.map(({name, label}) => [label.toLowerCase(), this.values[name] ?? this.defaults[name]]).filter(([, value]) => value !== undefined);
    return ["Sampling", known.map((pair) => pair.join(" ")).join(" · ")].filter(Boolean).join(": ");
  }

  reset() {
    for (const {name} of kFields) delete this.values[name];
    this.set("stop", null);
    this.show();
  }

  show() {
    for (const row of this.rows) row.show();
    this.stops.value = (this.values.stop ?? []).join("\n");
    by_id("default_system").value = this.values.system ?? "";
    this.form.show();
  }

  take_stops() {
    this.set("stop", this.stops.value.split("\n").filter((line) => line).slice(0, kMaxStops));
  }

  build_row(field) {
    const {name, label, min, max, step, hint} = field;
    const input = el("input", {type: "number", id: `s_${name}`, min, max: field.unbounded ? null : max, step: field.integer ? 1 : "any",
      inputmode: field.integer ? "numeric" : "decimal", "aria-describedby": `h_${name}`});
    const slider = max === undefined ? null : el("input", {type: "range", min, max, step, "aria-label": `${label}, slider`, tabindex: -1});
    const show_slider = () => {
      if (!slider) return;
      slider.value = this.values[name] ?? this.defaults[name] ?? field.rest ?? min;
      slider.classList.toggle("unset", this.values[name] === undefined);
      // Nothing is known that it could stand at.
      slider.classList.toggle("nowhere", (this.values[name] ?? this.defaults[name] ?? field.rest) === undefined);
      slider.style.setProperty("--filled", `${((slider.valueAsNumber - min) / (max - min)) * 100}%`);
    };
    const show = () => {
      input.value = this.values[name] ?? "";
      input.placeholder = this.defaults[name] ?? field.word ?? "default";
      input.removeAttribute("aria-invalid");
      show_slider();
    };
    input.addEventListener("input", () => {
      const empty = input.value === "" && !input.validity.badInput;
      const value = empty ? null : checked(field, input.valueAsNumber);
      if (!empty && value === null) {
        input.setAttribute("aria-invalid", "true");
        return;
      }
      this.set(name, value);
      input.removeAttribute("aria-invalid");
      show_slider();
    });
    // A field left with an impossible value shows the current setting again.
    input.addEventListener("change", show);
    slider?.addEventListener("input", () => {
      this.set(name, checked(field, slider.valueAsNumber));
      show();
    });
    show();
    const element = el("div", {class: "field"}, el("label", {for: `s_${name}`}, label), input, slider,
      el("p", {class: "hint", id: `h_${name}`}, hint));
    return {element, show};
  }
}

const kPresetNames = [...kFields.map(({name}) => name), "stop", "system", ...kFormNames];

function preset_of(json) {
  const values = {};
  for (const field of kFields) {
    const value = checked(field, json[field.name]);
    if (value !== null) values[field.name] = value;
  }
  if (Array.isArray(json.stop)) values.stop = json.stop.filter((item) => typeof item === "string" && item).slice(0, kMaxStops);
  for (const name of ["system", ...kFormNames]) {
    if (typeof json[name] === "string") values[name] = json[name].slice(0, kMaxSystemChars);
  }
  return values;
}

function checked({min, max, integer, unbounded}, value) {
  if (typeof value !== "number" || !Number.isFinite(value) || value < min || (!unbounded && value > max)) return null;
  if (integer && !Number.isSafeInteger(value)) return null;
  return value;
}
