// Small charts as SVG: a line of the last minutes and a histogram.

import {el, fill, svg} from "./dom.js";
import {count, milliseconds, percent} from "./format.js";
import {quantile} from "./status.js";

const kWidth = 240;
const kHeight = 44;

// `values`: oldest first, NaN where there was no reading. The newest is at the right edge.
export function draw_line(parent, values, length) {
  const top = Math.max(1e-9, ...values.filter(Number.isFinite)) * 1.08;
  const first = length - values.length;
  const points = values.map((value, index) => [((first + index) / (length - 1)) * kWidth, kHeight - 1 - (value / top) * (kHeight - 4), value]);
  let line = "";
  let area = "";
  let run = [];
  const close_run = () => {
    if (run.length > 1) {
      const path = run.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      line += path;
      area += `${path}L${run.at(-1)[0].toFixed(1)} ${kHeight}L${run[0][0].toFixed(1)} ${kHeight}Z`;
    }
    run = [];
  };
  for (const point of points) {
    if (Number.isFinite(point[2])) run.push(point);
    else close_run();
  }
  close_run();
  fill(parent, svg("svg", {viewBox: `0 0 ${kWidth} ${kHeight}`, preserveAspectRatio: "none", class: "line", "aria-hidden": "true"},
    svg("path", {d: area || "M0 0", class: "area"}),
    svg("path", {d: line || "M0 0", class: "stroke", "vector-effect": "non-scaling-stroke"})));
}

// Buckets of equal width, empty ones at both ends left out.
export function draw_histogram(parent, title, explanation, histogram) {
  const {bounds, counts} = histogram;
  const first = Math.max(0, counts.findIndex((value) => value > 0) - 1);
  const last = Math.min(counts.length - 1, counts.findLastIndex((value) => value > 0) + 1);
  const shown = counts.slice(first, last + 1);
  const total = counts.reduce((sum, value) => sum + value, 0);
  const head = el("div", {class: "chart_head"}, el("h3", {title: explanation}, title), el("span", {class: "hint"}, `${count(total)} observed`));
  if (!total) {
    fill(parent, head, el("p", {class: "nothing"}, "Nothing observed in this time."));
    return;
  }
  const marks = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]].map(([name, share]) => [name, milliseconds(quantile(histogram, share) * 1000)]);
  const range = (index) => {
    const low = milliseconds((index ? bounds[index - 1] : 0) * 1000);
    return index < bounds.length ? `${low} to ${milliseconds(bounds[index] * 1000)}` : `above ${low}`;
  };
  const most = Math.max(...shown);
  const bars = shown.map((value, index) => bar(value, most, `${range(first + index)}: ${count(value)} (${percent(value / total)})`));
  const label = `${title}: ${marks.map(([name, value]) => `${name} ${value}`).join(", ")}; ${count(total)} observed`;
  fill(parent, head, el("dl", {class: "quantiles"}, marks.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("div", {class: "bars", role: "img", "aria-label": label}, bars),
    el("div", {class: "axis", "aria-hidden": "true"}, el("span", {}, milliseconds((first ? bounds[first - 1] : 0) * 1000)),
      el("span", {}, last < bounds.length ? milliseconds(bounds[last] * 1000) : `> ${milliseconds(bounds.at(-1) * 1000)}`)));
}

function bar(value, most, title) {
  const fill_bar = el("i");
  fill_bar.style.height = value ? `${Math.max(2, (value / most) * 100)}%` : "0";
  return el("span", {title}, fill_bar);
}

// Parts of a whole, side by side: [{name, value, kind}]
export function draw_parts(parent, parts, text_of) {
  const total = parts.reduce((sum, part) => sum + part.value, 0);
  const strip = el("div", {class: "strip", "aria-hidden": "true"}, parts.map((part) => {
    const piece = el("i", {class: `k-${part.kind}`, title: `${part.name}: ${text_of(part.value)}`});
    piece.style.flexGrow = total ? part.value / total : 0;
    return piece;
  }));
  fill(parent, strip, el("ul", {class: "legend"}, parts.map((part) =>
    el("li", {}, el("i", {class: `k-${part.kind}`, "aria-hidden": "true"}), part.name, el("b", {}, text_of(part.value))))));
}
