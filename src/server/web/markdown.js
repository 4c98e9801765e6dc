// Block Markdown -> DOM, rendered again and again while an answer streams: blocks whose source did not change keep their
// elements, so selection and scrolling survive.

import {copy_text, el, icon} from "./dom.js";
import {highlight} from "./highlight.js";
import {maths, render_inline} from "./inline.js";

const kMaxDepth = 8;  // quotes and lists inside each other; deeper ones are shown as text

const kFence = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)[^`]*$/;
const kHeading = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const kMaths = /^ {0,3}(\\\[|\$\$|\\begin\{((?:equation|align|gather)\*?)\})/;
const kMaxMathsLines = 100;
const kRule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const kQuote = /^ {0,3}>/;
const kItem = /^( *)([-*+]|\d{1,9}[.)])(?= |\t|$)/;
const kTableRule = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

// Brings `parent` up to `text`. Of the last block it is known that more may follow while `streaming`.
export function render_markdown(parent, text, streaming = false) {
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  const blocks = parse_blocks(lines, 0);
  const before = parent.quire_blocks ?? [];
  const sources = blocks.map((block, index) => {
    const tail = streaming && index === blocks.length - 1 ? "open" : "shut";
    return tail + lines.slice(block.from, block.to).join("\n");
  });
  let same = 0;
  while (same < sources.length && same < before.length && sources[same] === before[same]) ++same;
  while (parent.childNodes.length > same) parent.lastChild.remove();
  for (let i = same; i < blocks.length; ++i) {
    parent.append(build(blocks[i], streaming && i === blocks.length - 1));
  }
  parent.quire_blocks = sources;
}

function parse_blocks(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      ++at;
      continue;
    }
    const block = parse_block(lines, at, depth);
    blocks.push({...block, from: at});
    at = block.to;
  }
  return blocks;
}

function parse_block(lines, at, depth) {
  const line = lines[at];
  const fence = kFence.exec(line);
  if (fence) return parse_fence(lines, at, fence);
  const heading = kHeading.exec(line);
  if (heading) {
    return {type: "heading", level: heading[1].length, text: without_closing_hashes(line.slice(heading[0].length)), to: at + 1};
  }
  if (kRule.test(line)) return {type: "rule", to: at + 1};
  const formula = parse_maths(lines, at);
  if (formula) return formula;
  if (depth < kMaxDepth && kQuote.test(line)) return parse_quote(lines, at, depth);
  if (depth < kMaxDepth && kItem.test(line)) return parse_list(lines, at, depth);
  if (is_table(lines, at)) return parse_table(lines, at);
  return parse_paragraph(lines, at);
}

function without_closing_hashes(text) {
  const trimmed = text.trim();
  let end = trimmed.length;
  while (end > 0 && trimmed[end - 1] === "#") --end;
  return end === 0 ? "" : trimmed[end - 1] === " " ? trimmed.slice(0, end).trimEnd() : trimmed;
}

function parse_fence(lines, at, fence) {
  const [, marks, language] = fence;
  const indent = line_indent(lines[at]);
  let end = at + 1;
  const closes = (line) => {
    const text = line.trim();
    return text.length >= marks.length && line_indent(line) < 4 && text === marks[0].repeat(text.length);
  };
  while (end < lines.length && !closes(lines[end])) ++end;
  const code = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, line_indent(line))));
  const closed = end < lines.length;
  return {type: "code", language, code: code.join("\n"), closed, to: closed ? end + 1 : end};
}

// Displayed maths stands on lines of its own, its marks at their ends; null when it is not that, or its end is still to come.
function parse_maths(lines, at) {
  const found = kMaths.exec(lines[at]);
  if (!found) return null;
  const environment = found[2];
  const open = environment ? "" : found[1];
  const close = open === "\\[" ? "\\]" : open || `\\end{${environment}}`;
  let source = lines[at].slice(environment ? found[0].length - found[1].length : found[0].length);
  for (let end = at; end < lines.length && end < at + kMaxMathsLines; ++end) {
    if (end > at) source += `\n${lines[end]}`;
    const place = source.indexOf(close, Math.max(0, source.length - lines[end].length));
    if (place < 0) continue;
    if (/[^\s.,;]/.test(source.slice(place + close.length))) return null;
    const inside = source.slice(0, place + (environment ? close.length : 0));
    return {type: "maths", open, close: environment ? "" : close, source: inside, to: end + 1};
  }
  return null;
}

function parse_quote(lines, at, depth) {
  const inside = [];
  let end = at;
  for (; end < lines.length; ++end) {
    if (kQuote.test(lines[end])) inside.push(lines[end].trimStart().slice(1).replace(/^ /, ""));
    else if (inside.length && inside.at(-1).trim() && !starts_block(lines, end)) inside.push(lines[end]);
    else break;
  }
  return {type: "quote", blocks: parse_blocks(inside, depth + 1), to: end};
}

function parse_list(lines, at, depth) {
  const first = kItem.exec(lines[at]);
  const ordered = first[2].length > 1;
  const kind = first[2].at(-1);
  const base = first[1].length;
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const item = kItem.exec(lines[end]);
    if (!item || item[2].at(-1) !== kind || item[1].length > base + 1 || kRule.test(lines[end])) break;
    const [body, to] = item_lines(lines, end, item);
    // Blank lines between two items, or between two paragraphs of an item, space out the list.
    const blank = body.findIndex((line) => !line.trim());
    loose ||= blank > 0 && body.slice(blank).some((line) => line.trim() && !kItem.test(line));
    const next = to < lines.length && kItem.test(lines[to]) && line_indent(lines[to]) <= base + 1;
    loose ||= next && to > end && !lines[to - 1].trim();
    items.push(body);
    end = to;
  }
  return {
    type: "list",
    ordered,
    start: ordered ? Number.parseInt(first[2], 10) : 1,
    loose,
    items: items.map((body) => parse_item(body, depth)),
    to: end,
  };
}

// The lines that belong to the item that begins at `at`, without its marker and indentation, and the index behind them.
function item_lines(lines, at, item) {
  const content = item[0].length + 1;
  const body = [lines[at].slice(content)];
  let end = at + 1;
  for (; end < lines.length; ++end) {
    const line = lines[end];
    if (!line.trim()) {
      // A blank line belongs to the item only if something indented follows.
      let next = end + 1;
      while (next < lines.length && next < end + 4 && !lines[next].trim()) ++next;
      if (!lines[next]?.trim()) break;
      if (line_indent(lines[next]) < item[1].length + 2) {
        const same_list = kItem.test(lines[next]) && line_indent(lines[next]) <= item[1].length + 1;
        return [body, same_list ? next : end];
      }
      body.push("");
    } else if (line_indent(line) >= item[1].length + 2) {
      body.push(line.slice(Math.min(content, line_indent(line))));
    } else if (body.at(-1).trim() && !starts_block(lines, end)) {
      body.push(line.trimStart());
    } else {
      break;
    }
  }
  return [body, end];
}

function parse_item(body, depth) {
  const task = /^\[([ xX])\] /.exec(body[0]);
  if (task) body[0] = body[0].slice(4);
  return {task: task && task[1] !== " " ? "done" : task ? "open" : "", blocks: parse_blocks(body, depth + 1)};
}

function is_table(lines, at) {
  return at + 1 < lines.length && lines[at].includes("|") && lines[at + 1].includes("-") && kTableRule.test(lines[at + 1]) &&
    cells(lines[at]).length === cells(lines[at + 1]).length;
}

function parse_table(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => {
    if (cell.startsWith(":") && cell.endsWith(":")) return "center";
    return cell.endsWith(":") ? "right" : "left";
  });
  let end = at + 2;
  const rows = [];
  while (end < lines.length && lines[end].includes("|") && !kQuote.test(lines[end])) rows.push(cells(lines[end++]));
  return {type: "table", align, head: cells(lines[at]), rows, to: end};
}

// A row's cells; a pipe in inline code or behind a backslash does not divide.
function cells(line) {
  const result = [""];
  let in_code = false;
  const text = line.trim().replace(/^\|/, "");
  for (let i = 0; i < text.length; ++i) {
    if (text[i] === "\\" && text[i + 1] === "|") result[result.length - 1] += text[++i];
    else if (text[i] === "|" && !in_code) result.push("");
    else {
      if (text[i] === "`") in_code = !in_code;
      result[result.length - 1] += text[i];
    }
  }
  if (result.length > 1 && !result.at(-1).trim()) result.pop();
  return result.map((cell) => cell.trim());
}

