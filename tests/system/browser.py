"""Debian's chromium without a window, spoken to by the DevTools protocol over a pair of pipes.

Two pipes and JSON between null bytes: no port is opened and no library is needed. Each browser has a profile
folder of its own.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium")
ANSWER_S: Final = 60.0
"""A hang guard: a loaded machine starts a browser in seconds."""

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

RENAME: Final = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class NavigatedAwayError(Exception):
    """The page went away while it was asked something: a question to ask again, not a finding."""


class Browser:
    """One browser with one page; a context manager.

    Attributes:
        complaints: what the page logged as an error, and exceptions that nobody caught.
        requested: addresses that the page asked for.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._number = 0
        self._buffer = b""
        self._session = ""
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        # The browser wants the descriptors 3 and 4, which may be taken here: a small program renames them.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (commands_out, answers_in)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RENAME, *map(str, high), CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (commands_out, answers_in, *high):
            os.close(fd)

    def __enter__(self) -> "Browser":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._commands)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._answers)

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; events that come before its answer are taken in."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise NavigatedAwayError
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._notice(answer)

    def _read(self, deadline: float) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _notice(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Log.entryAdded" if event["params"]["entry"]["level"] == "error":
                self.complaints.append(event["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(event["params"]["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requested.append(event["params"]["request"]["url"])

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Take a screen's size and a colour scheme; narrow screens are phones."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a script expression on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(NavigatedAwayError):
                if self.evaluate(expression):
                    return
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}")

    def picture(self) -> bytes:
        """The visible page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
