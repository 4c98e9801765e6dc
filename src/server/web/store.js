// Conversations: trees of messages, because an edited question or a second answer is another branch. Kept in the browser's
// database (database.js), checked when read, since an import or another version may have written them.

import {checked_attachments} from "./attachments.js";
import {Database} from "./database.js";
import {checked_calls, checked_results} from "./tool_calls.js";

const kMaxConversations = 500;
const kMaxNodes = 5000;
const kMaxTitleChars = 80;
export const kMaxImportBytes = 32 << 20;

export const new_id = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");

// Those that lie behind one another, as the page draws them.
function ascending_ranges(ranges) {
  if (!Array.isArray(ranges)) return undefined;
  let last = 0;
  return ranges.filter((range) => {
    const is_next = Number.isInteger(range?.[0]) && Number.isInteger(range[1]) && range[0] >= last && range[1] > range[0];
    if (is_next) last = range[1];
    return is_next;
  });
}

// node: {id, parent, role, content, reasoning, state, finish, failure, stats, tokens, drafts, attachments, calls, results, model,
// created, children, chosen}
// role: user, assistant, tool (the results of an answer's calls); drafts: [from, to] of what came from drafts in the content
// state: done, streaming, stopped (by the user), broken (the page was left), failed; `parent` null: the first message
export function new_conversation(system = "") {
  const now = Date.now();
  return {id: new_id(), title: "", renamed: false, created: now, updated: now, system, roots: [], chosen: null, nodes: {}};
}

export function add_node(conversation, parent, role, content) {
  const node = {id: new_id(), parent, role, content, reasoning: "", state: "done", created: Date.now(), children: [], chosen: null};
  conversation.nodes[node.id] = node;
  siblings(conversation, node).push(node.id);
  choose(conversation, node);
  conversation.updated = node.created;
  if (!conversation.renamed && !conversation.title && role === "user") conversation.title = title_of(content);
  return node;
}

// Takes a message and all that follow it out of the tree. -> {count, restore()}: how many they were, and what puts them back.
export function remove_node(conversation, node) {
  const among = siblings(conversation, node);
  const at = among.indexOf(node.id);
  const removed = [node];
  for (let i = 0; i < removed.length; ++i) removed.push(...removed[i].children.map((id) => conversation.nodes[id]));
  among.splice(at, 1);
  for (const {id} of removed) delete conversation.nodes[id];
  const holder = node.parent ? conversation.nodes[node.parent] : conversation;
  if (holder.chosen === node.id) holder.chosen = among[Math.min(at, among.length - 1)] ?? null;
  const restore = () => {
    for (const each of removed) conversation.nodes[each.id] = each;
    among.splice(at, 0, node.id);
    choose(conversation, node);
  };
  return {count: removed.length, restore};
}

export function siblings(conversation, node) {
  return node.parent ? conversation.nodes[node.parent].children : conversation.roots;
}

export function choose(conversation, node) {
  if (node.parent) conversation.nodes[node.parent].chosen = node.id;
  else conversation.chosen = node.id;
}

// The chosen branch, first message first.
export function path(conversation) {
  const result = [];
  for (let id = conversation.chosen; id; id = conversation.nodes[id].chosen) result.push(conversation.nodes[id]);
  return result;
}

export function path_to(conversation, id) {
  const result = [];
  for (; id; id = conversation.nodes[id].parent) result.unshift(conversation.nodes[id]);
  return result;
}

// The model's reasoning, whether the server sent it separately or the model wrote <think>.
export function parts(node) {
  if (node.reasoning || !node.content.trimStart().startsWith("<think>")) return {thinking: node.reasoning.trim(), answer: node.content};
  const text = node.content.trimStart().slice(7);
  const end = text.indexOf("</think>");
  if (end < 0) return {thinking: text.trim(), answer: ""};
  return {thinking: text.slice(0, end).trim(), answer: text.slice(end + 8).trimStart()};
}

// Whether an answer that ended early can go on where it stopped: nothing follows it, and its thoughts, which the server would not
// take back, are not apart from its text.
export function can_continue(node) {
  const is_cut = ["stopped", "broken", "failed"].includes(node.state) || node.finish === "length";
  return is_cut && node.content !== "" && !node.calls?.length && !parts(node).thinking && !node.children.length;
}

function title_of(text) {
  const line = text.trim().replace(/\s+/g, " ");
  const chars = [...line];
  return chars.length > 48 ? `${chars.slice(0, 47).join("").trimEnd()}…` : line;
}

export class Store {
  // on_full(text): what the user must know; on_other_tab(id): another tab changed or removed the conversation
  constructor(on_full, on_other_tab) {
    this.on_full = on_full;
    this.on_other_tab = on_other_tab;
    this.conversations = new Map();
    this.writing = new Set();  // {conversation} of each write that is on its way into the database
    this.opened = null;  // the database, when it is there
    this.database = Database.open((id) => this.take_from_other_tab(id)).then((database) => (this.opened = database));
  }

  // Reads what is stored. Meanwhile new conversations may begin.
  async read() {
    const entries = await (await this.database).all().catch(() => []);
    for (const entry of entries) if (!this.conversations.has(entry.id)) this.take(entry);
  }

  take(entry) {
    try {
      const conversation = checked(entry);
      this.conversations.set(conversation.id, conversation);
    } catch {
      // Unreadable: kept, since a newer version may be able to read it.
    }
  }

