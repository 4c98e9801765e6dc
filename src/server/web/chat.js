// The chat: what the user's actions do to conversations, and which answers are being written.

import {chat_url, key} from "./api.js";
import {announce, by_id, copy_text} from "./dom.js";
import {generate, request_body, request_messages} from "./generation.js";
import {add_node, choose, new_conversation, parts, path, path_to} from "./store.js";
import {Transcript} from "./transcript.js";

const kSaveEveryMs = 1500;
const kMaxRunning = 8;  // answers at a time, in all conversations

export class Chat {
  // page: {store, settings, ask_key(then), model(), notice(text), changed()}
  constructor(page) {
    this.page = page;
    this.running = new Map();  // conversation id -> {node, controller, frame, saved}
    this.transcript = new Transcript({
      regenerate: (node) => this.regenerate(node),
      edit: (node, text) => this.edit(node, text),
      choose: (node) => this.choose(node),
      retry: (node) => this.retry(node),
      enter_key: (node) => page.ask_key(() => this.retry(node)),
      copy_curl: (node, button) => copy_text(this.curl(node), button),
    });
    this.conversation = new_conversation();
    addEventListener("pagehide", () => this.save_all());
  }

  open(conversation) {
    this.conversation = conversation;
    this.show();
  }

  open_new() {
    this.open(new_conversation());
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
  send(text) {
    if (!text.trim()) return false;
    return this.ask(path(this.conversation).at(-1)?.id ?? null, text);
  }

  edit(node, text) {
    return this.ask(node.parent, text);
  }

  ask(parent, text) {
    if (!this.may_answer()) return false;
    const user = add_node(this.conversation, parent, "user", text);
    this.run(this.conversation, add_node(this.conversation, user.id, "assistant", ""));
    return true;
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
  }

  set_system(text) {
    this.conversation.system = text;
    if (Object.keys(this.conversation.nodes).length) this.page.store.save(this.conversation);
  }

  set_tinted(tinted) {
    this.transcript.set_tinted(tinted);
    this.show();
  }

  body_for(conversation, node) {
    const {settings, model} = this.page;
    return request_body(request_messages(conversation, path_to(conversation, node.parent)), model(), settings.fields());
  }

  async run(conversation, node) {
    const run = {node, controller: new AbortController(), frame: 0, saved: performance.now()};
    this.running.set(conversation.id, run);
    node.state = "streaming";
    this.page.store.save(conversation);
    this.show();
    this.transcript.follow();
    announce("Answering.");
    await generate(node, this.body_for(conversation, node), run.controller.signal, () => this.grew(conversation, run));
    cancelAnimationFrame(run.frame);
    if (this.running.get(conversation.id) !== run) return;  // forgotten: the conversation was deleted
    this.running.delete(conversation.id);
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

  save_all() {
    for (const [id] of this.running) {
      const conversation = this.page.store.get(id);
      if (conversation) this.page.store.save(conversation);
    }
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
