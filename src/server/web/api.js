// The server's interface: the key, requests, the event stream and what goes wrong with them.
//
// Paths are relative to the page, which may stand behind a proxy under a path of its own.

import {remember, remembered} from "./memory.js";

const kKeyName = "quire.key";
const kMaxEventChars = 4 << 20;
const kChatPath = "v1/chat/completions";

export const chat_url = () => new URL(kChatPath, document.baseURI).href;

export const key = {get: () => remembered(kKeyName), set: (value) => remember(kKeyName, value)};

// What went wrong, in a form that can be stored with a message.
// kind: http (an answer with an error status), stream (an error event), network (no answer), broken (the stream ended early)
export class Failure extends Error {
  constructor(kind, message, more = {}) {
    super(message);
    Object.assign(this, {kind, status: 0, type: "", code: "", param: "", retry_after_s: 0}, more);
  }

  plain() {
    const {kind, message, status, type, code, param, retry_after_s} = this;
    return {kind, message, status, type, code, param, retry_after_s};
  }
}

function headers(extra = {}) {
  const secret = key.get();
  return secret ? {...extra, Authorization: `Bearer ${secret}`} : extra;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, {cache: "no-store", credentials: "omit", ...options});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("network", "The server did not answer. It may have stopped, or the network is down.");
  }
  if (!response.ok) throw await failure_of(response);
  return response;
}

async function failure_of(response) {
  let error = {};
  try {
    error = JSON.parse((await response.text()).slice(0, 65536)).error ?? {};
  } catch {
    // Not from Quire, perhaps a proxy's page: only the status is known.
  }
  return new Failure("http", text_of(error.message) || `The server answered with status ${response.status}.`, {
    status: response.status,
    ...details_of(error),
    retry_after_s: retry_after_s(response.headers),
  });
}

function retry_after_s(from) {
  const exact = Number(from.get("retry-after-ms"));
  const seconds = exact > 0 ? exact / 1000 : Number(from.get("retry-after"));
  return seconds > 0 ? Math.min(seconds, 3600) : 0;
}

const text_of = (value) => (typeof value === "string" ? value.slice(0, 4000) : "");
const details_of = (error) => ({type: text_of(error.type), code: text_of(error.code), param: text_of(error.param)});

export async function get_json(path, signal) {
  const response = await request(path, {headers: headers(), signal});
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("network", `The answer to ${path} is not JSON. Is this address a Quire server?`);
  }
}

// The chunks of a chat completion, in order. Returns after [DONE]; a stream that ends without it is a Failure.
export async function* stream_chat(body, signal) {
  const response = await request(kChatPath, {
    method: "POST",
    headers: headers({"Content-Type": "application/json"}),
    body: JSON.stringify(body),
    signal,
  });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    let chunk;
    try {
      chunk = JSON.parse(data);
    } catch {
      throw new Failure("broken", "The stream holds an event that is not JSON.");
    }
    if (chunk.error) {
      throw new Failure("stream", text_of(chunk.error.message) || "The server reported an error.", details_of(chunk.error));
    }
    yield chunk;
  }
  throw new Failure("broken", "The connection closed before the answer was complete.");
}

// The data of each server-sent event.
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  let data = [];
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      buffer += decoder.decode(value, {stream: true});
      if (buffer.length > kMaxEventChars) throw new Failure("broken", "An event of the stream is larger than 4 MiB.");
      const lines = buffer.split("\n");
      buffer = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Failure) throw error;
    throw new Failure("broken", "The connection broke before the answer was complete.");
  } finally {
    reader.cancel().catch(() => {});
  }
}
