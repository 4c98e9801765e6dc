// The KV cache of a group of layers as a map: a cell per block, or per group of equally many blocks when there are more blocks
// than cells fit.

import {el, fill} from "./dom.js";
import {count} from "./format.js";

const kStates = "fcsa";  // the order in which a mixed cell is filled, least interesting first
const kNames = {f: "free", a: "active", s: "shared", c: "cached"};
const kLargestCell = 16;
const kSmallestCell = 5;  // pixels with its gap
const kHeight = 232;
const kLeastHeight = 96;

export class BlockMap {
  // `num_maps` share the height of one.
  constructor(num_maps = 1) {
    this.canvas = el("canvas", {role: "img"});
    this.caption = el("figcaption", {class: "hint"});
    this.legend = el("ul", {class: "legend"});
    this.place = el("span", {class: "map_point"});
    this.scale = el("span");
    this.element = el("figure", {class: "kv_map"}, this.caption, el("div", {class: "map_frame"}, this.canvas),
      el("div", {class: "map_foot"}, this.legend, el("span", {class: "hint"}, this.place, " ", this.scale)));
    this.height = Math.max(kLeastHeight, kHeight / num_maps);
    this.blocks = "";
    this.layout = null;
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.say(""));
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
  }

  // A group as status.js reads it.
  show(group, caption) {
    const {blocks} = group;
    this.caption.textContent = caption;
    this.caption.hidden = !caption;
    const shared = blocks.split("s").length - 1;
    const states = [["active", Math.max(0, group.blocks_active - shared)], ["shared", shared], ["cached", group.blocks_cached], ["free", group.blocks_free]];
    fill(this.legend, states.map(([name, value]) => el("li", {}, el("i", {class: `k-${name}`, "aria-hidden": "true"}), name, el("b", {}, count(value)))));
    this.canvas.setAttribute("aria-label", `KV cache. ${caption} ${states.map(([name, value]) => `${value} blocks ${name}`).join(", ")}`);
    if (blocks === this.blocks) return;
    this.blocks = blocks;
    this.draw();
  }

  draw() {
    const width = this.canvas.parentElement.clientWidth;
    if (!width) return;
    const {blocks, canvas} = this;
    const layout = lay_out(blocks.length, width, this.height);
    this.layout = layout;
    const scale = Math.min(3, devicePixelRatio || 1);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(layout.height * scale);
    canvas.style.height = `${layout.height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colours = Object.fromEntries(Object.entries(kNames).map(([state, name]) => [state, style.getPropertyValue(`--block-${name}`).trim()]));
    const size = layout.cell - (layout.cell > 8 ? 2 : 1);
    for (let cell = 0; cell < layout.num_cells; ++cell) {
      const x = (cell % layout.columns) * layout.cell;
      const y = Math.floor(cell / layout.columns) * layout.cell;
      paint_cell(context, colours, tally(blocks, cell, layout.per_cell), x, y, size);
    }
    this.scale.textContent = layout.per_cell > 1 ? `Each cell stands for ${layout.per_cell} blocks.` : "";
  }

  point(event) {
    const {layout, blocks} = this;
    if (!layout) return;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / layout.cell);
    const row = Math.floor((event.clientY - box.top) / layout.cell);
    const cell = row * layout.columns + column;
    if (column >= layout.columns || cell >= layout.num_cells) return this.say("");
    const from = cell * layout.per_cell;
    const to = Math.min(blocks.length, from + layout.per_cell) - 1;
    if (from === to) return this.say(`Block ${count(from)}: ${kNames[blocks[from]] ?? "unknown"}`);
    const found = tally(blocks, cell, layout.per_cell);
    const text = Object.entries(kNames).filter(([state]) => found[state]).map(([state, name]) => `${found[state]} ${name}`).join(", ");
    return this.say(`Blocks ${count(from)} to ${count(to)}: ${text}`);
  }

  say(text) {
    this.place.textContent = text;
  }
}

// The largest cells with which all blocks fit; if even the smallest do not, several blocks share one.
function lay_out(num_blocks, width, height) {
  for (let cell = kLargestCell; cell >= kSmallestCell; --cell) {
    const columns = Math.max(1, Math.floor(width / cell));
    const rows = Math.ceil(num_blocks / columns);
    if (rows * cell <= height) return {cell, columns, per_cell: 1, num_cells: num_blocks, height: Math.max(1, rows) * cell};
  }
  const columns = Math.max(1, Math.floor(width / kSmallestCell));
  const room = columns * Math.floor(height / kSmallestCell);
  const per_cell = Math.ceil(num_blocks / room);
  const num_cells = Math.ceil(num_blocks / per_cell);
  return {cell: kSmallestCell, columns, per_cell, num_cells, height: Math.ceil(num_cells / columns) * kSmallestCell};
}

function tally(blocks, cell, per_cell) {
  const found = {f: 0, c: 0, s: 0, a: 0};
  const to = Math.min(blocks.length, (cell + 1) * per_cell);
  for (let i = cell * per_cell; i < to; ++i) ++found[blocks[i]];
  return found;
}

// States fill a cell from the top in proportion to their blocks.
function paint_cell(context, colours, found, x, y, size) {
  const total = found.f + found.c + found.s + found.a;
  let top = y;
  for (const state of kStates) {
    if (!found[state]) continue;
    const height = (size * found[state]) / total;
    context.fillStyle = colours[state];
    context.fillRect(x, top, size, height);
    top += height;
  }
}
