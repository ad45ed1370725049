// Searching as somebody types. Belongs here: when a search is sent, which answer counts, the words behind each hit. Not here:
// showing answers (`app.js`).

import { FILTERS } from "./address.js";
import { get } from "./api.js";

const PAGE = 20;
const TYPING = 120;
const RESTING = 350;
const SLOW = 2500;

/**
 * A searcher that knows of one question at a time: a later one ends an earlier one, whose answer is never told.
 * `tell` has `waiting(is)`, `slow()`, `answered(answer, seconds)`, `explained(answer)`, `failed(error)`.
 */
export function createSearch(tell) {
  let controller = new AbortController();
  let timers = [];

  function stop() {
    controller.abort();
    timers.forEach(clearTimeout);
    timers = [];
    tell.waiting(false);
  }

  function later(milliseconds, action) {
    timers.push(setTimeout(action, milliseconds));
  }

  function ask(question, { typing = false } = {}) {
    stop();
    controller = new AbortController();
    const { signal } = controller;
    later(typing ? TYPING : 0, () => run(question, signal));
  }

  async function run(question, signal) {
    const started = performance.now();
    later(150, () => tell.waiting(true));
    later(SLOW, () => tell.slow());
    try {
      const answer = await get(["search"], parametersOf(question, {}), signal);
      if (signal.aborted) return;
      stopTimers();
      tell.answered(answer, (performance.now() - started) / 1000);
      explain(question, answer, 0, signal);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      stopTimers();
      tell.failed(error);
    }
  }

  function stopTimers() {
    timers.forEach(clearTimeout);
    timers = [];
    tell.waiting(false);
  }

  /** Which words matched costs as much as searching, so it is asked for when nobody types any more, and of the same version. */
  function explain(question, answer, offset, signal) {
    if (!answer.results.length) return;
    later(RESTING, async () => {
      try {
        const explained = await get(["search"], parametersOf({ ...question, version: answer.version }, { offset, explain: true }), signal);
        if (!signal.aborted) tell.explained(explained);
      } catch {
        // Without it the marks are missing, and nothing else.
      }
    });
  }

  /** The hits behind those of an answer, from the same version. */
  async function more(question, answer) {
    const { signal } = controller;
    const offset = answer.results.length;
    const next = await get(["search"], parametersOf({ ...question, version: answer.version }, { offset }), signal);
    explain(question, next, offset, signal);
    return next;
  }

  return { ask, more, stop };
}

function parametersOf(question, { offset = 0, explain = false }) {
  return {
    query: question.q.trim(), repo: question.repo, version: question.version, k: PAGE, content: true,
    ...Object.fromEntries(FILTERS.map((name) => [name, question[name]])),
    ...(offset ? { offset } : {}), ...(explain ? { explain } : {}),
  };
}
