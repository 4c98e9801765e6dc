// One answer being written: sends the request, follows the stream, fills the message's node. Knows nothing of the page.

import {Failure, stream_chat} from "./api.js";
import {with_attachments} from "./attachments.js";
import {DraftMarks} from "./drafts.js";
import {token_of} from "./probabilities.js";
import {parts} from "./store.js";
import {call_messages, result_messages, take_calls} from "./tool_calls.js";

const kMaxAnswerChars = 2 << 20;
const kMaxTokens = 20000;  // with probabilities; later ones keep only their text

// The messages that lead to an answer, as the server wants them: roles alternate (many templates insist), so questions that got
// no answer are joined with the next one; thoughts are not sent back.
export function request_messages(conversation, nodes) {
  const messages = [];
  for (const node of nodes) {
    if (node.role === "tool") {
      messages.push(...result_messages(node.results ?? []));
      continue;
    }
    const content = node.role === "user" ? with_attachments(node) : parts(node).answer;
    const calls = answered_calls(conversation, node);
    if (!content && !calls) continue;
    if (messages.at(-1)?.role === node.role && !calls && !messages.at(-1).tool_calls) messages.at(-1).content += `\n\n${content}`;
    else messages.push({role: node.role, content, ...(calls ? {tool_calls: call_messages(calls)} : {})});
  }
  const system = conversation.system.trim();
  return system ? [{role: "system", content: system}, ...messages] : messages;
}

// Calls whose results are not known are not told: a template could not render them.
function answered_calls(conversation, node) {
  const next = conversation.nodes[node.chosen];
  return node.calls?.length && next?.role === "tool" ? node.calls : undefined;
}

export function request_body(messages, model, fields) {
  return {
    ...(model ? {model} : {}),
    messages,
    ...fields,
    stream: true,
    stream_options: {include_usage: true},
    quire_timings: true,
  };
}

// The request that lets the last message, the answer `node`, go on. Probabilities of a part of it only would look like all of it.
export function continued(body, node) {
  const result = {...body, continue_final_message: true, add_generation_prompt: false};
  if (!node.tokens) delete result.logprobs;
  if (!node.tokens) delete result.top_logprobs;
  return result;
}

// Runs until the answer is complete, failed or stopped; never throws. `on_change` is called after each chunk. What the node has
// already stays when its answer is continued.
export async function generate(node, body, signal, on_change) {
  const clock = {start: performance.now(), first: 0, last: 0, chunks: 0};
  const continues = body.continue_final_message === true;
  if (!continues) Object.assign(node, {content: "", reasoning: "", drafts: undefined, calls: undefined});
  const marks = new DraftMarks(node, node.content.length);
  if (!continues || !body.logprobs) node.tokens = undefined;
  Object.assign(node, {state: "streaming", finish: "", failure: undefined, stats: undefined});
  try {
    for await (const chunk of stream_chat(body, signal)) {
      take_chunk(node, chunk, clock, marks);
      if (node.content.length + node.reasoning.length > kMaxAnswerChars) {
        throw new Failure("broken", "The answer is longer than 2 MiB; this page keeps no more.");
      }
      on_change();
    }
    node.state = "done";
  } catch (error) {
    if (error.name === "AbortError") {
      node.state = "stopped";
    } else {
      node.state = "failed";
      const failure = error instanceof Failure ? error : new Failure("page", `This page failed: ${error.message}`);
      node.failure = {...failure.plain(), time: Date.now()};
    }
  }
  node.stats = {...complete_stats(node.stats ?? {}, clock), continues};
  on_change();
}

function take_chunk(node, chunk, clock, marks) {
  if (typeof chunk.model === "string") node.model = chunk.model;
  const choice = chunk.choices?.[0];
  if (choice) {
    const delta = choice.delta ?? {};
    const text = typeof delta.content === "string" ? delta.content : "";
    const thought = typeof delta.reasoning === "string" ? delta.reasoning : delta.reasoning_content;
    if (text || thought || delta.tool_calls) {
      clock.last = performance.now();
      clock.first ||= clock.last;
      ++clock.chunks;
    }
    node.content += text;
    if (typeof thought === "string") node.reasoning += thought;
    take_calls(node, delta.tool_calls);
    take_tokens(node, choice.logprobs?.content, choice.quire_drafts);
    marks.take(choice.quire_drafts);
    if (choice.finish_reason) node.finish = choice.finish_reason;
  }
  if (chunk.usage || chunk.timings) node.stats = {...node.stats, ...stats_of(chunk)};
}

function take_tokens(node, entries, marks) {
  if (!Array.isArray(entries) || !entries.length) return;
  node.tokens ??= [];
  for (const [index, entry] of entries.entries()) {
    const token = token_of(entry);
    if (marks?.[index]?.[1] === true) token.drafted = true;
    if (node.tokens.length >= kMaxTokens) token.top = [];
    node.tokens.push(token);
  }
}

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

function stats_of({usage = {}, timings = {}}) {
  const all = {
    prompt_tokens: number(usage?.prompt_tokens),
    completion_tokens: number(usage?.completion_tokens),
    cached_tokens: number(usage?.prompt_tokens_details?.cached_tokens ?? timings?.cached_tokens),
    ttft_ms: number(timings?.ttft_ms),
    decode_ms: number(timings?.decode_ms),
    queue_ms: number(timings?.queue_ms),
    tokens_per_second: number(timings?.tokens_per_second),
    drafted: number(timings?.draft_n),
    accepted: number(timings?.draft_n_accepted),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

// Times that the server did not send are measured here; `measured_here` says so.
function complete_stats(stats, {start, first, last, chunks}) {
  const result = {...stats};
  if (result.ttft_ms === undefined && first) {
    result.ttft_ms = first - start;
    result.measured_here = true;
  }
  if (result.tokens_per_second === undefined && chunks > 1 && last > first) {
    result.tokens_per_second = ((result.completion_tokens ?? chunks) - 1) / ((last - first) / 1000);
    result.measured_here = true;
  }
  if (result.completion_tokens === undefined && chunks) result.received_chunks = chunks;
  return result;
}
