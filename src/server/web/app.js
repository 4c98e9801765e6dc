// Puts the page together: navigation, composer, keyboard, theme, key, the state of the server.

import {get_json, key} from "./api.js";
import {Chat} from "./chat.js";
import {by_id, el, fill, icon, mark} from "./dom.js";
import {count} from "./format.js";
import {Live} from "./live.js";
import {Settings} from "./settings.js";
import {Sidebar} from "./sidebar.js";
import {Store} from "./store.js";

const kNoticeMs = 7000;
const kUndoMs = 12000;
const kLoadingPeriodMs = 2000;
const kDraftName = "quire.draft";
const kOpenName = "quire.open";
const kSuggestions = ["Explain how a rainbow forms, in simple words.", "Write a short poem about autumn.", "Give me three ideas for a quick dinner.", "What is the difference between weather and climate?"];
// The model inside the program does a few things only; these it does.
const kDemoSuggestions = ["Tell me a story about a fox.", "Reverse this list: lamp, key, bell, spoon", "Which number is larger, 35 or 81?", "Write this as JSON: age: 41, pet: horse"];

const store = new Store(notice);
const settings = new Settings(settings_changed);
const page = {store, settings, ask_key, model: chosen_model, notice, changed: conversation_changed};
let models = [];
let chat = null;
let sidebar = null;
const live = new Live({ask_key, on_status: server_state});

// `undo`, if there is something to take back: offered as long as the notice stands.
function notice(text, undo) {
  const box = by_id("notice");
  const hide = () => (box.hidden = true);
  const take_back = () => {
    hide();
    undo();
    by_id("prompt").focus();
  };
  fill(box, el("span", {}, text), undo && el("button", {type: "button", "data-action": "undo", onclick: take_back}, "Undo"));
  box.hidden = false;
  clearTimeout(notice.timer);
  notice.timer = setTimeout(hide, undo ? kUndoMs : kNoticeMs);
}

// ---- Models and the server's state

function chosen_model() {
  return models.find(({id}) => id === settings.values.model)?.id ?? models[0]?.id ?? "";
}

async function read_models() {
  try {
    const {data} = await get_json("v1/models");
    models = Array.isArray(data) ? data.filter((model) => typeof model?.id === "string").slice(0, 200) : [];
  } catch (error) {
    models = [];
    if (error.status === 401) ask_key(start_up);
  }
  by_id("model_field").hidden = models.length < 2;
  fill(by_id("model_choice"), models.map(({id}) => el("option", {value: id}, id)));
  by_id("model_choice").value = chosen_model();
  model_changed();
}

function model_changed() {
  const model = models.find(({id}) => id === chosen_model());
  settings.set_defaults(model?.default_generation_settings);
  const suggestions = model?.root === "demo" ? kDemoSuggestions : kSuggestions;
  fill(by_id("suggestions"), model && suggestions.map((text) => el("button", {type: "button", onclick: () => chat.send(text)}, text)));
  draw_model();
  draw_context();
}

async function start_up() {
  await Promise.all([read_models(), live.read()]);
}

function server_state(status, failure) {
  const state = status?.state ?? (failure.status === 401 ? "locked" : failure.code === "model_loading" ? "loading" : "away");
  const changed = state !== server_state.now;
  server_state.now = state;
  server_state.model = status?.model ?? server_state.model;
  by_id("state_dot").className = state;
  by_id("state_text").textContent = {ready: "", loading: "loading the model", draining: "about to stop", locked: "key needed", away: "not reachable"}[state] ?? state;
  draw_model();
  if (changed && state === "ready" && !models.length) read_models();
  // While the model loads, the page polls until it is ready, and no longer.
  clearTimeout(server_state.timer);
  if (state === "loading" || state === "away") {
    server_state.timer = setTimeout(() => document.hidden || live.timer || live.read(), kLoadingPeriodMs);
  }
}

function draw_model() {
  by_id("model_name").textContent = chosen_model() || server_state.model?.id || "Quire";
}

function draw_context() {
  const limit = models.find(({id}) => id === chosen_model())?.max_model_len ?? server_state.model?.max_model_len ?? 0;
  const used = chat?.context_tokens() ?? 0;
  by_id("context").hidden = !limit || !used;
  by_id("context_bar").style.width = `${Math.min(100, (used / limit) * 100)}%`;
  by_id("context").classList.toggle("tight", used > 0.8 * limit);
  by_id("context_text").textContent = `${count(used)} / ${count(limit)}`;
  by_id("context").title = `${count(used)} of ${count(limit)} tokens of context used`;
}

// ---- Key

function ask_key(then) {
  const dialog = by_id("key_dialog");
  by_id("key_input").value = key.get();
  ask_key.then = then;
  if (!dialog.open) dialog.showModal();
}