  async take_from_other_tab(id) {
    if (!this.on_other_tab.may_take(id)) return;
    const entry = await (await this.database).get(id).catch(() => undefined);
    if (entry) this.take(entry);
    else this.conversations.delete(id);
    this.on_other_tab.taken(id);
  }

  // Newest first.
  list() {
    return [...this.conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.conversations.get(id);
  }

  // Whether the conversation outlasts the page; if not, the user was told. It is in the list when the call returns.
  async save(conversation) {
    if (!this.conversations.has(conversation.id) && this.conversations.size >= kMaxConversations) {
      this.on_full(`There are ${kMaxConversations} conversations, which is the most that are kept. Delete some.`);
      return false;
    }
    this.conversations.set(conversation.id, conversation);
    const writing = {conversation};  // an earlier write of the same conversation may end before this one
    this.writing.add(writing);
    const outlasts = await this.write(conversation);
    this.writing.delete(writing);
    if (!outlasts) this.on_full("The browser stores nothing more: this conversation is lost when the page closes. Export or delete some.");
    return outlasts;
  }

  async write(conversation) {
    const database = await this.database;
    if (await database.put(conversation)) return true;
    // Token probabilities are by far the largest part and can be asked for again.
    return database.put(without_tokens(conversation));
  }

  // The page is being left: these have changed since they were saved.
  leave(changed) {
    for (const conversation of new Set([...changed, ...Array.from(this.writing, (writing) => writing.conversation)])) {
      if (!this.conversations.has(conversation.id)) continue;
      if (!this.opened?.leave(conversation)) this.opened?.leave(without_tokens(conversation));
    }
  }

  remove(id) {
    this.conversations.delete(id);
    this.database.then((database) => database.remove(id));
  }

  export_text() {
    return JSON.stringify({format: "quire-conversations", version: 1, conversations: this.list()}, null, 1);
  }

  // -> {count, unkept}: how many came in, and how many of them are lost when the page closes. Ones that are already here are
  // replaced. Throws Error with what is wrong.
  async import_text(text) {
    let json;
    try {
      json = JSON.parse(text);
    } catch {
      throw new Error("The file is not JSON.");
    }
    if (json?.format !== "quire-conversations" || !Array.isArray(json.conversations)) {
      throw new Error('The file is not an export of this page: it lacks "format": "quire-conversations".');
    }
    const all = json.conversations.map(checked);
    const kept = await Promise.all(all.map((conversation) => this.save(conversation)));
    return {count: all.length, unkept: kept.filter((outlasts) => !outlasts).length};
  }
}

function without_tokens(conversation) {
  const nodes = Object.entries(conversation.nodes).map(([id, node]) => [id, {...node, tokens: undefined}]);
  return {...conversation, nodes: Object.fromEntries(nodes)};
}

const text = (value, otherwise = "") => (typeof value === "string" ? value : otherwise);
const time = (value) => (Number.isFinite(value) ? value : Date.now());
const kIdForm = /^[\w-]{4,64}$/;

// A conversation of exactly the expected form, built from untrusted data.
function checked(json) {
  if (!kIdForm.test(json?.id) || typeof json.nodes !== "object") throw new Error("A conversation in the file has no id or no messages.");
  const entries = Object.values(json.nodes).slice(0, kMaxNodes).filter((node) => kIdForm.test(node?.id));
  const nodes = Object.fromEntries(entries.map((node) => [node.id, checked_node(node)]));
  const conversation = {
    id: json.id,
    title: text(json.title).slice(0, kMaxTitleChars),
    renamed: json.renamed === true,
    created: time(json.created),
    updated: time(json.updated),
    system: text(json.system),
    roots: [],
    chosen: null,
    nodes,
  };
  link(conversation, json);
  return conversation;
}

// Children follow from parents alone, so no list can contradict them; a circle of parents is never reached from the roots.
function link(conversation, json) {
  const {nodes} = conversation;
  const ordered = Object.values(nodes).sort((a, b) => a.created - b.created);
  for (const node of ordered) {
    if (node.parent && !nodes[node.parent]) node.parent = null;
    siblings(conversation, node).push(node.id);
  }
  const chosen = (wanted, among) => (among.includes(wanted) ? wanted : among.at(-1) ?? null);
  conversation.chosen = chosen(json.chosen, conversation.roots);
  for (const node of ordered) node.chosen = chosen(json.nodes[node.id]?.chosen, node.children);
}

function checked_node(node) {
  const known_state = ["done", "stopped", "broken", "failed"].includes(node.state);
  const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : undefined);
  return {
    id: node.id,
    parent: kIdForm.test(node.parent) ? node.parent : null,
    role: ["user", "tool"].includes(node.role) ? node.role : "assistant",
    content: text(node.content),
    reasoning: text(node.reasoning),
    // An answer that was streaming when the page was left has stopped.
    state: known_state ? node.state : node.state === "streaming" ? "broken" : "done",
    finish: text(node.finish),
    failure: object(node.failure),
    stats: object(node.stats),
    tokens: Array.isArray(node.tokens) ? node.tokens.filter((token) => typeof token?.text === "string" && Array.isArray(token.top)) : undefined,
    drafts: ascending_ranges(node.drafts),
    attachments: checked_attachments(node.attachments),
    calls: checked_calls(node.calls),
    results: checked_results(node.results),
    model: text(node.model),
    created: time(node.created),
    children: [],
    chosen: null,
  };
}
