// The page. Belongs here: its state, and which part shows what of it. Not here: how parts look, asking, keys.

import { closed, FILTERS, isOpen, questionOf, read, write } from "./address.js";
import { get, tokensFrom } from "./api.js";
import { createSearch } from "./asking.js";
import { askToken, showHelp } from "./dialogs.js";
import { h } from "./dom.js";
import { filterNodes, pickerNodes } from "./filters.js";
import { listen } from "./keys.js";
import { failureNode, nothingNode, noticeNodes, welcomeNode } from "./messages.js";
import { createPanel, TABS } from "./panel.js";
import { qualityNodes } from "./quality.js";
import { addMatches, complaintsOf, headNodes, moveFocus, resultNodes } from "./results.js";

const STATUS_AGE = 15_000;
const part = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 60rem)");

let state = read(location.search);
let repos = [];
let statusAt = 0;
let versions = { repo: null, rows: [] };
let answer = null;
let asked = null;
let seconds = 0;
let kinds = new Set();
let moving = 0;
let view = new AbortController();

tokensFrom((refused) => askToken(part("token"), refused));
const search = createSearch({ waiting, slow, answered, explained, failed });
const panel = createPanel(part("panel"), { go, close, hitOf, addressOf: (hit) => write({ ...closed(state), open: hit.id }), announce });

function repoOf() {
  return state.repo || repos.find((one) => one.version)?.repo || "";
}

function statusOf() {
  return repos.find((one) => one.repo === repoOf());
}

function hitOf(id) {
  return answer?.results.find((hit) => hit.id === id);
}

/** Change the state and show it. `replace`: without a step of its own for the back button. */
function go(changes, { replace = false, typing = false } = {}) {
  state = { ...state, ...changes };
  const address = write(state);
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  apply({ typing });
}

function apply({ typing = false } = {}) {
  if (!typing && part("query").value !== state.q) part("query").value = state.q;
  document.title = [state.view === "quality" ? "Quality" : state.q.trim(), "codeintel"].filter(Boolean).join(" – ");
  part("to-search").toggleAttribute("aria-current", state.view !== "quality");
  part("to-quality").toggleAttribute("aria-current", state.view === "quality");
  part("to-search").href = write({ ...state, view: "" });
  part("to-quality").href = write({ ...closed(state), view: "quality" });
  showFilters();
  if (state.view === "quality") showQuality();
  else showSearch(typing);
  showPanel();
}

function showSearch(typing) {
  view.abort();
  if (!state.q.trim()) {
    search.stop();
    asked = answer = null;
    showNotices();
    return part("main").replaceChildren(...(statusOf()?.version ? [welcomeNode(statusOf())] : []));
  }
  const question = questionOf({ ...state, repo: repoOf() });
  if (question === asked) return answer && !part("main").querySelector(".hits, .message") ? showAnswer() : markOpened();
  asked = question;
  search.ask({ ...state, repo: repoOf() }, { typing });
}

function answered(found, took) {
  [answer, seconds] = [found, took];
  for (const hit of found.results) kinds.add(hit.kind);
  showAnswer();
  showFilters();
  showPanel();
  announce(found.results.length ? `${found.results.length} results` : "Nothing found");
}

function showAnswer() {
  showNotices(complaintsOf(answer));
  if (!answer.results.length) return part("main").replaceChildren(nothingNode(state.q.trim(), loosening()));
  const list = resultNodes(answer, { addressOf: (hit) => write({ ...closed(state), open: hit.id }), open: openHit, opened: state.open });
  const more = answer.more && h("button", { type: "button", class: "more", click: showMore }, "More results");
  part("main").replaceChildren(...[headNodes(answer, seconds), list, more].filter(Boolean));
  part("main").scrollTop = 0;
  for (const hit of answer.results) if (hit.matched) addMatches(list, { results: [hit] });
}

async function showMore(event) {
  event.target.disabled = true;
  const [before, button] = [answer, event.target];
  try {
    const next = await search.more({ ...state, repo: repoOf() }, before);
    if (answer !== before) return;
    answer = { ...before, results: [...before.results, ...next.results], more: next.more };
    const top = part("main").scrollTop;
    showAnswer();
    part("main").scrollTop = top;
    part("main").querySelectorAll("a.title")[before.results.length]?.focus({ preventScroll: true });
  } catch (error) {
    if (error.name !== "AbortError") button.replaceWith(failureNode(error, null));
  }
}

function explained(found) {
  if (!answer) return;
  const matched = new Map(found.results.map((hit) => [hit.id, hit]));
  for (const hit of answer.results) Object.assign(hit, { matched: matched.get(hit.id)?.matched ?? hit.matched, tokens: matched.get(hit.id)?.tokens ?? hit.tokens });
  const list = part("main").querySelector(".hits");
  if (list) addMatches(list, found);
  showPanel();
}

function failed(error) {
  answer = null;
  showNotices();
  part("main").replaceChildren(failureNode(error, () => {
    asked = null;
    loadStatus();
    apply();
  }));
}

function waiting(is) {
  part("progress").hidden = !is;
  part("main").setAttribute("aria-busy", String(is));
}

function slow() {
  announce("Still searching");
  const said = h("p", { class: "notice", id: "slow" }, "Still searching. The first search after a start or a new version takes longer.");
  part("notices").replaceChildren(said);
}

/** Ways to ask for more when nothing was found. */
function loosening() {
  const set = FILTERS.filter((name) => state[name].length);
  const ways = set.map((name) => [`Without ${state[name].join(", ")}`, () => go({ [name]: [] })]);
  return set.length > 1 ? [...ways, ["Without any filter", clearFilters]] : ways;
}

