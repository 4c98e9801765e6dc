// What the server serves and how it does: its models, its state, the context they leave, what to ask them.

import {get_json} from "./api.js";
import {by_id, el, fill} from "./dom.js";
import {count} from "./format.js";

const kLoadingPeriodMs = 2000;
const kMaxModels = 200;
const kSuggestions = ["Explain how a rainbow forms, in simple words.", "Write a short poem about autumn.", "Give me three ideas for a quick dinner.",
  "What is the difference between weather and climate?"];
// The model inside the program does a few things only; these it does.
const kDemoSuggestions = ["Tell me a story about a fox.", "Reverse this list: lamp, key, bell, spoon", "Which number is larger, 35 or 81?",
  "Write this as JSON: age: 41, pet: horse"];
const kStateWords = {ready: "", loading: "loading the model", draining: "about to stop", locked: "key needed", away: "not reachable"};

export class Served {
  // page: {settings, live(), ask_key(), send(text), context_tokens()}
  constructor(page) {
    this.page = page;
    this.models = [];
    this.state = "";
    this.status_model = null;  // as the status names it, also while no list of models can be read
    this.timer = 0;
    by_id("model_choice").addEventListener("change", (event) => {
      page.settings.set("model", event.target.value);
      this.model_changed();
      page.live().read();
    });
  }

  model() {
    return this.models.find(({id}) => id === this.page.settings.values.model) ?? this.models[0];
  }

  async read_models() {
    try {
      const {data} = await get_json("v1/models");
      this.models = Array.isArray(data) ? data.filter((model) => typeof model?.id === "string").slice(0, kMaxModels) : [];
    } catch (error) {
      this.models = [];
      if (error.status === 401) this.page.ask_key();
    }
    by_id("model_field").hidden = this.models.length < 2;
    fill(by_id("model_choice"), this.models.map(({id}) => el("option", {value: id}, id)));
    by_id("model_choice").value = this.model()?.id ?? "";
    this.model_changed();
  }

  model_changed() {
    const model = this.model();
    this.page.settings.set_defaults(model?.meta?.default_generation_settings);
    const suggestions = model?.root === "demo" ? kDemoSuggestions : kSuggestions;
    fill(by_id("suggestions"), model && suggestions.map((text) => el("button", {type: "button", onclick: () => this.page.send(text)}, text)));
    this.draw_model();
    this.draw_context();
  }

  // A reading of the status, or why there is none.
  take_status(status, failure) {
    const state = status?.state ?? (failure.status === 401 ? "locked" : failure.code === "model_loading" ? "loading" : "away");
    const changed = state !== this.state;
    this.state = state;
    this.status_model = status?.model ?? this.status_model;
    by_id("state_dot").className = state;
    by_id("state_text").textContent = kStateWords[state] ?? state;
    this.draw_model();
    if (changed && state === "ready" && !this.models.length) this.read_models();
    if (failure?.code === "model_not_found") this.read_models();  // another process answers now, with other models
    // While the model loads, the page polls until it is ready, and no longer.
    clearTimeout(this.timer);
    if (state === "loading" || state === "away") {
      const live = this.page.live();
      this.timer = setTimeout(() => document.hidden || live.timer || live.read(), kLoadingPeriodMs);
    }
  }

  draw_model() {
    by_id("model_name").textContent = this.model()?.id || this.status_model?.id || "Quire";
  }

  draw_context() {
    const limit = this.model()?.max_model_len ?? this.status_model?.max_model_len ?? 0;
    const used = this.page.context_tokens();
    const text = `${count(used)} / ${count(limit)}`;
    by_id("context").hidden = !limit || !used;
    by_id("context_bar").style.width = `${Math.min(100, (used / limit) * 100)}%`;
    by_id("context").classList.toggle("tight", used > 0.8 * limit);
    by_id("context_text").textContent = text;
    by_id("context").title = `${text} tokens of context used`;
  }
}
