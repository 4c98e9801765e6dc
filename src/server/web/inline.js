// Inline Markdown -> DOM nodes: code, emphasis, links, line breaks. Every step is linear in the text or bounded, because the
// text is a model's and may be hostile.

import {el} from "./dom.js";
import {render_maths} from "./maths.js";

const kMaxOpen = 100;      // delimiters waiting for their partner
const kMaxUrlChars = 2000;
const kMaxDepth = 4;       // links and emphasis inside link texts

const kPunctuation = /[!-/:-@[-`{-~\p{P}\p{S}]/u;
// What Markdown gives a meaning to on this page, so that a backslash takes it away. Before anything else a backslash stays:
// models write LaTeX, with and without the marks of maths.
const kEscapable = /[\\`*_~[\]<>#+.!|$-]/;
const kMaxMathsChars = 1000;  // between dollar signs
const kSafeUrl = /^(?:https?:\/\/|mailto:)/i;

// The only way an address becomes a link; anything else stays text.
export function safe_url(text) {
  // Browsers drop these characters inside a scheme, so they could hide one.
  if (/[\u0000-\u0020\u007f]/.test(text) || !kSafeUrl.test(text)) return null;
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

// A formula; what render_maths() does not know is shown as it was written, `open` and `close` included.
export function maths(open, source, close, display) {
  const drawn = render_maths(source, display);
  if (!display) return drawn ?? el("code", {class: "maths"}, open + source + close);
  return el("div", {class: "maths", tabindex: 0, role: "group", "aria-label": "Formula"}, drawn ?? el("code", {}, open + source + close));
}

export function render_inline(text, depth = 0) {
  const scanner = new Scanner(text, depth);
  scanner.run();
  return scanner.finish();
}

class Scanner {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.at = 0;
    this.pending = "";
    this.out = [];    // nodes, and delimiters {char, count} that may still open something
    this.open = [];   // indices of those delimiters in out
    this.closing = depth < kMaxDepth ? matching_brackets(text) : new Map();
    this.no_code = new Set();  // lengths of backtick runs that have no partner ahead
    this.no_maths = new Set();  // closing marks that do not come any more
  }

  run() {
    const {text} = this;
    while (this.at < text.length) {
      const char = text[this.at];
      if (char === "\\") this.escape();
      else if (char === "$") this.dollar();
      else if (char === "\n") this.line_break();
      else if (char === "`") this.code();
      else if (char === "*" || char === "_" || char === "~") this.delimiter(char);
      else if (char === "[" || (char === "!" && text[this.at + 1] === "[")) this.link();
      else if (char === "<" || char === "h") this.bare_link(char);
      else this.plain();
    }
    this.flush();
  }

  plain() {
    // Up to the next character that may mean something.
    const rest = /[\\\n`*_~[!<h$]/g;
    rest.lastIndex = this.at + 1;
    const next = rest.exec(this.text)?.index ?? this.text.length;
    this.pending += this.text.slice(this.at, next);
    this.at = next;
  }

  literal(length) {
    this.pending += this.text.slice(this.at, this.at + length);
    this.at += length;
  }

  flush() {
    if (this.pending) this.out.push(document.createTextNode(this.pending));
    this.pending = "";
  }

  push(node) {
    this.flush();
    this.out.push(node);
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "\n") {
      ++this.at;
      this.line_break();
    } else if (next === "(" && this.marked_maths("\\(", "\\)")) {
      return;
    } else if (next === "[" && this.marked_maths("\\[", "\\]")) {
      return;
    } else if (next && kEscapable.test(next)) {
      this.pending += next;
      this.at += 2;
    } else {
      this.literal(1);
    }
  }

  // Maths that begins here and has its closing mark; false when there is none.
  marked_maths(open, close) {
    const from = this.at + open.length;
    const end = this.no_maths.has(close) ? -1 : this.text.indexOf(close, from);
    if (end < 0) {
      this.no_maths.add(close);
      return false;
    }
    // \[text\](address) is a link that somebody escaped.
    if (close === "\\]" && this.text[end + close.length] === "(") return false;
    this.push(maths(open, this.text.slice(from, end), close, false));
    this.at = end + close.length;
    return true;
  }

  // Dollar signs are prices more often than marks: maths touches both of its marks and stands apart from words and figures. It
  // has a sign of maths in it, or no words and no number at its start that reads as a price.
  dollar() {
    const {text, at} = this;
    if (text[at + 1] === "$" && this.marked_maths("$$", "$$")) return;
    const end = text.indexOf("$", at + 1);
    const inside = end < 0 || end - at > kMaxMathsChars ? "" : text.slice(at + 1, end);
    const is_apart = !/[\w$]/.test(text[at - 1] ?? " ") && !/[\w$]/.test(text[end + 1] ?? " ");
    const is_formula = /[\\^_=<>]/.test(inside) || !(/[A-Za-z]{3}|^\d[\d.,]*\s/.test(inside) || inside === "");
    const is_maths = is_apart && is_formula && inside === inside.trim();
    if (!is_maths) {
      this.literal(1);
      return;
    }
    this.push(maths("$", inside, "$", false));
    this.at = end + 1;
  }

  line_break() {
    this.pending = this.pending.trimEnd();
    this.push(el("br"));
    ++this.at;
  }

  code() {
    const length = run_length(this.text, this.at);
    const end = this.no_code.has(length) ? -1 : find_run(this.text, "`", length, this.at + length);
    if (end < 0) {
      this.no_code.add(length);
      this.literal(length);
      return;
    }
    let inside = this.text.slice(this.at + length, end).replaceAll("\n", " ");
    if (inside.startsWith(" ") && inside.endsWith(" ") && inside.trim()) inside = inside.slice(1, -1);
    this.push(el("code", {}, inside));
    this.at = end + length;
  }

  link() {
    const image = this.text[this.at] === "!";
    const start = this.at + (image ? 1 : 0);
    const close = this.closing.get(start);
    const target = close !== undefined && this.text[close + 1] === "(" ? destination(this.text, close + 2) : null;
    const url = target && safe_url(target.url);
    if (!url) {
      this.literal(image ? 2 : 1);
      return;
    }
    const label = this.text.slice(start + 1, close);
    // Images are never loaded; they become links.
    const inside = image ? [label || "image"] : render_inline(label, this.depth + 1);
    this.push(anchor(url, inside));
    this.at = target.end;
  }

  bare_link(char) {
    const from = char === "<" ? this.at + 1 : this.at;
    if (!/^https?:\/\//i.test(this.text.slice(from, from + 8)) || (char === "h" && /\w/.test(this.text[this.at - 1] ?? ""))) {
      this.literal(1);
      return;
    }
    let end = from;
    while (end < this.text.length && end - from < kMaxUrlChars && !/[\s<>`"]/.test(this.text[end])) ++end;
    if (char === "<" && this.text[end] !== ">") {
      this.literal(1);
      return;
    }
    if (char === "h") {
      while (end > from && /[.,;:!?'*_~\])]/.test(this.text[end - 1]) && !balanced_end(this.text, from, end)) --end;
    }
    const shown = this.text.slice(from, end);
    const url = safe_url(shown);
    if (!url) {
      this.literal(1);
      return;
    }
    this.push(anchor(url, [shown]));
    this.at = char === "<" ? end + 1 : end;
  }

  delimiter(char) {
    const {text} = this;
    const count = run_length(text, this.at);
    const before = text[this.at - 1] ?? " ";
    const after = text[this.at + count] ?? " ";
    this.at += count;
    if (char === "~" && count !== 2) {
      this.pending += char.repeat(count);
      return;
    }
    const left = !/\s/.test(after) && (!kPunctuation.test(after) || /\s/.test(before) || kPunctuation.test(before));
    const right = !/\s/.test(before) && (!kPunctuation.test(before) || /\s/.test(after) || kPunctuation.test(after));
    const opens = char === "_" ? left && (!right || kPunctuation.test(before)) : left;
    const closes = char === "_" ? right && (!left || kPunctuation.test(after)) : right;
    const rest = closes ? this.close(char, count) : count;
    if (!rest) return;
    if (opens && this.open.length < kMaxOpen) {
      this.flush();
      this.open.push(this.out.length);
      this.out.push({char, count: rest});
    } else {
      this.pending += char.repeat(rest);
    }
  }

  // Wraps what lies between the nearest opener and here, as often as the run allows; returns what is left of the run.
  close(char, count) {
    this.flush();
    while (count) {
      let k = this.open.length - 1;
      while (k >= 0 && this.out[this.open[k]].char !== char) --k;
      if (k < 0) return count;
      const index = this.open[k];
      const opener = this.out[index];
      const used = opener.count >= 2 && count >= 2 ? 2 : 1;
      const tag = char === "~" ? "del" : used === 2 ? "strong" : "em";
      const wrapped = el(tag, {}, this.out.splice(index + 1).map(as_node));
      this.open.length = k;
      opener.count -= used;
      count -= used;
      if (opener.count) this.open.push(index);
      else this.out.pop();
      this.out.push(wrapped);
    }
    return 0;
  }

  finish() {
    return this.out.map(as_node);
  }
}

const as_node = (item) => (item instanceof Node ? item : document.createTextNode(item.char.repeat(item.count)));

function anchor(url, children) {
  return el("a", {href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url}, ...children);
}

function run_length(text, at) {
  let end = at;
  while (text[end] === text[at]) ++end;
  return end - at;
}

function find_run(text, char, length, from) {
  for (let at = text.indexOf(char, from); at >= 0; at = text.indexOf(char, at)) {
    const found = run_length(text, at);
    if (found === length) return at;
    at += found;
  }
  return -1;
}

// Index of "[" -> index of its "]", in one pass.
function matching_brackets(text) {
  const result = new Map();
  const open = [];
  for (let i = 0; i < text.length; ++i) {
    if (text[i] === "\\") ++i;
    else if (text[i] === "[") open.push(i);
    else if (text[i] === "]" && open.length) result.set(open.pop(), i);
  }
  return result;
}

// After "](": the address and the index behind ")"; null when it is not one.
function destination(text, from) {
  let depth = 0;
  let end = from;
  while (end < text.length && end - from < kMaxUrlChars && !/[\s<]/.test(text[end])) {
    if (text[end] === "(") ++depth;
    if (text[end] === ")" && depth-- === 0) break;
    ++end;
  }
  const url = text.slice(from, end);
  if (text[end] === ")") return {url, end: end + 1};
  const title = /^[ \n]+(?:"[^"\n]{0,500}"|'[^'\n]{0,500}')[ \n]*\)/.exec(text.slice(end, end + 600));
  return title ? {url, end: end + title[0].length} : null;
}

// Whether the address ends in a ")" that belongs to it, as in .../Quire_(folio)
function balanced_end(text, from, end) {
  if (text[end - 1] !== ")") return false;
  const url = text.slice(from, end);
  return url.split("(").length === url.split(")").length;
}
