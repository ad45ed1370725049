// What is shown when there is nothing to show. Belongs here: empty, failed and slow states, notices. Not here: hits.

import { counted, h, legible } from "./dom.js";

/** A failure, with a way to try again. */
export function failureNode(error, again) {
  return h("div", { class: "message failed", role: "alert" },
    h("h2", {}, legible(error.message || "Something went wrong.")),
    error.hint && h("p", {}, ticked(error.hint)),
    again && h("button", { type: "button", click: again }, "Try again"));
}

/** Text in which what stands between backticks is code. */
export function ticked(text) {
  return legible(text).split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

/** No hits. `loosen` are ways to ask for more: `[label, action]`. */
export function nothingNode(query, loosen) {
  return h("div", { class: "message" },
    h("h2", {}, "Nothing found"),
    h("p", {}, "No chunk answers ", h("q", {}, legible(query.length > 80 ? `${query.slice(0, 80)}…` : query)), "."),
    loosen.length
      ? h("p", { class: "choices" }, loosen.map(([label, action]) => h("button", { type: "button", click: action }, label)))
      : h("p", { class: "dim" }, "Other words may help. ", h("code", {}, "indexctl plan"), " tells which files are indexed, and why others are not."));
}

/** Where nothing was asked yet: what there is to be searched. */
export function welcomeNode(status) {
  const files = Object.values(status.languages).reduce((sum, one) => sum + one, 0);
  const facts = [
    ["Commit", status.commit ? [h("code", {}, status.commit.slice(0, 10)), status.dirty ? " with changes" : ""] : "none"],
    ["Published", momentOf(status.published_at)],
    ["Size", `${counted(status.chunks, "chunk")} in ${counted(files, "file")}`],
    ["Embedder", legible(status.embedder)],
    ["Nearest found", status.recall === null || status.recall === undefined ? "not measured" : `${(status.recall * 100).toFixed(1)} % of exact`],
  ];
  return h("div", { class: "message welcome" },
    h("h2", {}, legible(status.repo)),
    h("p", { class: "dim" }, "Ask for a name, an error message, or what the code does."),
    h("dl", { class: "facts" }, facts.map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])),
    h("p", { class: "dim keys" }, h("kbd", {}, "/"), " search ", h("kbd", {}, "j"), h("kbd", {}, "k"), " move ", h("kbd", {}, "Enter"), " open ",
      h("kbd", {}, "?"), " all keys"));
}

/** A moment for people, with the exact one to see on pointing at it. */
export function momentOf(seconds) {
  if (!seconds) return "unknown";
  const moment = new Date(seconds * 1000);
  const shown = moment.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  return h("time", { datetime: moment.toISOString(), title: moment.toISOString() }, shown);
}

/** What to know about an index before believing what it says. */
export function noticeNodes(answer, status, complaints) {
  const notices = complaints.map((text) => h("p", { class: "notice" }, ticked(text)));
  if (answer?.stale) notices.unshift(h("p", { class: "notice stale" }, h("strong", {}, "The index is behind. "), behindOf(answer.behind)));
  if (status?.building) notices.push(h("p", { class: "notice" }, "A build is running; its version will be searched as soon as it is published."));
  return notices;
}

function behindOf(behind) {
  const parts = [
    behind?.files ? counted(behind.files, "file") : "",
    behind?.commits ? counted(behind.commits, "commit") : "",
  ].filter(Boolean);
  const moved = parts.length ? `The repository has changed by ${parts.join(" and ")}. ` : "";
  const reason = behind?.reason ? `${behind.reason.charAt(0).toUpperCase()}${behind.reason.slice(1)}. ` : "";
  return [moved, legible(reason), "Run ", h("code", {}, "indexctl build"), " to catch up."];
}
