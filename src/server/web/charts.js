// Small charts as SVG: a line of the last minutes and a histogram.

import {el, fill, svg} from "./dom.js";
import {count, milliseconds, percent} from "./format.js";
import {quantile} from "./status.js";

const kWidth = 240;
const kHeight = 44;
const kLeastBuckets = 20;
const kMostBars = 40;
const kMostMarks = 6;

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

// The buckets' widths grow with their values, so the axis is logarithmic: bars of equal width, marks where bounds are round.
export function draw_histogram(parent, title, explanation, histogram) {
  const {bounds, counts} = histogram;
  const total = counts.reduce((sum, value) => sum + value, 0);
  const head = el("div", {class: "chart_head"}, el("h3", {title: explanation}, title), el("span", {class: "hint"}, `${count(total)} observed`));
  if (!total || !bounds.length) {
    fill(parent, head, el("p", {class: "nothing"}, "Nothing observed in this time."));
    return;
  }
  const marks = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]].map(([name, share]) => [name, milliseconds(quantile(histogram, share) * 1000)]);
  const {first, last, per_bar} = span_of(counts);
  const bars = [];
  for (let from = first; from < last; from += per_bar) {
    const to = Math.min(counts.length, from + per_bar);
    bars.push({value: counts.slice(from, to).reduce((sum, value) => sum + value, 0), range: range_text(bounds, from, to)});
  }
  const most = Math.max(...bars.map(({value}) => value));
  const label = `${title}: ${marks.map(([name, value]) => `${name} ${value}`).join(", ")}; ${count(total)} observed`;
  fill(parent, head, el("dl", {class: "quantiles"}, marks.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("div", {class: "bars", role: "img", "aria-label": label}, bars.map(({value, range}) => bar(value, most, `${range}: ${count(value)} (${percent(value / total)})`))),
    el("div", {class: "axis", "aria-hidden": "true"}, axis_marks(bounds, first, first + bars.length * per_bar)));
}

// The buckets to draw, [first, last): those with something in them and a margin, at least kLeastBuckets; several to a bar where
// there would be more than kMostBars.
function span_of(counts) {
  let first = Math.max(0, counts.findIndex((value) => value > 0) - 1);
  let last = Math.min(counts.length, counts.findLastIndex((value) => value > 0) + 2);
  const missing = Math.max(0, kLeastBuckets - (last - first));
  first = Math.max(0, first - Math.floor(missing / 2));
  last = Math.min(counts.length, first + Math.max(kLeastBuckets, last - first));
  return {first, last, per_bar: Math.ceil((last - first) / kMostBars)};
}

function range_text(bounds, from, to) {
  const low = milliseconds((from ? bounds[from - 1] : 0) * 1000);
  return to <= bounds.length ? `${low} to ${milliseconds(bounds[to - 1] * 1000)}` : `above ${low}`;
}

// Bucket i ends at bounds[i]. Powers of ten; with 2 and 5 times them where there is room.
function axis_marks(bounds, first, last) {
  const edges = [];
  for (let i = Math.max(first, 1); i <= last && i <= bounds.length; ++i) edges.push({value: bounds[i - 1], at: (i - first) / (last - first)});
  const leading = ({value}) => Number(value.toExponential(6).split("e")[0]);
  const round = (digits) => edges.filter((edge) => digits.includes(leading(edge)));
  const marks = [[1, 2, 5], [1]].map(round).find((found) => found.length <= kMostMarks) ?? [];
  return marks.filter(({at}) => at > 0.04 && at < 0.96).map(({value, at}) => {
    const mark = el("span", {}, value < 1 ? `${Number((value * 1000).toPrecision(3))} ms` : `${Number(value.toPrecision(3))} s`);
    mark.style.left = `${at * 100}%`;
    return mark;
  });
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
