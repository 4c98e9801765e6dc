// The conversation on the page: one article per message, kept by id, redrawn only where something changed.

import {attachment_list} from "./attachments.js";
import {by_id, copy_text, el, fill, icon_button, mark} from "./dom.js";
import {forget_drafts, mark_drafts} from "./drafts.js";
import {failure_card} from "./failure_card.js";
import {count, milliseconds, percent, rate} from "./format.js";
import {render_markdown} from "./markdown.js";
import {follow_scroll, hide_card, render_tokens, tint_step} from "./probabilities.js";
import {can_continue, parts, siblings} from "./store.js";
import {call_list, result_form, result_list} from "./tool_calls.js";

const kNearEnd = 60;  // pixels from the end: who scrolls down to there follows the text again
const kAtEnd = 2;     // places are fractions of pixels

export class Transcript {
  // actions: {regenerate(node), edit(node, text), choose(node), retry(node), go_on(node), remove(node), enter_key(node),
  // copy_curl(node, button), give_results(node, results)}; edit returns whether the text was taken
  constructor(actions) {
    this.actions = actions;
    this.list = by_id("messages");
    this.scroller = by_id("scroller");
    this.views = new Map();
    this.conversation = null;
    this.following = true;
    this.top = 0;  // the scroller's place when it was last read or set
    this.scroller.addEventListener("scroll", () => this.watch_scroll());
    by_id("to_end").addEventListener("click", () => this.follow());
    const observer = new ResizeObserver(() => this.keep_end());
    observer.observe(this.list);
    observer.observe(this.scroller);
  }

  show(conversation, nodes, busy) {
    const other = conversation !== this.conversation;
    if (other) {
      this.views.clear();
      forget_drafts();
    }
    this.conversation = conversation;
    hide_card();
    const elements = nodes.map((node) => this.view_of(node, busy));
    const wanted = new Set(elements);
    for (const child of [...this.list.children]) if (!wanted.has(child)) child.remove();
    elements.forEach((element, index) => {
      if (this.list.children[index] !== element) this.list.insertBefore(element, this.list.children[index] ?? null);
    });
    for (const id of [...this.views.keys()]) if (!nodes.some((node) => node.id === id)) this.views.delete(id);
    by_id("chat").classList.toggle("empty", nodes.length === 0);
    if (other) this.follow();
    else this.keep_end();
  }

  view_of(node, busy) {
    let view = this.views.get(node.id);
    if (!view) {
      view = {user: this.build_user, tool: this.build_results, assistant: this.build_answer}[node.role].call(this, node);
      this.views.set(node.id, view);
    }
    view.update(busy);
    return view.element;
  }

  // The node's text grew or its state changed.
  refresh(node, busy) {
    this.views.get(node.id)?.update(busy);
    this.keep_end();
  }

  build_user(node) {
    const body = el("div", {class: "body"});
    const actions = el("div", {class: "actions"});
    const element = el("article", {class: "message user", "data-id": node.id, "aria-label": "You"},
      el("div", {class: "gutter", "aria-hidden": "true"}, "¶"), el("div", {class: "column"}, body, actions));
    let editing = false;
    const update = (busy) => {
      if (editing) return;
      fill(body, attachment_list(node), node.content && el("p", {class: "said"}, node.content));
      fill(actions, this.branches(node, busy), this.copy_button(() => node.content),
        icon_button("edit", "Edit message", start, {disabled: busy, "data-action": "edit"}), this.delete_button(node, busy));
    };
    const finish = () => {
      editing = false;
      update(false);
    };
    const start = () => {
      editing = true;
      const area = this.editor(node, finish);
      fill(body, area);
      fill(actions);
      area.querySelector("textarea").focus();
    };
    return {element, update};
  }

