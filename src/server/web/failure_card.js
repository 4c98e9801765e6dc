// What went wrong with an answer, in plain words, and what can be done.

import {el, icon} from "./dom.js";
import {key} from "./api.js";
import {can_continue} from "./store.js";

// -> {title, advice}
function words(failure) {
  const {kind, status, code} = failure;
  if (status === 401) {
    return {title: "A key is needed", advice: key.get() ? "The server does not accept the key of this tab." : "This server answers only with an API key."};
  }
  if (status === 429) return {title: "The server is busy", advice: "Its queue is full. Nothing is lost: try again in a moment."};
  if (status === 503) {
    const loading = code === "model_loading";
    return {title: loading ? "The model is still loading" : "The server is not taking requests", advice: loading ? "It will answer as soon as it is ready." : "It is about to stop or restart."};
  }
  if (code === "context_length_exceeded") {
    return {title: "The conversation is too long", advice: "Edit an earlier message, start a new conversation, or lower “Max tokens”."};
  }
  if (status === 404) return {title: "There is no such model", advice: "Choose another one in the settings."};
  if (status === 408) return {title: "The time for this answer ran out", advice: "Try again when the server is less busy."};
  if (status >= 500) return {title: "The server failed", advice: "If it happens again, the server's log says why."};
  if (status >= 400) return {title: "The server refused the request", advice: failure.param ? `It concerns “${failure.param}”.` : "Check the settings."};
  if (kind === "network") return {title: "The server cannot be reached", advice: "Check that it runs, then try again."};
  if (kind === "broken") return {title: "The answer broke off", advice: "What had arrived is kept."};
  return {title: "The answer failed", advice: "What had arrived is kept."};
}

// actions: {retry(node), go_on(node), enter_key(node)}
export function failure_card(node, actions) {
  const failure = node.failure ?? {};
  const {title, advice} = words(failure);
  const retry = el("button", {type: "button", class: "primary", "data-action": "retry", onclick: () => actions.retry(node)}, icon("again"), el("span", {}, "Try again"));
  const go_on = can_continue(node) &&
    el("button", {type: "button", class: "primary", "data-action": "continue", onclick: () => actions.go_on(node)}, icon("go_on"), el("span", {}, "Continue"));
  const card = el("div", {class: "failure", role: "alert"},
    el("h3", {}, title),
    el("p", {}, advice),
    failure.message && el("p", {class: "said_by_server"}, failure.message),
    el("div", {class: "row"},
      failure.status === 401 && el("button", {type: "button", class: "primary", "data-action": "key", onclick: () => actions.enter_key(node)}, icon("key"), el("span", {}, "Enter key")),
      go_on,
      retry,
      failure.status > 0 && el("span", {class: "hint"}, [failure.status, failure.code].filter(Boolean).join(" · "))));
  if (failure.status === 401 || go_on) retry.classList.remove("primary");
  // Only a new refusal shows a countdown; one read from storage is over.
  const left_s = failure.retry_after_s - (Date.now() - (failure.time ?? 0)) / 1000;
  if (left_s > 0) count_down(retry, left_s);
  return card;
}

function count_down(button, seconds) {
  const end = performance.now() + seconds * 1000;
  const label = button.lastChild;
  button.disabled = true;
  const tick = () => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left <= 0) {
      button.disabled = false;
      label.textContent = "Try again";
      return;
    }
    label.textContent = `Try again in ${left} s`;
    // A card that left the page needs no clock.
    setTimeout(() => button.isConnected && tick(), 250);
  };
  tick();
}
