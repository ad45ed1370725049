"""A headless Chromium, driven by its own protocol over a websocket: nothing to install but the browser itself; and the service
that it asks.

Belongs here: starting both, tabs, keys, clicks, waiting. Not here: what the page promises (`test_page_*`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[3]
HOSTILE = {
    "web/hostile.js": (
        "// Shows what strangers wrote.\nexport function renderComment(comment) {\n"
        "  const end = \"</textarea></pre></script><script>document.title = 'owned'</script>\";\n"
        "  return end + `<img src=x onerror=\"document.title='owned'\">${comment}`;\n}\n"
    ),
    "odd/<b onclick=alert(1)>bold.py": (
        'def hostile_name():\n    """A comment in a file <i>with a name</i> of its own."""\n    return 1\n'
    ),
    "odd/turned.py": (
        'def turned_access(level):\n    """Whether a level grants access."""\n'
        '    return level != "user\u202e\u2066# admin\u2069"\n'
    ),
}
"""Files that would become markup, or read as something else, in a page that is careless."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 30.0
"""Seconds that a machine with much to do may take; nothing waits longer than it must."""
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
_KEYS = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Tab": 9}


def find_chromium() -> str | None:
    """The browser to use: `CODEINTEL_CHROMIUM`, or the first one on PATH."""
    return os.environ.get("CODEINTEL_CHROMIUM") or next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass
class Page:
    """One tab. `errors` gathers what it logged as an error, exceptions and refusals of the policy among them."""

    socket: ClientConnection
    errors: list[str] = field(default_factory=list)
    _last: int = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._last += 1
        self.socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE))
            if message.get("id") == self._last:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, said = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])

    def open(self, address: str) -> None:
        """Go to an address, and wait until its scripts ran."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait for an expression to be true; its value."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            try:
                # An element comes as an empty object.
                if (value := self.run(script)) not in (None, False, 0, ""):
                    return value
            except AssertionError:
                pass  # The page is being replaced.
            time.sleep(0.05)
        raise AssertionError(f"the page never came to {script}; it shows: {self.text('body')[:2000]}; errors: {self.errors}")

    def text(self, selector: str) -> str:
        """What is to be read in an element; empty where there is none."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            code = {"windowsVirtualKeyCode": _KEYS[key]} if key in _KEYS else {}
            text = {"text": "\r"} if key == "Enter" else {} if key in _KEYS else {"text": key}
            self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def type(self, text: str) -> None:
        """Type text into what has the focus, a letter at a time."""
        self.press(*text)

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse, wherever that lands."""
        place = self.until(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            "e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            "return r.width ? [r.x + r.width / 2, r.y + r.height / 2] : null; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def resize(self, width: int, height: int) -> None:
        """As large as a screen of that size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def prefers(self, **features: str) -> None:
        """What the person prefers: `prefers(color_scheme="dark")`."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=named)

    def picture(self, path: Path) -> None:
        """Write a screenshot."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Callable[[], Page]]:
    """A browser with a profile of its own in `folder`; what it gives makes tabs in a context that shares nothing."""
    profile = folder / "profile"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen([program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log)
    try:
        port, path = _listening(process, profile / "DevToolsActivePort")
        with ExitStack() as sockets:
            head = Page(sockets.enter_context(connect(f"ws://127.0.0.1:{port}{path}", max_size=None)))

            def tab() -> Page:
                context = head.send("Target.createBrowserContext")["browserContextId"]
                target = head.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
                address = f"ws://127.0.0.1:{port}/devtools/page/{target}"
                page = Page(sockets.enter_context(connect(address, max_size=None)))
                for domain in ("Page", "Runtime", "Log"):
                    page.send(f"{domain}.enable")
                page.resize(1280, 800)
                return page

            yield tab
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening(process: subprocess.Popen[bytes], file: Path) -> tuple[int, str]:
    """The port and the path under which a browser takes commands, once it does."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return int(lines[0]), lines[1]
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")


@pytest.fixture(scope="session")
def tabs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Page]]:
    """Tabs of one browser, each with a storage of its own. Skips where there is no Chromium."""
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium: install one, or name it in CODEINTEL_CHROMIUM")
    with browser(program, tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(tabs: Callable[[], Page]) -> Iterator[Page]:
    """A tab. At the end nothing may have been logged as an error: no exception, no refusal of the policy."""
    tab = tabs()
    yield tab
    assert tab.errors == []


@contextmanager
def _serving(store: Path, log: Path, *options: str) -> Iterator[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    command = [sys.executable, "-m", "pipeline.interfaces.main", "serve", "--data", str(store), "--port", "0", *options]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors, env={**clean, "PYTHONPATH": str(ROOT)}, cwd=store)
    try:
        ends = time.monotonic() + PATIENCE
        while b"\n" not in (said := log.read_bytes()):
            assert process.poll() is None and time.monotonic() < ends, said.decode()
            time.sleep(0.05)
        address = said.split()[0].decode()
        published = any(store.glob("*/CURRENT"))
        while published and time.monotonic() < ends and not _is_ready(address):
            time.sleep(0.05)
        yield f"{address}/"
    finally:
        process.kill()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


Serving = Callable[..., Any]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Run the service over a store: `with serving(store, "--token-file", path) as address`."""
    return lambda store, *options: _serving(store, tmp_path / "serve.log", *options)


@pytest.fixture(scope="session")
def harbour(
    demo: Path, git: Callable[..., str], indexctl: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The demo repository with hostile files, and the store that it was built into. Not to be changed."""
    folder = tmp_path_factory.mktemp("harbour")
    repo, store = folder / "demo", folder / "store"
    shutil.copytree(demo, repo, symlinks=True)
    for name, text in HOSTILE.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text, "utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Strangers")
    done = indexctl("build", repo, "--data", store, "--json", "--ephemeral")
    assert done.code == 0, done.err
    return repo, store


@pytest.fixture(scope="session")
def site(harbour: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service over the harbour, for tests that change nothing."""
    with _serving(harbour[1], tmp_path_factory.mktemp("site") / "serve.log") as address:
        yield address
