// Making elements. Belongs here: how text becomes nodes, so that nothing of an indexed repository can become markup.
// Not here: what is shown.

const SVG = "http://www.w3.org/2000/svg";
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;
const UNSEEN_ALL = new RegExp(UNSEEN.source, "g");

/** An element. Children are nodes or text, never markup; of `properties` functions are listeners, the others attributes. */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set a custom property, which a policy without inline styles allows to scripts. */
export function measured(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(`--${name}`, String(value));
  return element;
}

/** Text with what cannot be seen, or reorders what is seen, spelt out as `⟨U+202E⟩`. */
export function legible(text) {
  return String(text).replace(UNSEEN_ALL, (one) => `⟨${codePoint(one)}⟩`);
}

/** Text as nodes, in which what cannot be seen is an element of its own. */
export function legibleNodes(text) {
  if (!UNSEEN.test(text)) return [text];
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(UNSEEN_ALL)) {
    if (found.index > from) nodes.push(text.slice(from, found.index));
    nodes.push(h("span", { class: "odd", title: "a character that cannot be seen" }, codePoint(found[0])));
    from = found.index + 1;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

/** A name that may be broken behind its dots and underscores, and else nowhere before it must. */
export function nameNodes(name) {
  return legible(name).split(/(?<=[._/:])(?=[^._/:])/).flatMap((part, index) => (index ? [h("wbr"), part] : [part]));
}

function codePoint(character) {
  return `U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** `1 file`, `1,234 files`. */
export function counted(number, noun, plural = `${noun}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;
}
