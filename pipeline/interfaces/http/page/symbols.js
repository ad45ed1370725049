// What is known of a name. Belongs here: definitions, references, callers and the like as lists of places. Not here: the panel.

import { get } from "./api.js";
import { codeNodes, pathNodes } from "./code.js";
import { counted, h, legible, nameNodes } from "./dom.js";

const REFERENCES = 200;
const RELATIONS = [
  ["bases", "base_count", "Derives from"],
  ["implementations", "implementation_count", "Implemented by"],
  ["callers", "caller_count", "Called by"],
  ["callees", "callee_count", "Calls"],
];

/** Symbols of the chunk that is open, or of the name that the state has. */
export async function symbolsView({ state, chunk, signal, go }) {
  const defines = chunk?.defines ?? [];
  const name = state.symbol || defines[0]?.symbol;
  if (!name) return h("p", { class: "dim" }, "This chunk defines no symbol that is kept by name: what is local to a function is not. Its file, and what is related, may say more.");
  const answer = await get(["symbols", name], { repo: state.repo, version: state.version, k: REFERENCES, most: 10 }, signal);
  const choices = defines.length > 1 && h("p", { class: "choices" }, defines.slice(0, 30).map((one) =>
    h("button", { type: "button", "aria-pressed": String(one.symbol === name), click: () => go({ tab: "symbols", symbol: one.symbol }) }, legible(one.qualified_name))));
  const others = answer.symbol_count - answer.symbols.length;
  return [
    choices,
    ...answer.symbols.map((one) => symbolNode(one, go)),
    others > 0 && h("p", { class: "dim" }, `${counted(others, "other symbol")} of this name: a qualified name says which is meant.`),
  ].filter(Boolean);
}

function symbolNode(one, go) {
  const guessed = one.provenance === "syntax" && h("p", { class: "dim" }, "By syntax: a reference is an equal name, not one that an indexer resolved.");
  return h("section", { class: "symbol" },
    h("h3", {}, nameNodes(one.qualified_name), h("span", { class: "kind" }, legible(one.kind))),
    one.signature && codeNodes(one.signature, { lang: languageOf(one.symbol), numbered: false, most: 12 }),
    guessed,
    one.documentation && documentationNode(one.documentation),
    ...placesNodes("Defined", one.definitions, one.definitions.length, go),
    ...placesNodes("Referred to", one.references, one.reference_count, go),
    RELATIONS.flatMap(([field, count, title]) => relationNodes(title, one[field] ?? [], one[count] ?? one[field]?.length ?? 0, go)));
}

/** The language in a SCIP symbol, `scheme manager package …`; "" where it does not say. */
function languageOf(symbol) {
  return symbol.split(" ")[1] ?? "";
}

function documentationNode(text) {
  const [first, ...rest] = text.trim().split(/\n\s*\n/);
  if (!rest.length) return h("p", { class: "doc" }, legible(first));
  return h("details", { class: "doc" }, h("summary", {}, legible(first)), rest.map((part) => h("p", {}, legible(part))));
}

function placesNodes(title, places, count, go) {
  if (!count) return [];
  const byFile = new Map();
  for (const place of places) byFile.set(place.uri, [...(byFile.get(place.uri) ?? []), place.line]);
  const rows = [...byFile].map(([uri, lines]) => h("li", { class: "row" }, h("span", { class: "path" }, pathNodes(uri)),
    h("span", { class: "numbers" }, [...new Set(lines)].map((line) =>
      h("button", { type: "button", class: "link", "aria-label": `${uri} line ${line}`, click: () => go({ file: uri, line: String(line) }) }, line)))));
  return [headNode(title, count, places.length), h("ul", { class: "rows places" }, rows)];
}

function relationNodes(title, symbols, count, go) {
  if (!symbols.length) return [];
  const rows = symbols.map((one) => h("li", { class: "row" },
    h("button", { type: "button", class: "link name", click: () => go({ tab: "symbols", symbol: one.symbol }) }, nameNodes(one.qualified_name)),
    one.uri && h("button", { type: "button", class: "link path", click: () => go({ file: one.uri, line: String(one.line ?? 1) }) }, pathNodes(one.uri), one.line ? `:${one.line}` : "")));
  return [headNode(title, count, symbols.length), h("ul", { class: "rows" }, rows)];
}

function headNode(title, count, shown, level = "h4") {
  return h(level, {}, title, h("small", {}, count > shown ? `${shown.toLocaleString("en")} of ${count.toLocaleString("en")}` : count.toLocaleString("en")));
}

/** Names that call or are called, each a way to its symbol. */
export function namesNodes(title, names, count, go) {
  if (!names?.length) return [];
  return [
    headNode(title, count, names.length, "h3"),
    h("p", { class: "names" }, names.map((name) => h("button", { type: "button", class: "chip", click: () => go({ tab: "symbols", symbol: name }) }, legible(name)))),
  ];
}
