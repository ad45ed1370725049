// Small drawings. Belongs here: SVG from numbers. Not here: which numbers (`quality.js`).

import { h, measured, svg } from "./dom.js";

const WIDTH = 140;
const HEIGHT = 14;

/** A mean with its interval on a scale from `from` to `to`: a line with a dot. */
export function whisker({ mean, low, high }, from = 0, to = 1) {
  const at = (value) => (4 + ((Math.min(to, Math.max(from, value)) - from) / (to - from)) * (WIDTH - 8)).toFixed(1);
  const zero = from < 0 && svg("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: HEIGHT });
  return svg("svg", { class: "whisker", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": intervalText({ mean, low, high }) },
    svg("line", { class: "axis", x1: 4, x2: WIDTH - 4, y1: HEIGHT / 2, y2: HEIGHT / 2 }), zero,
    svg("line", { class: "interval", x1: at(low), x2: at(high), y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    svg("circle", { class: "mean", cx: at(mean), cy: HEIGHT / 2, r: 3.5 }));
}

/** `0.831 (0.792 to 0.865)`. */
export function intervalText({ mean, low, high }) {
  return `${mean.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}

/** A part of a whole as a bar. */
export function shareBar(part, whole, kind = "") {
  return measured(h("span", { class: `share ${kind}`, role: "img", "aria-label": percent(part, whole) }), { share: whole ? ((part / whole) * 100).toFixed(2) : 0 });
}

/** `99.1 %`; what is not quite all never reads 100 %. */
export function percent(part, whole) {
  if (!whole) return "–";
  const share = (part / whole) * 100;
  return `${part < whole ? Math.min(99.9, share).toFixed(1) : share.toFixed(0)} %`;
}

/** Means with intervals, one a version, oldest first: `rows` of `{label, mean, low, high}`. */
export function historyChart(rows, name) {
  const [width, height, left, bottom] = [640, 160, 34, 20];
  const least = Math.max(0, Math.floor(Math.min(...rows.map((row) => row.low)) * 10) / 10);
  const most = Math.min(1, Math.ceil(Math.max(...rows.map((row) => row.high)) * 10) / 10);
  const span = Math.max(0.1, most - least);
  const x = (index) => (rows.length === 1 ? (left + width) / 2 : left + 12 + (index / (rows.length - 1)) * (width - left - 24));
  const y = (value) => 8 + (1 - (value - least) / span) * (height - bottom - 8);
  const ticks = [least, least + span / 2, least + span].map((value) => [
    svg("line", { class: "axis", x1: left, x2: width, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)),
  ]);
  const points = rows.map((row, index) => svg("g", {},
    svg("title", {}, `${row.label}: ${intervalText(row)}`),
    svg("line", { class: "interval", x1: x(index), x2: x(index), y1: y(row.low), y2: y(row.high) }),
    svg("circle", { class: "mean", cx: x(index), cy: y(row.mean), r: 4 })));
  const ends = [[0, "start"], [rows.length - 1, "end"]].slice(0, rows.length === 1 ? 1 : 2);
  const labels = ends.map(([index, anchor]) => svg("text", { x: x(index), y: height - 4, "text-anchor": rows.length === 1 ? "middle" : anchor }, rows[index].label));
  return svg("svg", { class: "history", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name }, ticks,
    svg("polyline", { class: "trend", points: rows.map((row, index) => `${x(index)},${y(row.mean)}`).join(" ") }), points, labels);
}