function parse_paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !starts_block(lines, end)) ++end;
  return {type: "paragraph", text: lines.slice(at, end).map((line) => line.trimStart()).join("\n"), to: end};
}

function starts_block(lines, at) {
  const line = lines[at];
  return !line.trim() || kFence.test(line) || kHeading.test(line) || kRule.test(line) || kQuote.test(line) ||
    kItem.test(line) || is_table(lines, at) || parse_maths(lines, at) !== null;
}

function line_indent(line) {
  let indent = 0;
  while (line[indent] === " ") ++indent;
  return indent;
}

const kBuilders = {
  // Headings of an answer stand below the page's own.
  heading: (block) => el(`h${Math.min(6, block.level + 2)}`, {class: `level${block.level}`}, render_inline(block.text)),
  rule: () => el("hr"),
  maths: ({open, source, close}) => maths(open, source, close, true),
  paragraph: (block) => el("p", {}, render_inline(block.text)),
  quote: (block, open) => el("blockquote", {}, build_all(block.blocks, open)),
  code: build_code,
  list: build_list,
  table: build_table,
};

function build(block, open) {
  return kBuilders[block.type](block, open);
}

function build_all(blocks, open) {
  return blocks.map((block, index) => build(block, open && index === blocks.length - 1));
}

function build_list(block, open) {
  const items = block.items.map(({task, blocks}, index) => {
    const last = open && index === block.items.length - 1;
    const children = blocks.map((inner, place) => {
      const tight = !block.loose && inner.type === "paragraph";
      return tight ? el("span", {class: "tight"}, render_inline(inner.text)) : build(inner, last && place === blocks.length - 1);
    });
    const box = task && el("input", {type: "checkbox", disabled: true, checked: task === "done", "aria-label": task});
    return el("li", {class: task && "task"}, box, children);
  });
  return block.ordered ? el("ol", {start: block.start}, items) : el("ul", {}, items);
}

function build_table(block) {
  const row = (tag, texts) => el("tr", {}, block.align.map((align, index) =>
    el(tag, {class: align, scope: tag === "th" && "col"}, render_inline(texts[index] ?? ""))));
  const table = el("table", {}, el("thead", {}, row("th", block.head)), el("tbody", {}, block.rows.map((texts) => row("td", texts))));
  return el("div", {class: "table", tabindex: 0, role: "region", "aria-label": "Table"}, table);
}

function build_code(block, open) {
  const growing = open && !block.closed;
  // An open fence grows with every token: it is coloured once, when it closes.
  const code = el("code", {}, growing ? block.code : highlight(block.code, block.language));
  const copy = el("button", {type: "button", class: "quiet", "aria-label": "Copy code", title: "Copy code"}, icon("copy"));
  copy.addEventListener("click", () => copy_text(block.code, copy));
  return el("figure", {class: "code"},
    el("figcaption", {}, el("span", {}, block.language || "text"), copy),
    el("pre", {tabindex: 0, "aria-label": "Code"}, code));
}
