// What keys do. Belongs here: from key presses to actions. Not here: the actions (`app.js`).

const TYPED_INTO = "input, select, textarea";

/** Listen for keys: `actions` are `search`, `move(step)`, `first`, `close`, `tab(index)`, `copy`, `quality`, `help`. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("dialog, [popover]")) return;
    const action = event.target.matches(TYPED_INTO) ? whileTyping(event, actions) : elsewhere(event, actions);
    if (action && action() !== false) event.preventDefault();
  });
}

function whileTyping(event, actions) {
  if (event.key === "Escape") return () => actions.close() || event.target.blur();
  if (event.target.id !== "query") return null;
  if (event.key === "ArrowDown") return () => actions.move(1);
  return null;
}

function elsewhere(event, actions) {
  const { key, target } = event;
  if (/^[1-5]$/.test(key)) return () => actions.tab(Number(key) - 1);
  // Arrows scroll what is open, and go along tabs.
  const arrows = !target.closest("#panel");
  switch (key) {
    case "/": return actions.search;
    case "j": return () => actions.move(1);
    case "k": return () => actions.move(-1);
    case "ArrowDown": return arrows ? () => actions.move(1) : null;
    case "ArrowUp": return arrows ? () => actions.move(-1) : null;
    case "Escape": return actions.close;
    case "c": return actions.copy;
    case "q": return actions.quality;
    case "?": return actions.help;
    default: return null;
  }
}
