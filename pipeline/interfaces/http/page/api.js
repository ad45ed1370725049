// Asking the server. Belongs here: addresses, the token, refusals, waiting when it is busy. Not here: what answers mean.

const TOKEN = "codeintel-token";
const PATIENCE = 3;

/** Why there is no answer: one sentence, and perhaps another one that says what to do. */
export class Failure extends Error {
  constructor(message, { hint = "", status = 0, code = "" } = {}) {
    super(message);
    Object.assign(this, { hint, status, code });
  }
}

let askForToken = async () => "";
let pending = null;

/** Say who asks for a token: a function that gets whether one was refused, and gives another, or nothing. */
export function tokensFrom(ask) {
  askForToken = ask;
}

/** The JSON answer to a GET. Raises `Failure`; an aborted request raises what `fetch` does. */
export async function get(path, parameters = {}, signal = undefined) {
  const url = addressOf(path, parameters);
  for (let attempt = 1; ; attempt += 1) {
    const response = await responseTo(url, signal);
    if (response.ok) return bodyOf(response);
    if (response.status === 401 && (await newToken(response))) continue;
    const wait = Number(response.headers.get("retry-after"));
    if (response.status !== 503 || !(wait > 0 && wait <= 10) || attempt >= PATIENCE) throw await refusal(response);
    await delay(wait * 1000, signal);
  }
}

/** Where something is asked: relative to the page, so that a prefix of a proxy is kept. Raises `Failure` for what cannot be a path. */
export function addressOf(path, parameters = {}) {
  // Browsers resolve these, even when they are encoded, and would ask for something else.
  if (path.some((part) => part === "." || part === "..")) throw new Failure("There is no such path.", { hint: "Paths begin at the top of the repository." });
  const url = new URL(path.map(encodeURIComponent).join("/"), document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) url.searchParams.append(name, one);
    }
  }
  return url;
}

async function responseTo(url, signal) {
  const token = sessionStorage.getItem(TOKEN);
  try {
    return await fetch(url, { signal, headers: token ? { authorization: `Bearer ${token}` } : {}, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server does not answer.", { hint: "See whether `indexctl serve` still runs, then try again." });
  }
}

async function bodyOf(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The answer was cut short.", { hint: "Try again.", status: response.status });
  }
}

async function refusal(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // A proxy, or something else that does not speak JSON.
  }
  const message = said.message || `The server answered with ${response.status} ${response.statusText}`.trim() + ".";
  return new Failure(message, { hint: said.hint ?? "", status: response.status, code: said.code ?? "" });
}

/** Ask for a token once, however many requests were refused for the want of it; whether there is a new one. */
async function newToken(response) {
  const used = sessionStorage.getItem(TOKEN);
  pending ??= askForToken(Boolean(used)).finally(() => (pending = null));
  const given = await pending;
  if (!given) throw await refusal(response);
  sessionStorage.setItem(TOKEN, given);
  return true;
}

function delay(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
