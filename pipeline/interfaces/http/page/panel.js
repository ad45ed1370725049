// What stands beside the results: a chunk, why it was found, what is around it, its file. Belongs here: the panel's head and
// tabs, and which of its views is shown. Not here: the views of symbols (`symbols.js`) and files (`file.js`).

import { get } from "./api.js";
import { codeNodes, pathNodes, placeOf } from "./code.js";
import { h, legible, nameNodes } from "./dom.js";
import { fileView } from "./file.js";
import { failureNode } from "./messages.js";
import { wordsOf } from "./results.js";
import { namesNodes, symbolsView } from "./symbols.js";
import { colourOf, summaryBar, whyNodes } from "./why.js";

export const TABS = ["code", "why", "symbols", "related", "file"];
const TITLES = { code: "Code", why: "Why", symbols: "Symbols", related: "Related", file: "File" };

/** The panel in `root`. `go(changes)` changes the state of the page, `hitOf(id)` is a hit of the results or nothing. */
export function createPanel(root, { go, close, hitOf, addressOf, announce }) {
  let controller = new AbortController();
  let known = { key: "", chunk: null };
  let shown = "";

  async function chunkOf(state, signal) {
    const key = JSON.stringify([state.repo, state.version, state.open]);
    if (known.key !== key) {
      known = { key, chunk: await get(["chunks", state.open], { repo: state.repo, version: state.version }, signal) };
    }
    return known.chunk;
  }

  async function show(state) {
    const key = JSON.stringify([state.repo, state.version, state.open, state.tab, state.file, state.line, state.symbol, hitOf(state.open)?.matched]);
    if (key === shown) return;
    shown = key;
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    root.hidden = false;
    const tab = tabOf(state);
    const waiting = setTimeout(() => root.classList.add("waiting"), 200);
    try {
      const chunk = state.open ? await chunkOf(state, signal) : null;
      const view = await viewOf(tab, { state, chunk, signal, go, addressOf, hit: hitOf(state.open) });
      if (signal.aborted) return;
      render(state, tab, chunk, view);
    } catch (error) {
      if (error.name === "AbortError") return;
      const again = () => {
        shown = "";
        show(state);
      };
      render(state, tab, null, failureNode(error, again));
    } finally {
      clearTimeout(waiting);
      if (!signal.aborted) root.classList.remove("waiting");
    }
  }

  function render(state, tab, chunk, view) {
    const hadFocus = root.contains(document.activeElement) ? document.activeElement.id : "";
    root.replaceChildren(
      headNode(state, tab, chunk, { close, announce }),
      ...(state.open ? [tabsNode(tab, (name) => go({ tab: name === "code" ? "" : name, file: "", line: "", symbol: "" }))] : []),
      h("div", { class: "view", id: "view", role: state.open ? "tabpanel" : null, "aria-labelledby": state.open ? `tab-${tab}` : null }, view),
    );
    if (hadFocus) (document.getElementById(hadFocus) ?? root).focus({ preventScroll: true });
    root.querySelector(".view .focused")?.scrollIntoView({ block: "center" });
  }

  function hide() {
    controller.abort();
    shown = "";
    root.hidden = true;
    root.replaceChildren();
  }

  return { show, hide };
}

/** Which view a state means. */
export function tabOf(state) {
  if (state.file) return "file";
  if (state.symbol) return "symbols";
  return TABS.includes(state.tab) && state.open ? state.tab : "code";
}

async function viewOf(tab, context) {
  const { state, chunk, hit } = context;
  if (tab === "file") return fileView(context);
  if (tab === "symbols") return symbolsView(context);
  if (tab === "related") return relatedView(context);
  if (tab === "why") {
    if (hit) return whyNodes(hit);
    return h("p", { class: "dim" }, state.q ? "This chunk is not among the results that are shown, so there is nothing to explain." : "Search for something: then this tells why a result is found.");
  }
  return codeView(chunk, hit, context);
}

