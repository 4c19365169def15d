"""Headless Chromium for the tests of a page: the DevTools protocol over two pipes, no driver, no network.

Messages are JSON ended by a NUL byte (`--remote-debugging-pipe`, Chromium's
content/browser/devtools/devtools_pipe_handler.cc): Chromium reads descriptor 3 and writes 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Seconds nothing here comes near: a browser that hangs ends its test.
PATIENCE = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root, in a container without user namespaces
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm of a container has 64 MB
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is looked up: the page must need none
    "--remote-debugging-pipe",
)

_OVERFLOWING = Path(__file__).with_name("overflowing.js").read_text(encoding="utf-8")
#: What WCAG 2.2, 1.4.12 lets a reader ask for: letters as far apart as in no font, lines too.
_SPACED = "* { letter-spacing: .12em !important; word-spacing: .16em !important; line-height: 1.5 !important}"


class Browser:
    """One tab. `complaints` collects what the page logs, what fails to load and every script error."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write, self._read = to_browser, from_browser
        self._received = b""
        self._calls = 0
        self._session = ""
        self.complaints: list[str] = []
        self._loaded = False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "CSS"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, *, width: int, height: int = 800, dark: bool = False) -> None:
        """Shows the file in a window of that many CSS pixels and returns when it has loaded."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # nothing moves while measured
        ]
        self._call("Emulation.setEmulatedMedia", media="", features=features)
        self._loaded = False
        self.complaints.clear()
        self._call("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._take(self._message())

    def scripts(self, enabled: bool) -> None:
        """Says whether pages opened from now on may run scripts."""
        self._call("Emulation.setScriptExecutionDisabled", value=not enabled)

    def evaluate(self, expression: str) -> Any:
        """Returns the expression's value in the page, as JSON carries it."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def families(self) -> set[str]:
        """Returns the font families that the page's text is drawn in."""
        root = self._call("DOM.getDocument", depth=0)["root"]["nodeId"]
        texts = self._call("DOM.querySelectorAll", nodeId=root, selector="h1, p, li, td, code, .name")
        fonts = (self._call("CSS.getPlatformFontsForNode", nodeId=node)["fonts"] for node in texts["nodeIds"])
        return {font["familyName"] for used in fonts for font in used}

    def set_wide(self) -> None:
        """Sets letters, words and lines of the page shown as far apart as a reader may ask for."""
        self.evaluate(
            "(() => { const style = new CSSStyleSheet(); document.adoptedStyleSheets = [style];"
            f" style.replaceSync({json.dumps(_SPACED)}); }})()"
        )

    def press(self, key: str) -> None:
        """Presses and releases a key, as `ArrowRight`."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, "Enter": 13, " ": 32}
        for kind in ("rawKeyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
            )

    def click(self, x: float, y: float) -> None:
        """Clicks at a point of the window, in CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def pdf(self) -> bytes:
        """Returns the page as it would be printed on A4."""
        printed = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        return base64.b64decode(printed["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        number = self._calls
        request: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        data = memoryview(json.dumps(request).encode() + b"\0")
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            message = self._message()
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._take(message)

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"the browser said nothing for {PATIENCE:.0f} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self._received += data
        text, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _take(self, message: dict[str, Any]) -> None:
        method, params = message.get("method", ""), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"script error: {json.dumps(params['exceptionDetails'])[:600]}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {json.dumps(params['args'])[:600]}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"log: {json.dumps(params['entry'])[:600]}")
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.complaints.append(f"asks the network: {url[:300]}")


def overflowing(browser: Browser) -> list[str]:
    """Returns what does not fit the page that is shown, with every fold open; [] when all does."""
    found: list[str] = browser.evaluate(_OVERFLOWING)
    return found


@contextlib.contextmanager
def chromium(profile: Path, font_configuration: Path | None = None) -> Iterator[Browser]:
    """Gives a browser with a fresh profile in that directory, and ends it.

    font_configuration: a file of fontconfig's that says which fonts there are; without, all installed ones.
    """
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    # sh puts the two pipes where Chromium looks for them
    place = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
    process = subprocess.Popen(
        ["/bin/sh", "-c", place, "sh", "chromium", *_FLAGS, f"--user-data-dir={profile}"],
        stdin=commands,
        stdout=answers,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **({"FONTCONFIG_FILE": str(font_configuration)} if font_configuration else {})},
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        os.close(to_browser)  # the end of its commands is the browser's end
        os.close(from_browser)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