function wire_key() {
  by_id("key_form").addEventListener("submit", () => {
    key.set(by_id("key_input").value.trim());
    const then = ask_key.then;
    ask_key.then = null;
    // Other parts of the page were refused too.
    if (then !== start_up) start_up();
    then?.();
  });
  by_id("key_cancel").addEventListener("click", () => by_id("key_dialog").close());
  by_id("change_key").addEventListener("click", () => ask_key(start_up));
}

// ---- Views, drawer, sidebar, theme

const wide = matchMedia("(min-width: 1180px)");
const narrow = matchMedia("(max-width: 860px)");

function show_view(view) {
  const shown = view === "both" && !wide.matches ? "live" : view;
  document.body.dataset.view = shown;
  for (const button of document.querySelectorAll(".views button")) button.setAttribute("aria-pressed", button.dataset.view === shown);
  live.set_shown(shown !== "chat");
  if (shown !== "chat" && live.status) live.draw();
  const hash = shown === "chat" ? location.pathname : `#${shown}`;
  history.replaceState(null, "", hash);
}

function open_drawer(open) {
  const drawer = by_id("drawer");
  drawer.inert = !open;
  document.body.classList.toggle("drawer_open", open);
  by_id("open_drawer").setAttribute("aria-expanded", open);
  draw_scrim();
  if (open) by_id("close_drawer").focus({preventScroll: true});
  else if (document.activeElement === document.body) by_id("open_drawer").focus();
}

function open_sidebar(open) {
  document.body.classList.toggle("sidebar_open", open);
  by_id("open_sidebar").setAttribute("aria-expanded", open);
  by_id("sidebar").inert = narrow.matches && !open;
  draw_scrim();
  if (open && narrow.matches) by_id("close_sidebar").focus();
}

function draw_scrim() {
  const {classList} = document.body;
  by_id("scrim").hidden = !(narrow.matches && (classList.contains("sidebar_open") || classList.contains("drawer_open")));
}

const system_dark = matchMedia("(prefers-color-scheme: dark)");
const is_dark = () => document.documentElement.dataset.theme === "dark";

function draw_theme() {
  fill(by_id("theme"), icon(is_dark() ? "light" : "dark"));
  by_id("theme").title = is_dark() ? "Light" : "Dark";
  live.repaint();
}

function switch_theme() {
  const theme = is_dark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("quire.theme", theme);
  } catch {
    // For this page only.
  }
  draw_theme();
}

// ---- Composer

