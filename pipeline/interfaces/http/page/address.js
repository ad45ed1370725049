// What the address of the page says. Belongs here: between the query string and the state of the page. Not here: showing it.

/** Filters that hold any number of values, in the order in which they are shown. */
export const FILTERS = ["lang", "kind", "path", "module", "defines"];
const SINGLE = ["view", "q", "repo", "version", "open", "tab", "file", "line", "symbol"];
const OF_PANEL = ["open", "tab", "file", "line", "symbol"];

/** The state that an address stands for. What is not in it is "" or []. */
export function read(search) {
  const parameters = new URLSearchParams(search);
  const state = {};
  for (const name of SINGLE) state[name] = parameters.get(name) ?? "";
  for (const name of FILTERS) state[name] = [...new Set(parameters.getAll(name).filter(Boolean))];
  if (!/^[0-9]{1,19}$/.test(state.open)) state.open = "";
  if (!/^[1-9][0-9]{0,8}$/.test(state.line)) state.line = "";
  return state;
}

/** The address of a state, relative to the page: the same state has the same address. */
export function write(state) {
  const parameters = new URLSearchParams();
  for (const name of SINGLE) if (state[name]) parameters.set(name, state[name]);
  for (const name of FILTERS) for (const value of state[name]) parameters.append(name, value);
  const text = parameters.toString();
  return text ? `?${text}` : "./";
}

/** The state without anything open beside the results. */
export function closed(state) {
  return { ...state, ...Object.fromEntries(OF_PANEL.map((name) => [name, ""])) };
}

/** Whether something is open beside the results. */
export function isOpen(state) {
  return Boolean(state.open || state.file || state.symbol);
}

/** What of a state decides which results there are. */
export function questionOf(state) {
  return JSON.stringify([state.q.trim(), state.repo, state.version, FILTERS.map((name) => state[name])]);
}