function clearFilters() {
  go(Object.fromEntries(FILTERS.map((name) => [name, []])));
}

async function showQuality() {
  search.stop();
  asked = null;
  view.abort();
  view = new AbortController();
  const { signal } = view;
  const shown = setTimeout(() => waiting(true), 150);
  try {
    const found = await get(["quality"], { repo: repoOf(), version: state.version }, signal);
    showNotices([], found);
    part("main").replaceChildren(qualityNodes(found, state.version ? null : statusOf(), (changes) => go({ ...closed(state), ...changes })));
    part("main").scrollTop = 0;
  } catch (error) {
    if (error.name !== "AbortError") part("main").replaceChildren(failureNode(error, apply));
  } finally {
    clearTimeout(shown);
    if (!signal.aborted) waiting(false);
  }
}

function showNotices(complaints = [], about = answer ?? statusOf()) {
  part("notices").replaceChildren(...noticeNodes(about, statusOf(), complaints));
}

function showFilters() {
  const open = document.querySelector(".menu:popover-open")?.id;
  if (open) return;
  const change = (name, values) => (name ? go({ [name]: values }, { replace: false }) : clearFilters());
  const shut = (name) => {
    const left = document.activeElement === document.body || part("filters").contains(document.activeElement);
    showFilters();
    if (left) document.querySelector(`[data-filter="${name}"]`)?.focus();
  };
  const searching = state.view !== "quality";
  part("filters").replaceChildren(...(searching ? filterNodes(state, { languages: statusOf()?.languages ?? {}, kinds: [...kinds], change, shut }) : []));
  part("pickers").replaceChildren(...pickerNodes(state, { repos, versions: versions.rows, repo: repoOf(), choose: (changes) => go({ ...closed(state), ...changes }) }));
  loadVersions();
}

function showPanel() {
  const open = isOpen(state) && state.view !== "quality";
  document.body.classList.toggle("opened", open);
  part("main").inert = open && narrow.matches;
  if (open) panel.show({ ...state, repo: repoOf() });
  else panel.hide();
  markOpened();
}

function markOpened() {
  for (const item of document.querySelectorAll(".hit")) {
    if (item.dataset.id === state.open) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
}

function openHit(hit) {
  go({ ...closed(state), open: hit.id, tab: isOpen(state) ? state.tab : "" });
  if (narrow.matches) part("panel").focus();
}

function close() {
  if (!isOpen(state)) return false;
  const { open } = state;
  go(closed(state));
  (document.querySelector(`.hit[data-id="${open}"] a.title`) ?? part("query")).focus({ preventScroll: true });
  return true;
}

function move(step) {
  const moved = moveFocus(part("main").querySelector(".hits"), step, state.open);
  if (moved === "top") part("query").focus();
  clearTimeout(moving);
  if (moved && moved !== "top" && isOpen(state) && !narrow.matches) {
    moving = setTimeout(() => go({ ...closed(state), open: moved, tab: state.tab }, { replace: true }), 60);
  }
  return Boolean(moved);
}

function announce(text) {
  part("spoken").textContent = text;
}

async function loadStatus() {
  statusAt = Date.now();
  try {
    repos = (await get(["status"])).repos;
  } catch (error) {
    if (!answer) failed(error);
    return;
  }
  const problem = repos.find((one) => one.repo === repoOf())?.problem ?? (repos.some((one) => one.version) ? "" : repos[0]?.problem);
  if (!repos.length || (problem && !repoOf())) {
    const said = problem
      ? { message: "Nothing can be searched now.", hint: problem }
      : { message: "Nothing is indexed yet.", hint: "Run `indexctl build PATH`, then look again." };
    part("main").replaceChildren(failureNode(said, loadStatus));
    return;
  }
  apply();
}

async function loadVersions() {
  const repo = repoOf();
  if (!repo || versions.repo === repo) return;
  versions = { repo, rows: [] };
  try {
    versions.rows = (await get(["versions"], { repo })).versions;
    showFilters();
  } catch {
    // The published version can be searched without a list of the others.
  }
}

function toggleQuality() {
  go(state.view === "quality" ? { view: "" } : { ...closed(state), view: "quality" });
}

/** A click on a link of the page, which needs no loading. */
function link(id, changes) {
  part(id).addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(changes());
  });
}

part("query").addEventListener("input", () => go({ ...closed(state), view: "", q: part("query").value }, { replace: Boolean(state.q), typing: true }));
part("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.view === "quality") go({ view: "" });
  move(1);
});
part("help-button").addEventListener("click", () => showHelp(part("help")));
link("home", () => ({ ...read(""), repo: state.repo }));
link("to-search", () => ({ view: "" }));
link("to-quality", () => ({ ...closed(state), view: "quality" }));
addEventListener("popstate", () => {
  state = read(location.search);
  apply();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() - statusAt > STATUS_AGE) {
    versions = { repo: null, rows: [] };
    loadStatus();
  }
});
narrow.addEventListener("change", showPanel);
listen({
  search: () => part("query").select(),
  move,
  close,
  tab: (index) => (state.open ? go({ tab: index ? TABS[index] : "", file: "", line: "", symbol: "" }) : false),
  copy: () => (part("copy") ? part("copy").click() : false),
  quality: toggleQuality,
  help: () => showHelp(part("help")),
});
if (!isOpen(state) && state.view !== "quality") part("query").focus();
loadStatus();
