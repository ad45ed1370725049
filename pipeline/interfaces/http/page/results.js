// The list of hits. Belongs here: how hits look, and moving among them. Not here: asking for them (`app.js`).

import { codeNodes, excerptOf, pathNodes } from "./code.js";
import { counted, h, legible, nameNodes } from "./dom.js";
import { colourOf, summaryBar } from "./why.js";

const SHOWN_LINES = 7;

/** The hits of an answer as a list. `addressOf(hit)` is where one is opened, `open(hit)` opens it. */
export function resultNodes(answer, { addressOf, open, opened }) {
  const best = answer.results[0]?.score || 1;
  return h("ol", { class: "hits", "aria-label": "Results" }, answer.results.map((hit) => hitNode(hit, best, { addressOf, open, opened })));
}

function hitNode(hit, best, { addressOf, open, opened }) {
  const { text, start } = excerptOf(hit, SHOWN_LINES);
  const click = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open(hit);
  };
  return h("li", { class: "hit", "data-id": hit.id, "aria-current": hit.id === opened ? "true" : null },
    h("a", { class: "title", href: addressOf(hit), click },
      h("span", { class: "name" }, nameNodes(hit.name || hit.uri.split("/").at(-1))),
      h("span", { class: "kind" }, legible(hit.kind)),
      h("span", { class: "path" }, pathNodes(hit.uri), h("span", { class: "lines" }, `:${hit.start_line}–${hit.end_line}`)),
      summaryBar(hit, best)),
    codeNodes(text, { lang: hit.lang, start, words: wordsOf(hit), most: SHOWN_LINES }));
}

/** The words of the query that a hit has, as far as they were asked for. */
export function wordsOf(hit) {
  return hit.matched ? [...new Set([...Object.values(hit.matched.terms).flat(), ...hit.matched.named])] : [];
}

/** Above the hits: how many there are, from which channels, and which of those could not answer. */
export function headNodes(answer, seconds) {
  const answered = Object.entries(answer.channels).filter(([, one]) => one.state === "answered").map(([name]) => name);
  const used = answered.filter((name) => answer.results.some((hit) => name in hit.explanation));
  return h("div", { class: "head" },
    h("span", {}, `${counted(answer.results.length, "result")}${answer.more ? ", and more" : ""}`),
    h("span", { class: "dim" }, `read as ${legible(answer.kind)}, ${seconds < 0.1 ? "" : "in "}${Math.max(1, Math.round(seconds * 1000))} ms`),
    h("span", { class: "legend" }, used.map((name) => h("span", {}, h("span", { class: `dot ${colourOf(name)}` }), legible(name)))));
}

/** What went wrong though there is an answer: channels that failed, a query of which not all was read. */
export function complaintsOf(answer) {
  const broken = Object.entries(answer.channels)
    .filter(([, one]) => one.state === "broken")
    .map(([name, one]) => `The channel ${name} did not answer${one.reason ? `: ${one.reason.replace(/\.$/, "")}` : ""}. Results may be worse.`);
  return answer.unread ? [...broken, `The query is long: its last ${answer.unread.toLocaleString("en")} characters were not read.`] : broken;
}

/** Move the focus by `step` hits, from the query to the first one; `current` is where to begin when none has it. */
export function moveFocus(list, step, current) {
  const links = [...(list?.querySelectorAll("a.title") ?? [])];
  if (!links.length) return null;
  const focused = links.indexOf(document.activeElement?.closest(".hit")?.querySelector("a.title"));
  const from = focused >= 0 ? focused : links.findIndex((link) => link.parentElement.dataset.id === current);
  if (from === 0 && step < 0) return "top";
  const next = links[Math.min(links.length - 1, Math.max(0, from + step))];
  next.focus({ preventScroll: true });
  next.parentElement.scrollIntoView({ block: "nearest" });
  return next.parentElement.dataset.id;
}

/** Put matched words into a list that is shown already, without moving anything. */
export function addMatches(list, answer) {
  const explained = new Map(answer.results.map((hit) => [hit.id, hit]));
  for (const item of list.querySelectorAll(".hit")) {
    const hit = explained.get(item.dataset.id);
    if (!hit) continue;
    const { text, start } = excerptOf(hit, SHOWN_LINES);
    item.querySelector("pre").replaceWith(codeNodes(text, { lang: hit.lang, start, words: wordsOf(hit), most: SHOWN_LINES }));
  }
}
