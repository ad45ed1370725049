// Colouring code. Belongs here: from text to tokens, one pass, linear in the text whatever it holds. Not here: nodes (`code.js`).
//
// It knows comments, strings, numbers and words, no grammar. A chunk that begins within a string, and a regular expression with
// a quote in it, are coloured wrongly up to the end of the line or of the string; the text is always shown as it is.

import { specOf } from "./languages.js";

const LARGEST = 1 << 20;
const scanners = new Map();

/** Tokens `[class, text]` whose texts joined are the text. Classes: "" and those of `look.css`. */
export function tokens(text, lang) {
  const scanner = scannerOf(lang);
  if (!scanner || text.length > LARGEST) return [["", text]];
  const { pattern, spec } = scanner;
  const found = [];
  let from = 0;
  let before = "";
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) found.push(["", text.slice(from, match.index)]);
    const [kind, value] = Object.entries(match.groups).find(([, one]) => one !== undefined);
    found.push([kind === "word" ? classOf(value, before, text, match.index + value.length, spec) : kind, value]);
    before = value;
    from = match.index + value.length;
  }
  if (from < text.length) found.push(["", text.slice(from)]);
  return found;
}

function classOf(word, before, text, end, spec) {
  if (spec.keywords.has(spec.anyCase ? word.toLowerCase() : word)) return "keyword";
  if (spec.defining.has(before)) return "defined";
  if (spec.constants.has(word)) return "constant";
  if (text[end] === "(") return "called";
  return /^[A-Z].*[a-z]/.test(word) ? "type" : "";
}

function scannerOf(lang) {
  if (!scanners.has(lang)) {
    const spec = specOf(lang);
    scanners.set(lang, spec && { spec, pattern: new RegExp(alternatives(spec).join("|"), "gu") });
  }
  return scanners.get(lang);
}

function alternatives(spec) {
  const prefix = spec.prefix ?? "";
  // Whatever is not closed ends with the text, or a string with its line: no alternative can fail after having read on.
  const closed = (open, close) => `${escaped(open)}[^]*?(?:${escaped(close)}|$)`;
  const comments = [...spec.block.map(([open, close]) => closed(open, close)), ...spec.line.map((sign) => `${escaped(sign)}[^\\n]*`)];
  const strings = [
    ...(spec.triple ? spec.quotes.map((quote) => `${prefix}${quote.repeat(3)}(?:\\\\[^]?|[^\\\\])*?(?:${quote.repeat(3)}|$)`) : []),
    ...(spec.template ? ["`(?:\\\\[^]?|[^\\\\`])*`?"] : []),
    ...spec.quotes.map((quote) => `${prefix}${quote}(?:\\\\[^]|[^${quote}\\\\\\n])*${quote}?`),
  ];
  return [
    ...(comments.length ? [`(?<comment>${comments.join("|")})`] : []),
    ...(spec.preprocessor ? ["(?<meta>(?<=^|\\n)[ \\t]*#[ \\t]*\\w+)"] : []),
    ...(spec.keys ? ['(?<key>"(?:\\\\[^]|[^"\\\\\\n])*"(?=\\s{0,9}:)|(?<![\\w.\\-])[\\w.\\-]+(?=[ \\t]{0,9}[:=]))'] : []),
    ...(spec.tags ? ["(?<tag><\\/?[A-Za-z][\\w:\\-]*|\\/?>|[{][{%][-#]?|[%}][}])"] : []),
    ...(strings.length ? [`(?<string>${strings.join("|")})`] : []),
    ...(spec.decorator ? ["(?<meta>@[\\w.\\-]+)"] : []),
    "(?<number>(?<![\\w$])(?:0[xXbBoO]\\w+|\\d[\\d_]*(?:\\.\\d[\\d_]*)?(?:[eE][+\\-]?\\d+)?\\w*))",
    "(?<word>[\\p{L}_$][\\p{L}\\p{N}_$]*)",
  ];
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
