// The KV cache as a map: a cell per block, or per group of equally many blocks when there are more blocks than cells
// fit.

import {by_id} from "./dom.js";
import {count} from "./format.js";

const kStates = "fcsa";  // the order in which a mixed cell is filled, least interesting first
const kNames = {f: "free", a: "active", s: "shared", c: "cached"};
const kLargestCell = 16;
const kSmallestCell = 5;  // pixels with its gap
const kHeight = 232;

export class BlockMap {
  constructor(canvas) {
    this.canvas = canvas;
    this.blocks = "";
    this.layout = null;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.say(""));
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  show(blocks) {
    if (blocks === this.blocks) return;
    this.blocks = blocks;
    this.draw();
  }

  draw() {
    const width = this.canvas.parentElement.clientWidth;
    if (!width) return;
    const {blocks, canvas} = this;
    const layout = lay_out(blocks.length, width);
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
    const note = layout.per_cell > 1 ? `Each cell stands for ${layout.per_cell} blocks.` : "";
    by_id("map_scale").textContent = note;
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
    by_id("map_point").textContent = text;
  }
}

// The largest cells with which all blocks fit; if even the smallest do not, several blocks share one.
function lay_out(num_blocks, width) {
  for (let cell = kLargestCell; cell >= kSmallestCell; --cell) {
    const columns = Math.max(1, Math.floor(width / cell));
    const rows = Math.ceil(num_blocks / columns);
    if (rows * cell <= kHeight) return {cell, columns, per_cell: 1, num_cells: num_blocks, height: Math.max(1, rows) * cell};
  }
  const columns = Math.max(1, Math.floor(width / kSmallestCell));
  const room = columns * Math.floor(kHeight / kSmallestCell);
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