function grow() {
  const area = by_id("prompt");
  remember(kDraftName, area.value);
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight, innerHeight * 0.4)}px`;
  by_id("send").disabled = !area.value.trim();
}

// In this tab, as far as the browser allows.
function remember(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // Forgotten with the page.
  }
}

function remembered(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function send_prompt() {
  if (!chat.send(by_id("prompt").value)) return;
  by_id("prompt").value = "";
  grow();
}

function settings_changed() {
  by_id("sampling_summary").textContent = settings.summary() || "Default sampling";
  const on = settings.values.probabilities;
  by_id("probabilities").setAttribute("aria-pressed", on);
}

// A conversation that has not begun follows the default.
function adopt_default_system() {
  if (chat.conversation.chosen) return;
  chat.set_system(settings.values.system ?? "");
  by_id("system").value = chat.conversation.system;
}

function conversation_changed() {
  if (!chat) return;
  const busy = chat.busy();
  by_id("stop").hidden = !busy;
  by_id("send").hidden = busy;
  sidebar.show(chat.conversation.id);
  draw_context();
  const {id, title} = chat.conversation;
  document.title = title ? `${title} · Quire` : "Quire";
  by_id("page_title").textContent = title || "New conversation";
  remember(kOpenName, id);
}

function wire_composer() {
  const area = by_id("prompt");
  area.addEventListener("input", grow);
  area.addEventListener("keydown", (event) => {
    // While an input method composes, Enter chooses a candidate (229 is what Safari reports for it).
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send_prompt();
  });
  by_id("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send_prompt();
  });
  by_id("stop").addEventListener("click", () => chat.stop() && area.focus());
  by_id("sampling_summary").addEventListener("click", () => open_drawer(true));
  by_id("probabilities").addEventListener("click", () => {
    settings.set("probabilities", !settings.values.probabilities);
    chat.set_tinted(settings.values.probabilities);
  });
  by_id("system").addEventListener("input", (event) => chat.set_system(event.target.value));
  area.value = remembered(kDraftName) ?? "";
  by_id("default_system").addEventListener("input", adopt_default_system);
}

// ---- Keyboard

function escape() {
  if (by_id("key_dialog").open) return;
  if (document.body.classList.contains("drawer_open")) open_drawer(false);
  else if (narrow.matches && document.body.classList.contains("sidebar_open")) open_sidebar(false);
  else chat.stop();
}

const kShortcuts = {
  KeyN: () => new_chat(),
  KeyC: () => show_view("chat"),
  KeyB: () => show_view("both"),
  KeyL: () => show_view("live"),
  KeyS: () => open_drawer(!document.body.classList.contains("drawer_open")),
};

function on_key(event) {
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Escape") escape();
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyK") {
    event.preventDefault();
    open_sidebar(true);
    by_id("search").focus();
  }
  const shortcut = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && kShortcuts[event.code];
  if (shortcut) {
    event.preventDefault();
    shortcut();
  }
}

// ---- Start

function other_tab({key: name, newValue: text}) {
  if (name === "quire.theme" && text) {
    document.documentElement.dataset.theme = text;
    draw_theme();
    return;
  }
  if (chat.busy(name?.slice(name.lastIndexOf(".") + 1))) return;  // this page's copy is newer while it writes
  const id = store.take_from_other_tab(name, text);
  if (id === chat.conversation.id && store.get(id)) chat.open(store.get(id));
  else if (id) sidebar.render();
}

function new_chat() {
  chat.open_new();
  show_view(document.body.dataset.view === "live" ? "chat" : document.body.dataset.view);
  if (narrow.matches) open_sidebar(false);
  by_id("prompt").focus();
}

function open_conversation(id) {
  const conversation = store.get(id);
  if (conversation) chat.open(conversation);
  if (document.body.dataset.view === "live") show_view("chat");
  if (narrow.matches) open_sidebar(false);
}

function open_last() {
  const conversation = store.get(remembered(kOpenName));
  if (conversation) chat.open(conversation);
  else chat.open_new();
}

function wire_navigation() {
  const icons = {open_sidebar: "menu", close_sidebar: "close", open_drawer: "sliders", close_drawer: "close", send: "send", stop: "stop", to_end: "down"};
  for (const [id, name] of Object.entries(icons)) fill(by_id(id), icon(name));
  fill(by_id("new_chat"), icon("plus"), el("span", {}, "New conversation"));
  fill(by_id("export_all"), icon("save"), el("span", {}, "Export"));
  fill(by_id("import_all"), icon("open"), el("span", {}, "Import"));
  fill(by_id("brand_mark"), mark());
  fill(by_id("welcome_mark"), mark());
  by_id("new_chat").addEventListener("click", new_chat);
  by_id("open_sidebar").addEventListener("click", () => open_sidebar(!document.body.classList.contains("sidebar_open")));
  by_id("close_sidebar").addEventListener("click", () => open_sidebar(false));
  by_id("open_drawer").addEventListener("click", () => open_drawer(!document.body.classList.contains("drawer_open")));
  by_id("close_drawer").addEventListener("click", () => open_drawer(false));
  by_id("scrim").addEventListener("click", () => {
    open_drawer(false);
    open_sidebar(false);
  });
  by_id("theme").addEventListener("click", switch_theme);
  by_id("model_choice").addEventListener("change", (event) => {
    settings.set("model", event.target.value);
    model_changed();
  });
  for (const button of document.querySelectorAll(".views button")) button.addEventListener("click", () => show_view(button.dataset.view));
  addEventListener("hashchange", () => show_view(location.hash.slice(1) || "chat"));
  addEventListener("keydown", on_key);
  addEventListener("storage", (event) => other_tab(event));
  system_dark.addEventListener("change", draw_theme);
  wide.addEventListener("change", () => show_view(document.body.dataset.view));
  narrow.addEventListener("change", () => open_sidebar(!narrow.matches));
}

chat = new Chat(page);
sidebar = new Sidebar(store, {
  open: open_conversation,
  remove: (conversation) => {
    const was_open = conversation.id === chat.conversation.id;
    chat.forget(conversation.id);
    store.remove(conversation.id);
    if (was_open) chat.open_new();
    else sidebar.render();
    notice(`“${conversation.title || "Untitled"}” deleted.`, () => {
      store.save(conversation);
      if (was_open && !chat.conversation.chosen) chat.open(conversation);
      else sidebar.render();
    });
  },
  renamed: (conversation) => {
    store.save(conversation);
    conversation_changed();
  },
  imported: () => {
    const same = store.get(chat.conversation.id);
    if (same && !chat.busy()) chat.open(same);
    sidebar.render();
  },
  notice,
});
sidebar.busy = (id) => chat.busy(id);
wire_navigation();
wire_composer();
wire_key();
settings_changed();
chat.transcript.set_tinted(settings.values.probabilities);
open_sidebar(!narrow.matches);
open_last();
draw_theme();
grow();
const asked = location.hash.slice(1);
show_view(["both", "live"].includes(asked) ? asked : "chat");
start_up();
requestAnimationFrame(() => requestAnimationFrame(() => document.body.classList.add("standing")));
if (!narrow.matches) by_id("prompt").focus();
