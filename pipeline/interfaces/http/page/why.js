// Why a hit is there. Belongs here: channels, adjustments and matched words as nodes. Not here: finding them out.

import { counted, h, legible, measured } from "./dom.js";

const FIELDS = { body: "in the text", names: "in defined names", path: "in the path", content: "in the text" };
const SLOTS = {
  lexical: 1, dense: 2, symbol: 3, path: 4, splade: 5, xtr: 6,
  vectors: 2, "same file": 4, calls: 1, "called by": 6, uses: 3, "used by": 5,
};
const MANY = 24;

/** The class that gives a channel its colour, the same everywhere. */
export function colourOf(channel) {
  if (Object.hasOwn(SLOTS, channel)) return `channel-${SLOTS[channel]}`;
  return `channel-${([...channel].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 6) + 1}`;
}

/** Channels by what they contribute, the most first. */
function channelsOf(hit) {
  return Object.entries(hit.explanation).sort(([, one], [, other]) => other.contribution - one.contribution);
}

/** One bar of all channels, as long as the hit is good beside the best one. */
export function summaryBar(hit, best) {
  const channels = channelsOf(hit).filter(([, one]) => one.contribution > 0);
  const total = channels.reduce((sum, [, one]) => sum + one.contribution, 0);
  const told = channels.map(([name, one]) => `${name} ${one.contribution.toFixed(2)}`).join(", ");
  const parts = channels.map(([name, one]) =>
    measured(h("span", { class: colourOf(name) }), { share: ((one.contribution / total) * 100 * Math.min(1, hit.score / best)).toFixed(2) }),
  );
  return h("span", { class: "stack", role: "img", "aria-label": `score ${hit.score.toFixed(2)}: ${told}`, title: told }, parts);
}

/** All that is known of why a hit is where it is. */
export function whyNodes(hit) {
  const channels = channelsOf(hit);
  const most = Math.max(...channels.map(([, one]) => one.contribution), 0) || 1;
  return [
    h("h3", {}, "Channels"),
    h("table", { class: "why" },
      h("thead", {}, h("tr", {}, ["Channel", "Contribution", "", "Rank", "Score"].map((title, index) =>
        h("th", { scope: "col", class: index > 2 || index === 1 ? "number" : null }, title || h("span", { class: "unseen" }, "Share"))))),
      h("tbody", {}, channels.map(([name, one]) => channelRow(name, one, most)))),
    h("h3", {}, "Score"),
    h("p", { class: "sum" }, sumOf(hit, channels)),
    ...matchedNodes(hit),
    ...tokenNodes(hit.tokens ?? []),
  ];
}

function channelRow(name, one, most) {
  const detail = [one.detail ? legible(detailOf(one.detail)) : "", ...(one.symbols ?? []).map(legible)].filter(Boolean).join(", ");
  return h("tr", {},
    h("th", { scope: "row" }, h("span", { class: `dot ${colourOf(name)}` }), legible(name), detail && h("small", {}, detail)),
    h("td", { class: "number" }, one.contribution.toFixed(3)),
    h("td", { class: "wide" }, measured(h("span", { class: `bar-of ${colourOf(name)}` }), { share: Math.max(0, (one.contribution / most) * 100).toFixed(1) })),
    h("td", { class: "number" }, one.rank ?? "–"),
    h("td", { class: "number" }, one.score === undefined ? "–" : one.score.toFixed(3)));
}

function detailOf(detail) {
  return typeof detail === "string" ? detail : JSON.stringify(detail);
}

function sumOf(hit, channels) {
  const sum = channels.reduce((whole, [, one]) => whole + one.contribution, 0);
  const factors = Object.entries(hit.adjustments ?? {});
  return [
    h("span", {}, sum.toFixed(3), h("small", {}, "sum of channels")),
    factors.map(([name, factor]) => [" × ", h("span", { class: factor < 1 ? "lowered" : "raised" }, factor.toFixed(2), h("small", {}, legible(name)))]),
    " = ",
    h("strong", {}, hit.score.toFixed(3), h("small", {}, "score")),
  ];
}

function matchedNodes(hit) {
  const matched = hit.matched;
  if (!matched) return [];
  const rows = [
    ...Object.entries(matched.terms).map(([field, terms]) => [`Words ${FIELDS[field] ?? legible(field)}`, terms]),
    ["Names that were asked for", matched.named],
    ["Symbols it defines", matched.symbols],
    ["Statements", matched.cst_hits],
    ["Syntax", Object.entries(matched.ast_kinds).map(([kind, times]) => (times > 1 ? `${kind} ×${times}` : kind))],
  ].filter(([, values]) => values.length);
  return [
    h("h3", {}, "What of the query matched"),
    rows.length
      ? h("dl", { class: "facts" }, rows.map(([title, values]) => [h("dt", {}, title), h("dd", {}, valueNodes(values))]))
      : h("p", { class: "dim" }, "No word of the query stands in it: its meaning is near, by its vector."),
  ];
}

function valueNodes(values) {
  const shown = values.slice(0, MANY).map((value) => h("code", { class: "chip" }, legible(value)));
  return values.length > MANY ? [...shown, ` and ${counted(values.length - MANY, "other")}`] : shown;
}

function tokenNodes(found) {
  if (!found.length) return [];
  return [
    h("h3", {}, "Words by their vectors"),
    h("dl", { class: "facts" }, found.slice(0, MANY).map((one) => [
      h("dt", {}, legible(one.query)), h("dd", {}, h("code", { class: "chip" }, legible(one.text)), ` line ${one.line}, ${one.similarity.toFixed(2)}`),
    ])),
  ];
}
