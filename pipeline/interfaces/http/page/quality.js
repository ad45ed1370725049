// How good a version is. Belongs here: tables and drawings of its evaluation, its coverage and its history. Not here: drawing
// (`charts.js`), measuring.

import { historyChart, intervalText, percent, shareBar, whisker } from "./charts.js";
import { counted, h, legible } from "./dom.js";
import { momentOf, ticked } from "./messages.js";
import { colourOf } from "./why.js";

const METRICS = { ndcg: "nDCG", hit: "Hit", mrr: "MRR", recall: "Recall" };
const ABOUT = {
  ndcg: "how far up the answers stand",
  hit: "questions with an answer in view",
  mrr: "one over the rank of the first answer",
  recall: "answers that are in view, of all",
};

/** The whole view. `choose(changes)` changes the state of the page. */
export function qualityNodes(answer, status, choose) {
  const metrics = answer.evaluation?.metrics;
  const sections = [
    ...Object.entries(answer.problems ?? {}).map(([part, text]) => h("p", { class: "notice" }, ticked(`No ${part}: ${text}`))),
    metrics?.fused ? figuresNode(metrics) : answer.evaluation && h("p", { class: "notice" }, ticked("This version was not evaluated: set `eval_queries` above 0 and build.")),
    metrics?.fused && groupsNode(metrics),
    metrics && Object.keys(metrics.channels).length > 0 && channelsNode(metrics),
    answer.coverage && coverageNode(answer.coverage),
    status?.languages && languagesNode(status.languages, answer.coverage),
    answer.coverage?.modules?.length > 0 && modulesNode(answer.coverage.modules, choose),
    answer.evaluation?.missed?.length > 0 && missedNode(answer.evaluation.missed, choose),
    answer.history?.length > 0 && historyNode(answer.history, choose),
  ];
  return h("div", { class: "quality" }, h("h2", {}, "Quality of ", h("code", {}, legible(answer.version))), sections.filter(Boolean));
}

function section(title, about, ...nodes) {
  return h("section", {}, h("h3", {}, title), about && h("p", { class: "dim" }, about), nodes);
}

function figuresNode(metrics) {
  const tiles = Object.entries(METRICS).map(([name, title]) => tile(`${title}@${metrics.k}`, metrics.fused[name], ABOUT[name]));
  if (metrics.nearest) tiles.push(tile("Nearest vectors", metrics.nearest.recall, "of an exact search"));
  const carried = metrics.asked < metrics.queries ? `; ${metrics.asked.toLocaleString("en")} were asked in this build, the rest is carried over` : "";
  return section("Found", `${counted(metrics.fused.queries, "question")} that the index asked itself${carried}. Lines are 95 % intervals.`, h("div", { class: "tiles" }, tiles));
}

function tile(title, interval, about) {
  return h("div", { class: "tile" }, h("span", {}, title), h("strong", {}, interval.mean.toFixed(3)), whisker(interval), h("small", {}, about));
}

/** A table that scrolls by itself where there is no room. */
function table(name, titles, rows, numbers = []) {
  return h("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": name }, h("table", {},
    h("thead", {}, h("tr", {}, titles.map((title, index) => h("th", { scope: "col", class: numbers.includes(index) ? "number" : null }, title || h("span", { class: "unseen" }, `${titles[index - 1]}, drawn`))))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, index) =>
      index ? h("td", { class: numbers.includes(index) ? "number" : null }, cell) : h("th", { scope: "row" }, cell)))))));
}

function groupsNode(metrics) {
  const groups = [["By half", metrics.by_half], ["By question", metrics.by_label], ["By language", metrics.by_language], ["By module", metrics.by_module]];
  const rows = groups.flatMap(([title, group]) => Object.entries(group)
    .sort(([, one], [, other]) => other.queries - one.queries)
    .slice(0, 20)
    .map(([name, one]) => [
      [h("small", {}, `${title.slice(3)} `), legible(name || "the rest")], one.queries.toLocaleString("en"), one.ndcg.mean.toFixed(3), whisker(one.ndcg), one.hit.mean.toFixed(3), whisker(one.hit),
    ]));
  return section("By kind of question", "Masked questions have their own words hidden from the index.",
    table("By kind of question", ["Group", "Questions", `nDCG@${metrics.k}`, "", `Hit@${metrics.k}`, ""], rows, [1, 2, 4]));
}

function channelsNode(metrics) {
  const lost = Object.values(metrics.channels).flatMap((one) => [one.lost.low, one.lost.high]);
  const [from, to] = [Math.min(-0.02, ...lost), Math.max(0.02, ...lost)];
  const rows = Object.entries(metrics.channels).map(([name, one]) => [
    [h("span", { class: `dot ${colourOf(name)}` }), legible(name)], one.alone.ndcg.mean.toFixed(3), whisker(one.alone.ndcg), one.lost.mean.toFixed(3), whisker(one.lost, from, to),
  ]);
  return section("By channel", "What each channel finds alone, and how much worse results are without it.",
    table("By channel", ["Channel", "Alone", "", "Lost without", ""], rows, [1, 3]));
}

