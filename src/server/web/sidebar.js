// The list of conversations: search, rename, export, delete, import.

import {by_id, el, fill, icon_button} from "./dom.js";
import {conversation_markdown, download, file_name} from "./export.js";
import {kMaxImportBytes} from "./store.js";

export class Sidebar {
  // actions: {open(id), remove(conversation), renamed(conversation), imported(), busy(id), notice(text)}
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.current = null;
    by_id("search").addEventListener("input", () => this.render());
    by_id("export_all").addEventListener("click", () => this.export_all());
    by_id("import_file").addEventListener("change", (event) => this.import_file(event.target));
    by_id("import_all").addEventListener("click", () => by_id("import_file").click());
  }

  show(current) {
    this.current = current;
    this.render();
  }

  render() {
    const wanted = by_id("search").value.trim().toLowerCase();
    const all = this.store.list().filter((conversation) => matches(conversation, wanted));
    const list = by_id("conversations");
    // Focus survives the list's redrawing.
    const focused = document.activeElement?.closest?.("#conversations [data-id]")?.dataset.id;
    fill(list, [...group(all)].map(([title, members]) => el("section", {},
      el("h3", {}, title), el("ul", {}, members.map((conversation) => this.row(conversation))))),
      all.length === 0 && el("p", {class: "hint"}, wanted ? "No conversation has these words." : "Nothing written yet."));
    if (focused) list.querySelector(`[data-id="${focused}"] .open`)?.focus();
  }

  row(conversation) {
    const active = conversation.id === this.current;
    const open = el("button", {type: "button", class: "open", "aria-current": active && "page", onclick: () => this.actions.open(conversation.id)},
      el("span", {class: "name"}, conversation.title || "Untitled"), this.actions.busy(conversation.id) && el("i", {class: "busy", "aria-label": "answering"}));
    const row = el("li", {"data-id": conversation.id, class: active && "active"}, open,
      icon_button("edit", "Rename conversation", () => this.rename(row, conversation)),
      icon_button("save", "Export conversation as Markdown", () => download(file_name(conversation), conversation_markdown(conversation), "text/markdown")),
      icon_button("trash", "Delete conversation", () => this.actions.remove(conversation)));
    return row;
  }

  rename(row, conversation) {
    const input = el("input", {type: "text", maxlength: 80, value: conversation.title, "aria-label": "Title"});
    let finished = false;
    const finish = (take) => {
      if (finished) return;
      finished = true;
      const title = input.value.trim();
      if (take && title) {
        conversation.title = title;
        conversation.renamed = true;
        this.actions.renamed(conversation);
      }
      this.render();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") finish(true);
      if (event.key === "Escape") {
        event.stopPropagation();
        finish(false);
      }
    });
    input.addEventListener("blur", () => finish(true));
    fill(row, input);
    input.focus();
    input.select();
  }

  export_all() {
    const day = new Date().toISOString().slice(0, 10);
    download(`quire-conversations-${day}.json`, this.store.export_text(), "application/json");
  }

  async import_file(input) {
    const file = input.files[0];
    input.value = "";
    if (!file) return;
    try {
      if (this.store.list().some(({id}) => this.actions.busy(id))) throw new Error("An answer is being written; wait for it or stop it.");
      if (file.size > kMaxImportBytes) throw new Error(`The file has ${file.size} bytes; at most ${kMaxImportBytes} are read.`);
      const {count, unkept} = await this.store.import_text(await file.text());
      this.actions.imported();
      const lost = unkept ? ` ${unkept} found no room in the browser's storage and will be lost when the page closes.` : "";
      this.actions.notice(`${count} conversation${count === 1 ? "" : "s"} imported.${lost}`);
    } catch (error) {
      this.actions.notice(`Nothing was imported. ${error.message}`);
    }
  }
}

function matches(conversation, wanted) {
  if (!wanted || conversation.title.toLowerCase().includes(wanted)) return true;
  return Object.values(conversation.nodes).some((node) => node.content.toLowerCase().includes(wanted));
}

function age(conversation) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - conversation.updated) / 86400000);
  return days <= 0 ? "Today" : days === 1 ? "Yesterday" : days <= 7 ? "This week" : "Earlier";
}

function group(all) {
  const result = new Map();
  for (const conversation of all) {
    const title = age(conversation);
    if (!result.has(title)) result.set(title, []);
    result.get(title).push(conversation);
  }
  return result;
}
