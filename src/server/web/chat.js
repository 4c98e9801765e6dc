// The chat: what the user's actions do to conversations, and which answers are being written.

import {chat_url, key} from "./api.js";
import {announce, by_id, copy_text} from "./dom.js";
import {continued, generate, request_body, request_messages} from "./generation.js";
import {remember, remembered} from "./memory.js";
import {add_node, can_continue, choose, new_conversation, parts, path, path_to, remove_node} from "./store.js";
import {Transcript} from "./transcript.js";

const kRunningName = "quire.running";
const kSaveEveryMs = 1500;
const kSaveTypingMs = 400;
const kMaxRunning = 8;  // answers at a time, in all conversations

export class Chat {
  // page: {store, settings, ask_key(then), model(), notice(text, undo), changed()}
  constructor(page) {
    this.page = page;
    this.running = new Map();  // conversation id -> {node, controller, frame, saved}
    this.typed = new Map();    // conversations with words that are not stored yet -> timer
    this.transcript = new Transcript({
      regenerate: (node) => this.regenerate(node),
      edit: (node, text) => this.edit(node, text),
      choose: (node) => this.choose(node),
      retry: (node) => this.retry(node),
      go_on: (node) => this.go_on(node),
      remove: (node) => this.remove(node),
      give_results: (node, results) => this.give_results(node, results),
      enter_key: (node) => page.ask_key(() => this.retry(node)),
      copy_curl: (node, button) => copy_text(this.curl(node), button),
    });
    this.conversation = new_conversation(page.settings.values.system);
    addEventListener("pagehide", () => this.leave());
  }

  open(conversation) {
    this.conversation = conversation;
    this.show();
  }

  open_new() {
    this.open(new_conversation(this.page.settings.values.system));
  }

  show() {
    const busy = this.busy();
    this.transcript.show(this.conversation, path(this.conversation), busy);
    by_id("system").value = this.conversation.system;
    this.page.changed();
  }

  busy(id = this.conversation.id) {
    return this.running.has(id);
  }

  // Whether another answer may begin; asked before the conversation is changed. Where the user cannot see why not, says so.
  may_answer() {
    if (this.busy()) return false;
    if (this.running.size < kMaxRunning) return true;
    this.page.notice(`${kMaxRunning} answers are being written already. Stop one first.`);
    return false;
  }

  // False when nothing was sent: the text is still the caller's.
  send(text, attachments = []) {
    if (!text.trim() && !attachments.length) return false;
    return this.ask(path(this.conversation).at(-1)?.id ?? null, "user", text, {attachments: attachments.length ? attachments : undefined});
  }

  edit(node, text) {
    return this.ask(node.parent, "user", text, {attachments: node.attachments});
  }

  // Of the tools that the answer `node` calls.
  give_results(node, results) {
    this.ask(node.id, "tool", "", {results});
  }

  ask(parent, role, text, more) {
    if (!this.may_answer()) return false;
    const said = Object.assign(add_node(this.conversation, parent, role, text), more);
    this.conversation.title ||= more.attachments?.[0].name ?? "";
    this.run(this.conversation, add_node(this.conversation, said.id, "assistant", ""));
    return true;
  }

  // Answers that were being written when this tab was reloaded go on where they ended.
  resume() {
    const left = JSON.parse(remembered(kRunningName) || "[]");
    remember(kRunningName, "");
    for (const [id, node_id] of left) {
      const conversation = this.page.store.get(id);
      const node = conversation?.nodes[node_id];
      if (node?.state !== "broken" || this.busy(id) || this.running.size >= kMaxRunning) continue;
      if (can_continue(node)) this.run(conversation, node, true);
      else if (!node.children.length) this.run(conversation, node);
    }
  }

  remember_running() {
    remember(kRunningName, this.running.size ? JSON.stringify([...this.running].map(([id, {node}]) => [id, node.id])) : "");
  }

  // Another answer to the same message, as another branch.
  regenerate(node) {
    if (this.may_answer()) this.run(this.conversation, add_node(this.conversation, node.parent, "assistant", ""));
  }

  // An answer of which nothing arrived is replaced by the new one.
  retry(node) {
    if (node.content) this.regenerate(node);
    else if (this.may_answer()) this.run(this.conversation, node);
  }

  // A cut answer continues where it ended.
  go_on(node) {
    if (this.may_answer()) this.run(this.conversation, node, true);
  }

