// The file at a place. Belongs here: which lines are shown, and asking for those before and behind. Not here: the panel.

import { get } from "./api.js";
import { codeNodes } from "./code.js";
import { counted, h } from "./dom.js";
import { failureNode } from "./messages.js";

const BEFORE = 120;
const BEHIND = 280;
const MORE = 800;

/** The lines around a place of a file, or around the chunk that is open. */
export async function fileView({ state, chunk, signal }) {
  const uri = state.file || chunk.uri;
  const own = !state.file || state.file === chunk?.uri;
  const line = Number(state.line) || (own && chunk ? chunk.start_line : 1);
  const inChunk = own && chunk && line >= chunk.start_line && line <= chunk.end_line;
  const focus = state.line ? [line, line] : inChunk ? [chunk.start_line, chunk.end_line] : null;
  const root = h("div", { class: "file" });
  await fill(root, { uri, repo: state.repo, version: state.version, focus, name: `The file ${uri}` }, Math.max(1, line - BEFORE), line + BEHIND, signal);
  return root;
}

async function fill(root, shown, first, last, signal) {
  const { uri, repo, version, focus, name } = shown;
  const span = await get(["files", ...uri.split("/")].filter(Boolean), { repo, version, start_line: first, end_line: last }, signal);
  const again = async (from, to, keep) => {
    const height = root.scrollHeight;
    try {
      await fill(root, shown, from, to, undefined);
    } catch (error) {
      root.append(failureNode(error, null));
      return;
    }
    const scroller = root.parentElement;
    if (keep && scroller) scroller.scrollTop += root.scrollHeight - height;
  };
  const widest = 5000;
  const earlier = first > 1 && h("button", { type: "button", class: "more", click: () => again(Math.max(1, first - MORE), Math.min(span.end_line, Math.max(1, first - MORE) + widest - 1), true) },
    `${counted(Math.min(MORE, first - 1), "line")} before`);
  const later = span.end_line < span.lines && h("button", { type: "button", class: "more", click: () => again(Math.max(first, span.end_line + MORE - widest + 1), span.end_line + MORE, false) },
    `${counted(Math.min(MORE, span.lines - span.end_line), "line")} behind`);
  root.replaceChildren(...[earlier, codeNodes(span.content, { lang: span.lang, start: span.start_line, focus, name }), later].filter(Boolean));
}