function headNode(state, tab, chunk, { close, announce }) {
  const uri = state.file || chunk?.uri || "";
  const line = state.file ? state.line || "1" : chunk?.start_line ?? "";
  const title = tab === "file" && state.file ? uri.split("/").at(-1) : chunk?.name || uri.split("/").at(-1) || state.symbol || "Not found";
  return h("div", { class: "panel-head" },
    h("div", { class: "title" },
      h("h2", {}, nameNodes(title), chunk && !state.file && h("span", { class: "kind" }, legible(chunk.kind))),
      h("button", { type: "button", id: "close", class: "plain", "aria-label": "Close", "aria-keyshortcuts": "Escape", click: close }, "×")),
    uri && h("div", { class: "place" },
      h("span", { class: "path" }, pathNodes(uri), h("span", { class: "lines" }, `:${line}`)),
      h("button", { type: "button", id: "copy", "aria-label": "Copy path and line", "aria-keyshortcuts": "c", click: () => copy(placeOf(uri, line), announce) }, "Copy")));
}

/** Put text on the clipboard, and say whether that worked. */
async function copy(text, announce) {
  const button = document.getElementById("copy");
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = false;
  }
  button.textContent = done ? "Copied" : "Not allowed";
  announce(done ? `Copied ${text}` : "The browser did not allow copying.");
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function tabsNode(current, choose) {
  const keydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const name = TABS[(TABS.indexOf(current) + step + TABS.length) % TABS.length];
    document.getElementById(`tab-${name}`).focus();
    choose(name);
  };
  return h("div", { class: "tabs", role: "tablist", "aria-label": "About this code", keydown }, TABS.map((name, index) =>
    h("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === current), "aria-controls": "view",
      tabindex: name === current ? "0" : "-1", "aria-keyshortcuts": String(index + 1), click: () => choose(name),
    }, TITLES[name])));
}

function codeView(chunk, hit, { go }) {
  const scope = chunk.scope ?? [];
  const where = scope.length > 0 && h("p", { class: "scope" }, "in ", scope.map((one, index) => [
    index > 0 && " › ",
    h("button", { type: "button", class: "link", click: () => go({ file: chunk.uri, line: String(one.line) }) }, legible(one.name)),
  ]));
  return [
    where,
    codeNodes(chunk.content, { lang: chunk.lang, start: chunk.start_line, words: hit ? wordsOf(hit) : [], name: `Code of ${chunk.name || chunk.uri}` }),
    ...namesNodes("Called by", chunk.callers, chunk.caller_count, go),
    ...namesNodes("Calls", chunk.callees, chunk.callee_count, go),
  ].filter(Boolean);
}

async function relatedView({ state, signal, go, addressOf }) {
  const found = await get(["related", state.open], { repo: state.repo, version: state.version, k: 20 }, signal);
  const best = found.results[0]?.score || 1;
  const open = (id) => (event) => {
    event.preventDefault();
    go({ open: id, tab: "", file: "", line: "", symbol: "" });
  };
  const copies = found.duplicates.map((one) => h("li", {},
    h("a", { class: "row", href: addressOf(one), click: open(one.id) }, h("span", { class: "path" }, pathNodes(one.uri), `:${one.start_line}`))));
  const rows = found.results.map((hit) => h("li", {},
    h("a", { class: "row", href: addressOf(hit), click: open(hit.id) },
      h("span", { class: "name" }, nameNodes(hit.name || hit.kind)),
      h("span", { class: "path" }, pathNodes(hit.uri), `:${hit.start_line}`),
      h("span", { class: "ties" }, Object.keys(hit.explanation).map((name) => h("span", {}, h("span", { class: `dot ${colourOf(name)}` }), name))),
      summaryBar(hit, best))));
  return [
    copies.length > 0 && [h("h3", {}, "The same content elsewhere"), h("ul", { class: "rows" }, copies)],
    rows.length ? h("ol", { class: "rows", "aria-label": "Related code" }, rows) : h("p", { class: "dim" }, "Nothing is near this chunk."),
  ].flat().filter(Boolean);
}