  // With all that follows it in its branch.
  remove(node) {
    if (this.busy()) return;
    const {conversation} = this;
    const {count, restore} = remove_node(conversation, node);
    this.page.store.save(conversation);
    this.show();
    this.page.notice(count === 1 ? "Message deleted." : `${count} messages deleted.`, () => {
      // Another tab may have replaced the conversation, or the parent may be gone too.
      if (this.page.store.get(conversation.id) !== conversation || (node.parent && !conversation.nodes[node.parent]) || this.busy(conversation.id)) return;
      restore();
      this.page.store.save(conversation);
      if (conversation === this.conversation) this.show();
    });
  }

  choose(node) {
    if (!node || this.busy()) return;
    choose(this.conversation, node);
    this.page.store.save(this.conversation);
    this.show();
  }

  stop() {
    const run = this.running.get(this.conversation.id);
    run?.controller.abort();
    return Boolean(run);
  }

  forget(id) {
    this.running.get(id)?.controller.abort();
    this.running.delete(id);
    this.remember_running();
  }

  set_system(text) {
    const {conversation} = this;
    conversation.system = text;
    if (!conversation.chosen) return;  // stored with its first message
    clearTimeout(this.typed.get(conversation));
    this.typed.set(conversation, setTimeout(() => this.save_typed(conversation), kSaveTypingMs));
  }

  save_typed(conversation) {
    clearTimeout(this.typed.get(conversation));
    this.typed.delete(conversation);
    if (this.page.store.get(conversation.id) === conversation) this.page.store.save(conversation);
  }

  set_tinted(tinted) {
    this.transcript.set_tinted(tinted);
    this.show();
  }

  set_drafts_shown(shown) {
    this.transcript.set_drafts_shown(shown);
    this.show();
  }

  body_for(conversation, node, continues = false) {
    const {settings, model} = this.page;
    const messages = request_messages(conversation, path_to(conversation, continues ? node.id : node.parent));
    const body = request_body(messages, model(), settings.fields());
    return continues ? continued(body, node) : body;
  }

  async run(conversation, node, continues = false) {
    const run = {node, controller: new AbortController(), frame: 0, saved: performance.now()};
    this.running.set(conversation.id, run);
    this.remember_running();
    const body = this.body_for(conversation, node, continues);
    node.state = "streaming";
    this.page.store.save(conversation);
    this.show();
    this.transcript.follow();
    announce("Answering.");
    await generate(node, body, run.controller.signal, () => this.grew(conversation, run));
    cancelAnimationFrame(run.frame);
    if (this.running.get(conversation.id) !== run) return;  // forgotten: the conversation was deleted
    this.running.delete(conversation.id);
    this.remember_running();
    conversation.updated = Date.now();
    this.page.store.save(conversation);
    if (conversation === this.conversation) this.show();
    else this.page.changed();
    announce(node.state === "failed" ? "The answer failed." : `Answer: ${parts(node).answer.slice(0, 2000)}`);
  }

  // Text arrives faster than the screen draws: one redraw a frame.
  grew(conversation, run) {
    if (performance.now() - run.saved > kSaveEveryMs) {
      run.saved = performance.now();
      this.page.store.save(conversation);
    }
    if (run.frame) return;
    run.frame = requestAnimationFrame(() => {
      run.frame = 0;
      if (conversation === this.conversation && this.running.get(conversation.id) === run) this.transcript.refresh(run.node, true);
    });
  }

  leave() {
    const running = [...this.running.keys()].map((id) => this.page.store.get(id)).filter(Boolean);
    this.page.store.leave([...this.typed.keys(), ...running]);
  }

  curl(node) {
    const body = JSON.stringify(this.body_for(this.conversation, node), null, 1).replaceAll("'", "'\\''");
    const auth = key.get() ? " \\\n  -H \"Authorization: Bearer $QUIRE_API_KEY\"" : "";
    return `curl -N ${chat_url()} \\\n  -H 'Content-Type: application/json'${auth} \\\n  -d '${body}'`;
  }

  // Tokens that the last answer and its prompt took, for the context meter.
  context_tokens() {
    const last = path(this.conversation).findLast((node) => node.stats?.prompt_tokens !== undefined);
    return last ? last.stats.prompt_tokens + (last.stats.completion_tokens ?? 0) : 0;
  }
}
