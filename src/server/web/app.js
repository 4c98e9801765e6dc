// Puts the page together, and has what concerns all of it: the key, the keyboard, other tabs.

import {key} from "./api.js";
import {Chat} from "./chat.js";
import {Composer} from "./composer.js";
import {by_id, el, fill, icon, mark} from "./dom.js";
import {Layout} from "./layout.js";
import {Live} from "./live.js";
import {remember, remembered} from "./memory.js";
import {notice} from "./notice.js";
import {Served} from "./served.js";
import {Settings} from "./settings.js";
import {Sidebar} from "./sidebar.js";
import {Store} from "./store.js";

const kOpenName = "quire.open";

const store = new Store(notice, {may_take: (id) => !chat.busy(id), taken: changed_in_other_tab});  // this page's copy is newer while it writes
const settings = new Settings(settings_changed);
const served = new Served({settings, live: () => live, ask_key: () => ask_key(start_up), send: (text) => chat.send(text), context_tokens: () => chat.context_tokens()});
const live = new Live({model: () => served.model()?.id, ask_key, on_status: (status, failure) => served.take_status(status, failure)});
const layout = new Layout(live);
const chat = new Chat({store, settings, ask_key, model: () => served.model()?.id ?? "", notice, changed: conversation_changed});
const sidebar = new Sidebar(store, {open: open_conversation, remove: remove_conversation, renamed, imported, busy: (id) => chat.busy(id), notice});
const composer = new Composer(chat, notice);

async function start_up() {
  await Promise.all([served.read_models(), live.read()]);
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

// ---- Conversations

function conversation_changed() {
  const busy = chat.busy();
  const {id, title} = chat.conversation;
  by_id("stop").hidden = !busy;
  by_id("send").hidden = busy;
  sidebar.show(id);
  served.draw_context();
  document.title = title ? `${title} · Quire` : "Quire";
  by_id("page_title").textContent = title || "New conversation";
  remember(kOpenName, id);
}

function new_chat() {
  chat.open_new();
  layout.show_chat();
  composer.focus();
}

function open_conversation(id) {
  const conversation = store.get(id);
  if (conversation) chat.open(conversation);
  layout.show_chat();
}

function open_last() {
  const conversation = store.get(remembered(kOpenName));
  if (conversation) chat.open(conversation);
  else chat.open_new();
}

function remove_conversation(conversation) {
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
}

function renamed(conversation) {
  store.save(conversation);
  conversation_changed();
}

function imported() {
  const same = store.get(chat.conversation.id);
  if (same && !chat.busy()) chat.open(same);
  sidebar.render();
}

function changed_in_other_tab(id) {
  const conversation = store.get(id);
  if (id === chat.conversation.id && conversation) chat.open(conversation);
  else sidebar.render();
}

// ---- Settings

function settings_changed() {
  by_id("sampling_summary").textContent = settings.summary() || "Default sampling";
  by_id("sampling_summary").title = settings.description();
  by_id("probabilities").setAttribute("aria-pressed", settings.values.probabilities);
}

// A conversation that has not begun follows the default.
function adopt_default_system() {
  if (chat.conversation.chosen) return;
  chat.set_system(settings.values.system ?? "");
  by_id("system").value = chat.conversation.system;
}

function wire_settings() {
  by_id("sampling_summary").addEventListener("click", () => layout.open_drawer(true));
  by_id("probabilities").addEventListener("click", () => {
    settings.set("probabilities", !settings.values.probabilities);
    chat.set_tinted(settings.values.probabilities);
  });
  by_id("show_drafts").checked = settings.values.drafts;
  by_id("show_drafts").addEventListener("change", ({target}) => {
    settings.set("drafts", target.checked);
    chat.set_drafts_shown(target.checked);
  });
  by_id("system").addEventListener("input", (event) => chat.set_system(event.target.value));
  by_id("default_system").addEventListener("input", adopt_default_system);
}

// ---- Keyboard

const kShortcuts = {
  KeyN: () => new_chat(),
  KeyC: () => layout.show_view("chat"),
  KeyB: () => layout.show_view("both"),
  KeyL: () => layout.show_view("live"),
  KeyS: () => layout.open_drawer(!layout.has_drawer()),
};

function on_key(event) {
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "Escape" && !by_id("key_dialog").open && !layout.close_topmost()) chat.stop();
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyK") {
    event.preventDefault();
    layout.open_sidebar(true);
    by_id("search").focus();
  }
  const shortcut = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && kShortcuts[event.code];
  if (shortcut) {
    event.preventDefault();
    shortcut();
  }
}

// ---- Start

function draw_icons() {
  const icons = {open_sidebar: "menu", close_sidebar: "close", open_drawer: "sliders", close_drawer: "close", send: "send", attach: "attach", stop: "stop", to_end: "down"};
  for (const [id, name] of Object.entries(icons)) fill(by_id(id), icon(name));
  fill(by_id("new_chat"), icon("plus"), el("span", {}, "New conversation"));
  fill(by_id("export_all"), icon("save"), el("span", {}, "Export"));
  fill(by_id("import_all"), icon("open"), el("span", {}, "Import"));
  fill(by_id("brand_mark"), mark());
  fill(by_id("welcome_mark"), mark());
}

draw_icons();
wire_key();
wire_settings();
by_id("new_chat").addEventListener("click", new_chat);
addEventListener("keydown", on_key);
addEventListener("storage", ({key: name, newValue: text}) => name === "quire.theme" && text && layout.take_theme(text));
settings_changed();
chat.transcript.set_tinted(settings.values.probabilities);
chat.transcript.set_drafts_shown(settings.values.drafts);
layout.begin();
start_up();
store.read().then(() => {
  if (chat.conversation.chosen) sidebar.render();  // the user was faster
  else open_last();
  chat.resume();
});
if (!layout.is_narrow()) composer.focus();
