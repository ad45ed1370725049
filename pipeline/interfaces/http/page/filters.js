// Filters and pickers. Belongs here: chips, the menus behind them, which repository and version. Not here: what they change.

import { FILTERS } from "./address.js";
import { h, legible } from "./dom.js";

const KINDS = ["class", "function", "method", "module"];
const MENUS = {
  lang: { title: "Language", one: "language" },
  kind: { title: "Kind", one: "kind" },
  path: { title: "Path", one: "path", hint: "src/**/*.py", about: "A glob as in .gitignore" },
  module: { title: "Module", one: "module", hint: "django.db.models", about: "A file or folder, as a path or dotted" },
  defines: { title: "Defines", one: "name", hint: "QuerySet.filter", about: "A name, plain or qualified" },
};

/**
 * The bar of filters: a menu for each kind of filter, and a chip for each that is set. `change(name, values)` sets one,
 * `shut(name)` is told of a menu that was closed.
 */
export function filterNodes(state, { languages, kinds, change, shut }) {
  const choices = {
    lang: Object.entries(languages).sort(([, one], [, other]) => other - one),
    kind: [...new Set([...KINDS, ...kinds])].map((kind) => [kind, null]),
  };
  const menus = FILTERS.map((name) => menuNode(name, state[name], choices[name], (values) => change(name, values), shut));
  const chips = FILTERS.flatMap((name) => state[name].map((value) => chipNode(name, value, () => change(name, state[name].filter((one) => one !== value)))));
  const clear = chips.length > 1 && h("button", { type: "button", class: "plain clear", click: () => change(null, []) }, "Clear");
  return [...menus, ...chips, clear].filter(Boolean);
}

function chipNode(name, value, remove) {
  return h("button", { type: "button", class: "filter set", "aria-label": `Remove the filter ${MENUS[name].one} ${legible(value)}`, click: remove },
    h("span", { class: "dim" }, `${MENUS[name].one} `), legible(value), h("span", { class: "cross", "aria-hidden": "true" }, "×"));
}

function menuNode(name, values, choices, set, shut) {
  const { title } = MENUS[name];
  const menu = h("div", { class: "menu", id: `menu-${name}`, popover: "auto", role: "group", "aria-label": title });
  const button = h("button", { type: "button", class: "filter", "data-filter": name, popovertarget: menu.id, "aria-haspopup": "true" }, title);
  menu.addEventListener("beforetoggle", (event) => {
    if (event.newState !== "open") return;
    menu.replaceChildren(...(choices ? choiceNodes(choices, values, set) : [entryNode(name, values, set, menu)]));
    const place = button.getBoundingClientRect();
    const left = Math.max(8, Math.min(place.left, innerWidth - 268));
    Object.assign(menu.style, { left: `${left}px`, top: `${place.bottom + 4}px` });
  });
  menu.addEventListener("toggle", (event) => (event.newState === "open" ? menu.querySelector("input")?.focus() : shut(name)));
  return h("span", {}, button, menu);
}

function choiceNodes(choices, values, set) {
  const chosen = new Set(values);
  const known = [...choices, ...values.filter((value) => !choices.some(([one]) => one === value)).map((value) => [value, null])];
  return known.map(([value, count]) => {
    const box = h("input", { type: "checkbox", value, checked: chosen.has(value) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(value);
      else chosen.delete(value);
      set([...chosen]);
    });
    return h("label", {}, box, legible(value), count !== null && h("small", {}, count.toLocaleString("en")));
  });
}

function entryNode(name, values, set, menu) {
  const { title, hint, about } = MENUS[name];
  const input = h("input", { type: "text", placeholder: hint, "aria-label": title, maxlength: "1024", autocomplete: "off", spellcheck: "false" });
  const submit = (event) => {
    event.preventDefault();
    const value = input.value.trim();
    menu.hidePopover();
    if (value && !values.includes(value)) set([...values, value]);
  };
  return h("form", { submit }, input, h("small", { class: "dim" }, `${about}. Enter adds it.`));
}

/** Which repository, where there are several, and which of its versions. */
export function pickerNodes(state, { repos, versions, repo, choose }) {
  const nodes = [];
  if (repos.length > 1) {
    nodes.push(select("Repository", repos.map((one) => [one.repo, one.version ? one.repo : `${one.repo} (no index)`]), repo, (value) => choose({ repo: value, version: "" })));
  }
  const listed = versions.map((one) => [one.current ? "" : one.version, versionLabel(one)]);
  if (state.version && !versions.some((one) => one.version === state.version)) listed.push([state.version, state.version]);
  if (versions.length && !versions.some((one) => one.current)) listed.unshift(["", "published version"]);
  const chosen = versions.some((one) => one.current && one.version === state.version) ? "" : state.version;
  if (listed.length) nodes.push(select("Version", listed, chosen, (value) => choose({ version: value })));
  return nodes;
}

function select(label, options, value, choose) {
  const node = h("select", { "aria-label": label, change: () => choose(node.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, legible(text))));
  return node;
}

function versionLabel(one) {
  const day = one.published_at ? new Date(one.published_at * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }) : "";
  return [one.current ? "published" : "", day, one.problem ? "damaged" : (one.commit ?? "").slice(0, 7), one.version].filter(Boolean).join(" · ");
}
