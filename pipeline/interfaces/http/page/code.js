// Code as nodes. Belongs here: lines, their numbers, marks of matched words, and the ways to name a place. Not here: which
// code is shown, or its colours (`highlight.js`).

import { h, legible, legibleNodes } from "./dom.js";
import { tokens } from "./highlight.js";

const LINE_BREAK = /\r\n|\r|\n/;

/** `path:12`, as editors and people take it. */
export function placeOf(uri, line) {
  return `${uri}:${line}`;
}

/** A path whose folders stand back behind the name of the file. */
export function pathNodes(uri) {
  const cut = uri.lastIndexOf("/") + 1;
  return [h("span", { class: "folder" }, legible(uri.slice(0, cut))), h("span", { class: "file" }, legible(uri.slice(cut)))];
}

/**
 * Code with line numbers that begin at `start`. `words` are marked; lines from `focus[0]` to `focus[1]` stand out;
 * no more than `most` lines are shown. With `most` it is an excerpt, which does not scroll.
 */
export function codeNodes(text, { lang = "", start = 1, words = [], focus = null, most = Infinity, numbered = true, name = "Code" }) {
  const lines = linesOf(tokens(text, lang));
  const last = lines.length > 1 && lines.at(-1).length === 0 ? lines.length - 1 : lines.length;
  const marks = patternOf(words);
  const shown = lines.slice(0, Math.min(last, most)).map((line, index) => {
    const number = start + index;
    const focused = focus && number >= focus[0] && number <= focus[1];
    const nodes = line.map(([kind, value]) => tokenNode(kind, value, marks));
    return h("span", { class: focused ? "line focused" : "line", "data-number": numbered && number }, nodes.length ? nodes : h("br"));
  });
  const scrolled = most === Infinity;
  return h("pre", scrolled ? { class: "code", tabindex: "0", role: "region", "aria-label": name } : { class: "code" }, h("code", {}, shown));
}

/**
 * What of a hit is shown in a list: from where its name is first said, if that is further down than `most` lines, without
 * spaces that all lines begin with. The text, and the number of its first line.
 */
export function excerptOf(hit, most) {
  const lines = (hit.content ?? hit.preview).replace(/\s+$/, "").split(LINE_BREAK);
  const name = hit.name.split(/[.:#]/).at(-1);
  const said = name ? lines.findIndex((line) => line.includes(name)) : -1;
  const filled = lines.findIndex((line) => line.trim());
  const skipped = Math.max(0, said >= most ? said : filled);
  const start = hit.start_line + skipped;
  lines.splice(0, skipped);
  const depths = lines.filter((line) => line.trim()).map((line) => line.match(/^[ \t]*/)[0].length);
  const depth = Math.min(...(depths.length ? depths : [0]));
  return { text: lines.map((line) => line.slice(depth)).join("\n"), start };
}

function linesOf(found) {
  const lines = [[]];
  for (const [kind, value] of found) {
    value.split(LINE_BREAK).forEach((part, index) => {
      if (index) lines.push([]);
      if (part) lines.at(-1).push([kind, part]);
    });
  }
  return lines;
}

function tokenNode(kind, value, marks) {
  if (!marks) return kind ? h("span", { class: kind }, legibleNodes(value)) : legibleNodes(value);
  const parts = value.split(marks).map((part, index) => (index % 2 ? h("mark", {}, legibleNodes(part)) : legibleNodes(part)));
  return kind ? h("span", { class: kind }, parts) : parts;
}

/** What finds matched words: the engine compares stems, so an ending does not count. It marks for the eye, no more. */
function patternOf(words) {
  const stems = words
    .filter((word) => word.length > 1)
    .map((word) => (word.length > 5 ? word.replace(/(?:ing|ed|es|s|e)$/i, "") : word))
    .sort((one, other) => other.length - one.length)
    .map((stem) => stem.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"));
  return stems.length ? new RegExp(`((?:${[...new Set(stems)].join("|")})(?:ing|ed|es|s|e)?)`, "i") : null;
}
