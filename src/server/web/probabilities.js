// An answer as its tokens, tinted by probability; the five likeliest tokens of a place on hover and on keyboard focus.

import {by_id, el, fill} from "./dom.js";
import {percent} from "./format.js";

// {token, logprob, bytes, top_logprobs} of the wire, made small enough to keep.
export function token_of(entry) {
  const top = Array.isArray(entry.top_logprobs) ? entry.top_logprobs.slice(0, 5) : [];
  return {
    text: String(entry.token ?? ""),
    logprob: Number(entry.logprob ?? -Infinity),
    bytes: Array.isArray(entry.bytes) ? entry.bytes : undefined,
    top: top.map((other) => [String(other.token ?? ""), Number(other.logprob ?? -Infinity)]),
  };
}

// Tokens can hold parts of a character: it is shown with the token that completes it.
function shown_texts(tokens) {
  const decoder = new TextDecoder();
  return tokens.map((token) => {
    if (!token.bytes?.length) return token.text;
    return decoder.decode(Uint8Array.from(token.bytes), {stream: true});
  });
}

// Six steps, from certain (0, no tint) to surprising (5).
export function tint_step(probability) {
  const limits = [0.9, 0.6, 0.3, 0.1, 0.02];
  const step = limits.findIndex((limit) => probability >= limit);
  return step < 0 ? 5 : step;
}

export function render_tokens(parent, tokens) {
  const texts = shown_texts(tokens);
  // While an answer grows, existing tokens keep their elements.
  const kept = Math.min(parent.quire_tokens?.length ?? 0, parent.childNodes.length, tokens.length);
  while (parent.childNodes.length > kept) parent.lastChild.remove();
  for (let i = kept; i < tokens.length; ++i) parent.append(token_span(tokens[i], texts[i], i));
  parent.quire_tokens = tokens.slice();
  if (!parent.quire_watched) watch(parent);
}

function token_span(token, text, index) {
  const probability = Math.exp(token.logprob);
  const beaten = token.top.length > 0 && token.top[0][1] > token.logprob;
  const shown = text === "" ? "·" : text;
  return el("span", {
    class: `token p${tint_step(probability)}${beaten ? " beaten" : ""}${token.drafted ? " drafted" : ""}${text === "" ? " part" : ""}`,
    tabindex: index === 0 ? 0 : -1,
    role: "img",
    "aria-label": `${visible(token.text)}, ${percent(probability)}`,
    "aria-describedby": "token_card",
  }, shown);
}

// Spaces and breaks made visible.
function visible(text) {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ | $/g, "␣") || "∅";
}

function watch(parent) {
  parent.quire_watched = true;
  const show = (event) => {
    const span = event.target.closest?.(".token");
    if (span && parent.contains(span)) show_card(span, parent.quire_tokens[[...parent.childNodes].indexOf(span)]);
  };
  parent.addEventListener("pointerover", show);
  parent.addEventListener("focusin", show);
  parent.addEventListener("pointerleave", hide_card);
  parent.addEventListener("focusout", hide_card);
  parent.addEventListener("keydown", (event) => move_focus(parent, event));
}

// One tab stop for the whole answer; arrows walk through it.
function move_focus(parent, event) {
  const here = document.activeElement;
  const to = {
    ArrowRight: () => here.nextElementSibling,
    ArrowLeft: () => here.previousElementSibling,
    Home: () => parent.firstElementChild,
    End: () => parent.lastElementChild,
  }[event.key]?.();
  if (!to || here.parentNode !== parent) return;
  event.preventDefault();
  here.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function show_card(span, token) {
  if (!token) return;
  const card = by_id("token_card");
  const listed = token.top.some(([text, logprob]) => text === token.text && logprob === token.logprob);
  const rows = listed || !token.top.length ? token.top : [...token.top, [token.text, token.logprob]];
  const all = rows.length ? rows : [[token.text, token.logprob]];
  fill(card, el("p", {class: "card_title"}, el("code", {}, visible(token.text)), percent(Math.exp(token.logprob))),
    el("ol", {}, all.map(([text, logprob]) => candidate(text, Math.exp(logprob), text === token.text && logprob === token.logprob))));
  card.hidden = false;
  const at = span.getClientRects()[0] ?? span.getBoundingClientRect();
  const width = card.offsetWidth;
  const below = at.bottom + card.offsetHeight + 12 < innerHeight;
  card.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, at.left - 12))}px`;
  card.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - card.offsetHeight - 6)}px`;
}

// Moving the focus may scroll the page: the card goes with its token. A card under the pointer would stay behind: it goes away.
export function follow_scroll() {
  const span = document.activeElement;
  if (!span?.classList.contains("token")) hide_card();
  else show_card(span, span.parentNode.quire_tokens[[...span.parentNode.childNodes].indexOf(span)]);
}

function candidate(text, probability, taken) {
  const bar = el("i", {class: "bar"});
  bar.style.width = `${Math.max(1, probability * 100)}%`;
  return el("li", {class: taken && "taken"}, el("code", {}, visible(text)), el("span", {class: "track"}, bar), el("span", {class: "share"}, percent(probability)));
}

export function hide_card() {
  by_id("token_card").hidden = true;
}