  editor(node, finish) {
    const area = el("textarea", {rows: Math.min(12, node.content.split("\n").length + 1), value: node.content, "aria-label": "Edit message"});
    const send = () => {
      const text = area.value.trim();
      if (text && !this.actions.edit(node, text)) return;  // the text stays in the editor
      finish();
    };
    area.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        finish();
      } else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    return el("form", {class: "editor", onsubmit: (event) => {
      event.preventDefault();
      send();
    }}, area, el("div", {class: "row"}, el("span", {class: "hint"}, "The old version stays as another branch."),
      el("button", {type: "button", onclick: finish}, "Cancel"), el("button", {type: "submit", class: "primary"}, "Send")));
  }

  build_results(node) {
    const actions = el("div", {class: "actions"});
    const element = el("article", {class: "message results", "data-id": node.id, "aria-label": "Results of tools"},
      el("div", {class: "gutter", "aria-hidden": "true"}), el("div", {class: "column"}, result_list(node.results ?? []), actions));
    return {element, update: (busy) => fill(actions, this.branches(node, busy), this.delete_button(node, busy))};
  }

  build_answer(node) {
    const thought = el("details", {class: "thought"}, el("summary", {}, "Thoughts"), el("div", {class: "prose"}));
    const body = el("div", {class: "body prose"});
    const tint_key = el("p", {class: "tint_key"}, "likely", [1, 2, 3, 4, 5].map((step) => el("i", {class: `p${step}`, "aria-hidden": "true"})), "unlikely",
      el("span", {class: "beaten"}, "another was likelier"));
    const tokens = el("div", {class: "tokens", role: "group", "aria-label": "Tokens by probability; arrow keys move"});
    const calls = el("div", {class: "calls"});
    const card = el("div");
    const numbers = el("p", {class: "numbers"});
    const actions = el("div", {class: "actions"});
    const element = el("article", {class: "message answer", "data-id": node.id, "aria-label": "Answer"},
      el("div", {class: "gutter", "aria-hidden": "true"}, mark()),
      el("div", {class: "column"}, thought, body, tint_key, tokens, calls, card, el("div", {class: "foot"}, numbers, actions)));
    let drawn_state = "";
    let drawn_calls = "";
    const update = (busy) => {
      const streaming = node.state === "streaming";
      const tinted = this.tinted && node.tokens?.length > 0;
      element.classList.toggle("streaming", streaming);
      element.setAttribute("aria-busy", streaming);
      const {thinking, answer} = parts(node);
      thought.hidden = !thinking;
      if (thinking) render_markdown(thought.lastChild, thinking, streaming && !answer);
      body.hidden = tinted;
      tint_key.hidden = tokens.hidden = !tinted;
      if (tinted) render_tokens(tokens, node.tokens);
      else this.draw_prose(body, node, answer, streaming);
      element.classList.toggle("waiting", streaming && !node.content && !node.reasoning && !node.calls?.length);
      const called = JSON.stringify([node.calls, node.state, busy, node.children.length]);
      if (called !== drawn_calls) fill(calls, this.calls(node, busy));
      drawn_calls = called;
      const state = [node.state, busy, siblings(this.conversation, node).join()].join();
      if (state === drawn_state) return;
      drawn_state = state;
      fill(card, node.state === "failed" && failure_card(node, this.actions));
      fill(numbers, !streaming && this.numbers(node));
      fill(actions, !streaming && this.answer_actions(node, busy));
    };
    return {element, update};
  }

  // The last answer's calls wait for their results.
  calls(node, busy) {
    if (!node.calls?.length) return [];
    const waits = node.state === "done" && !node.children.length;
    return [...call_list(node.calls), waits && result_form(node.calls, busy, (results) => this.actions.give_results(node, results))];
  }

  draw_prose(body, node, answer, streaming) {
    render_markdown(body, answer, streaming);
    const begin = node.content.length - answer.length;
    const ranges = this.drafts_shown ? node.drafts ?? [] : [];
    mark_drafts(body, answer, ranges.map(([from, to]) => [from - begin, to - begin]));
  }

  answer_actions(node, busy) {
    const curl = icon_button("code", "Copy this request as a curl command", () => this.actions.copy_curl(node, curl));
    return [this.branches(node, busy), node.content && this.copy_button(() => parts(node).answer),
      node.state !== "failed" && can_continue(node) && icon_button("go_on", "Continue this answer", () => this.actions.go_on(node), {disabled: busy, "data-action": "continue"}),
      (node.content || node.state !== "failed") && icon_button("again", "Regenerate", () => this.actions.regenerate(node), {disabled: busy, "data-action": "regenerate"}), curl,
      this.delete_button(node, busy)];
  }

  delete_button(node, busy) {
    return icon_button("trash", "Delete message", () => this.actions.remove(node), {disabled: busy, "data-action": "delete"});
  }

  copy_button(text) {
    const button = icon_button("copy", "Copy", () => copy_text(text(), button));
    return button;
  }

  // < 2/3 >
  branches(node, busy) {
    const all = siblings(this.conversation, node);
    if (all.length < 2) return null;
    const at = all.indexOf(node.id);
    const go = (step) => this.actions.choose(this.conversation.nodes[all[at + step]]);
    return el("span", {class: "branches", role: "group", "aria-label": "Versions"},
      icon_button("left", "Previous version", () => go(-1), {disabled: at === 0 || busy}),
      el("span", {class: "place"}, `${at + 1}/${all.length}`),
      icon_button("right", "Next version", () => go(1), {disabled: at === all.length - 1 || busy}));
  }

  numbers(node) {
    const {stats = {}} = node;
    const items = [];
    const add = (name, value, title) => items.push(el("span", {title}, el("b", {}, value), ` ${name}`));
    const here = stats.measured_here ? "; measured by this page" : "";
    if (stats.ttft_ms !== undefined) add("to first token", milliseconds(stats.ttft_ms), `Time to first token${here}${waited(stats)}`);
    if (stats.tokens_per_second !== undefined) add("tokens/s", rate(stats.tokens_per_second), `Speed of writing${here}`);
    if (stats.completion_tokens !== undefined) add(stats.continues ? "tokens more" : "tokens", count(stats.completion_tokens), "Tokens that were written");
    if (stats.prompt_tokens !== undefined) add("prompt", count(stats.prompt_tokens), "Tokens of the prompt: the conversation so far and the template");
    if (stats.cached_tokens !== undefined) add("cached", count(stats.cached_tokens), cached_title(stats));
    if (stats.drafted) items.push(...drafts(stats));
    const note = {stopped: "stopped", broken: "left unfinished"}[node.state] ?? (node.finish === "length" && "token limit reached");
    if (note) items.push(el("span", {class: "note"}, note));
    if (node.tokens?.length) items.push(surprise(node.tokens));
    return items;
  }

  set_tinted(tinted) {
    this.tinted = tinted;
    hide_card();
  }

  set_drafts_shown(shown) {
    this.drafts_shown = shown;
    this.list.classList.toggle("drafts_shown", shown);
  }

  // Following stops when the user moves back, never because the text grew; it begins again at the end. Text that became
  // shorter moves the view back too, but then it stands at the very end.
  watch_scroll() {
    const {scrollTop, scrollHeight, clientHeight} = this.scroller;
    const rest = scrollHeight - scrollTop - clientHeight;
    if (scrollTop < this.top && rest >= kAtEnd) this.following = false;
    else if (scrollTop > this.top && rest < kNearEnd) this.following = true;
    this.top = scrollTop;
    by_id("to_end").hidden = this.following;
    follow_scroll();
  }

  follow() {
    this.following = true;
    this.keep_end();
    by_id("to_end").hidden = true;
  }

  keep_end() {
    if (!this.following) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }
}

const waited = ({queue_ms}) => (queue_ms === undefined ? "" : `, of it ${milliseconds(queue_ms)} in the queue`);

function cached_title({cached_tokens, prompt_tokens}) {
  const share = prompt_tokens ? ` (${percent(cached_tokens / prompt_tokens)})` : "";
  return `Prompt tokens taken from the prefix cache${share}`;
}

// A step chooses a token and as many as its drafts got right.
function drafts({drafted, accepted, completion_tokens}) {
  const held = el("span", {title: `Of ${count(drafted)} tokens that were guessed ahead, the model chose ${count(accepted)} too (${percent(accepted / drafted)})`},
    el("b", {}, `${count(accepted)}/${count(drafted)}`), " drafts held");
  if (!(completion_tokens > accepted)) return [held];
  const steps = el("span", {title: "Tokens that a step of the model chose"}, el("b", {}, (completion_tokens / (completion_tokens - accepted)).toFixed(1)), " tokens a step");
  return [held, steps];
}

function surprise(tokens) {
  const low = tokens.filter((token) => tint_step(Math.exp(token.logprob)) >= 3).length;
  return el("span", {title: "Tokens whose probability was below 30 %"}, el("b", {}, percent(low / tokens.length)), " unlikely");
}
