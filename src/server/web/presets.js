// Settings under a name: saved, taken again, deleted.

import {by_id, el, fill, icon_button} from "./dom.js";

const kMaxPresets = 50;
const kMaxNameChars = 40;

// Of stored settings.
export function checked_presets(json) {
  const entries = Object.entries(json && typeof json === "object" && !Array.isArray(json) ? json : {});
  return Object.fromEntries(entries.filter(([name, value]) => name && value && typeof value === "object").slice(0, kMaxPresets));
}

export class Presets {
  // settings: {values, set(name, value), preset(), take_preset(values)}
  constructor(settings) {
    this.settings = settings;
    by_id("preset_form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save(by_id("preset_name").value.trim().slice(0, kMaxNameChars));
    });
    this.show();
  }

  all() {
    return this.settings.values.presets ?? {};
  }

  save(name) {
    if (!name || (Object.keys(this.all()).length >= kMaxPresets && !this.all()[name])) return;
    this.settings.set("presets", {...this.all(), [name]: this.settings.preset()});
    by_id("preset_name").value = "";
    this.show();
  }

  remove(name) {
    const {[name]: gone, ...rest} = this.all();
    this.settings.set("presets", rest);
    this.show();
  }

  show() {
    fill(by_id("presets"), Object.entries(this.all()).map(([name, values]) => el("span", {class: "chip"},
      el("button", {type: "button", class: "quiet wide", title: `Use ${name}`, onclick: () => this.settings.take_preset(values)}, name),
      icon_button("close", `Delete ${name}`, () => this.remove(name)))));
  }
}
