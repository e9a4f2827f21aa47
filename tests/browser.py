"""Headless Chromium by the WebDriver protocol, spoken plainly: the tests need no more of it than this."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
]


class Browser:
    def __init__(self, address: str, session: str):
        self.address, self.session = address, session

    def call(self, method: str, path: str, body: dict | None = None):
        return request(method, f"{self.address}/session/{self.session}{path}", body)

    def devtools(self, command: str, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file at a width in CSS pixels. Below 600 the browser is a phone's."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self.call("POST", "/url", {"url": "about:blank"})
        self.log("performance"), self.log("browser")  # what the browser itself did
        self.call("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments):
        """What `script`, the body of a function, returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def log(self, kind: str) -> list[dict]:
        return self.call("POST", "/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Addresses that pages asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self, path: Path) -> None:
        """Of the whole page."""
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000), "scale": 1}
        picture = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(picture))


def request(method: str, address: str, body: dict | None = None):
    data = None if method == "GET" or method == "DELETE" else json.dumps(body or {}).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(asked, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from None


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where Chromium is absent and could not have been installed."""
    if not (driver := shutil.which("chromedriver")) or not shutil.which("chromium"):
        message = "Chromium is missing: apt-get install chromium chromium-driver (tools/setup.sh browser)"
        pytest.fail(message) if os.geteuid() == 0 else pytest.skip(message)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = next(
                line.rsplit("port ", 1)[1].strip(" .\n") for line in started.stdout if "successfully on port " in line
            )
            address = f"http://127.0.0.1:{port}"
            capabilities = {
                "browserName": "chrome",
                "goog:chromeOptions": {
                    "binary": shutil.which("chromium"),
                    "args": [*FLAGS, f"--user-data-dir={folder}/profile"],
                },
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            session = request("POST", f"{address}/session", {"capabilities": {"alwaysMatch": capabilities}})
            browser = Browser(address, session["sessionId"])
            try:
                yield browser
            finally:
                with contextlib.suppress(RuntimeError, OSError):
                    browser.call("DELETE", "")
                time.sleep(0.2)
        finally:
            started.terminate()
            started.wait(timeout=30)