function coverageNode(coverage) {
  const shares = [
    ["Files indexed", coverage.files], ["Bytes in chunks", coverage.bytes], ["Definitions in every index", coverage.definitions],
    [`Found within ${coverage.k}`, coverage.found], ...Object.entries(coverage.by_channel).map(([name, one]) => [`Found by ${name}`, one]),
  ];
  const rows = shares.map(([title, one]) => [title, percent(one.part, one.whole), shareBar(one.part, one.whole), `${one.part.toLocaleString("en")} of ${one.whole.toLocaleString("en")}`]);
  const reasons = [["Files that are not indexed", coverage.skipped], ["Definitions that are not found", coverage.missed]]
    .filter(([, counts]) => Object.keys(counts).length)
    .map(([title, counts]) => h("div", {}, h("h4", {}, title), countsNode(counts)));
  return section("Coverage", "Every definition is asked for by its own words.", table("Coverage", ["Part", "Share", "", "Count"], rows, [1, 3]), h("div", { class: "columns" }, reasons));
}

function countsNode(counts) {
  const sorted = Object.entries(counts).sort(([, one], [, other]) => other - one);
  return h("table", { class: "bars" }, h("tbody", {}, sorted.slice(0, 16).map(([name, count]) => h("tr", {},
    h("th", { scope: "row" }, legible(name)), h("td", { class: "wide" }, shareBar(count, sorted[0][1])), h("td", { class: "number" }, count.toLocaleString("en"))))));
}

function languagesNode(languages, coverage) {
  const found = Object.entries(coverage?.by_language ?? {}).map(([name, one]) => [name, percent(one.part, one.whole), shareBar(one.part, one.whole), `${one.part.toLocaleString("en")} of ${one.whole.toLocaleString("en")}`]);
  return section("Languages", "", h("div", { class: "columns" }, h("div", {}, h("h4", {}, "Files"), countsNode(languages)),
    found.length > 0 && h("div", {}, h("h4", {}, "Definitions found"), table("Definitions found by language", ["Language", "Found", "", "Count"], found, [1, 3]))));
}

function modulesNode(modules, choose) {
  const rows = modules.map((one) => [
    one.prefix && !one.rest
      ? h("button", { type: "button", class: "link", title: "Search in it", click: () => choose({ view: "", path: [`/${one.prefix}`] }) }, legible(one.prefix))
      : legible(one.prefix ? `${one.prefix} (the rest)` : "the top"),
    percent(one.found, one.asked), shareBar(one.found, one.asked), `${one.found.toLocaleString("en")} of ${one.asked.toLocaleString("en")}`, one.definitions.toLocaleString("en"), `${one.indexed_files.toLocaleString("en")} of ${one.files.toLocaleString("en")}`,
  ]);
  return section("Modules", "The worst first.", table("Modules", ["Module", "Found", "", "Count", "Definitions", "Files"], rows, [1, 3, 4, 5]));
}

function missedNode(missed, choose) {
  const rows = missed.slice(0, 20).map((one) => [
    h("button", { type: "button", class: "link", click: () => choose({ view: "", q: one.query }) }, legible(one.query.length > 90 ? `${one.query.slice(0, 90)}…` : one.query)),
    legible(one.label ?? ""), one.rank ?? "not found", h("span", { class: "path" }, legible(one.uri ?? "")),
  ]);
  return section("Questions with the worst answers", "Ask one to see why.", table("Questions with the worst answers", ["Question", "Kind", "Rank", "Answer is in"], rows, [2]));
}

function historyNode(history, choose) {
  const measured = history.filter((one) => one.quality);
  const chart = measured.length > 1 && historyChart(measured.map((one) => ({ label: one.version.slice(0, 10), ...one.quality.ndcg })), "nDCG by version, oldest first");
  const rows = [...history].reverse().map((one) => [
    [h("button", { type: "button", class: "link", click: () => choose({ version: one.current ? "" : one.version }) }, h("code", {}, legible(one.version))), one.current && h("span", { class: "kind" }, "published")],
    momentOf(one.published_at), (one.commit ?? "–").slice(0, 7), one.chunks?.toLocaleString("en") ?? "–", one.quality ? intervalText(one.quality.ndcg) : one.problem ? legible(one.problem) : "not measured",
    one.found ? percent(one.found.part, one.found.whole) : "–", one.latency_ms ? `${one.latency_ms.toFixed(1)} ms` : "–",
  ]);
  return section("History", "", chart, table("History", ["Version", "Published", "Commit", "Chunks", "nDCG", "Found", "A search took"], rows, [3, 4, 5, 6]));
}
