// Calls of tools: what a stream tells of them, how they look, and the results that the user gives.

import {el} from "./dom.js";

const kMaxCalls = 64;
const kMaxArgumentChars = 1 << 20;

const text = (value) => (typeof value === "string" ? value : "");

// Of stored messages; undefined when there are none.
export function checked_calls(list) {
  if (!Array.isArray(list) || !list.length) return undefined;
  return list.slice(0, kMaxCalls).map((call) => ({id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments)}));
}
export function checked_results(list) {
  if (!Array.isArray(list) || !list.length) return undefined;
  return list.slice(0, kMaxCalls).map((result) => ({id: text(result?.id), name: text(result?.name), text: text(result?.text)}));
}

// Adds what a chunk brings to the calls of a node.
export function take_calls(node, deltas) {
  if (!Array.isArray(deltas)) return;
  node.calls ??= [];
  for (const delta of deltas) {
    const index = Number.isInteger(delta?.index) ? delta.index : node.calls.length;
    if (index < 0 || index > node.calls.length || index >= kMaxCalls) continue;
    const call = (node.calls[index] ??= {id: "", name: "", arguments: ""});
    call.id ||= text(delta.id);
    call.name ||= text(delta.function?.name);
    if (call.arguments.length < kMaxArgumentChars) call.arguments += text(delta.function?.arguments);
  }
}

// As messages of a request.
export const call_messages = (calls) => calls.map(({id, name, arguments: given}) => ({id, type: "function", function: {name, arguments: given || "{}"}}));
export const result_messages = (results) => results.map(({id, text: content}) => ({role: "tool", tool_call_id: id, content}));

function pretty(given) {
  try {
    return JSON.stringify(JSON.parse(given), null, 2);
  } catch {
    return given;
  }
}

export function call_list(calls) {
  return calls.map((call) => el("div", {class: "call"}, el("p", {}, "Calls ", el("code", {}, call.name)), el("pre", {}, pretty(call.arguments))));
}

export function result_list(results) {
  return results.map((result) => el("div", {class: "call"}, el("p", {}, "Result of ", el("code", {}, result.name)), el("pre", {}, result.text)));
}

// Where the user says what the tools answer; `send` gets the results.
export function result_form(calls, busy, send) {
  const areas = calls.map((call) => el("textarea", {rows: 2, "aria-label": `Result of ${call.name}`, placeholder: `Result of ${call.name}`}));
  const form = el("form", {class: "editor results", onsubmit: (event) => {
    event.preventDefault();
    send(calls.map((call, index) => ({id: call.id, name: call.name, text: areas[index].value})));
  }}, areas, el("div", {class: "row"}, el("span", {class: "hint"}, "The model goes on with what its tools answer."),
    el("button", {type: "submit", class: "primary", disabled: busy, "data-action": "results"}, "Send results")));
  return form;
}
