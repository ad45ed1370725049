"""A headless Chromium, driven by its own protocol over a websocket: nothing to install but the browser itself.

Belongs here: starting it, pages, keys, clicks, waiting. Not here: what the page promises (`test_page_*`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

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
    target: str
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
        sockets: list[ClientConnection] = []
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as control:
            head = Page(control, "")

            def tab() -> Page:
                context = head.send("Target.createBrowserContext")["browserContextId"]
                target = head.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
                socket = connect(f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None)
                sockets.append(socket)
                page = Page(socket, target)
                for domain in ("Page", "Runtime", "Log"):
                    page.send(f"{domain}.enable")
                page.resize(1280, 800)
                return page

            yield tab
            for socket in sockets:
                socket.close()
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
