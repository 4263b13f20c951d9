"""Chromium as the tests of the page use it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, Self

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from aioconcurrent.report.page import write_page

from .stories import STORIES

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
# Without a window, and without the connections that a browser makes of its own accord.
_FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One browser with one tab; it writes each page once."""

    def __init__(self, program: Path, driver: Path, folder: Path) -> None:
        self._folder = folder
        self._pages: dict[str, Path] = {}
        options = webdriver.ChromeOptions()
        options.binary_location = str(program)
        for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # it does not start as root otherwise
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self._driver = webdriver.Chrome(options, Service(str(driver)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._driver.quit()

    def reset(self) -> None:
        """Forget what other tests asked for."""
        self._driver.get("about:blank")
        self.resize(1280, 900)
        self.emulate("screen", "light")
        self._log("performance")
        self._log("browser")

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def emulate(self, medium: str, colours: str, *, forced: bool = False) -> None:
        features = [
            {"name": "prefers-color-scheme", "value": colours},
            {"name": "forced-colors", "value": "active" if forced else "none"},
        ]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})

    def open(self, name: str) -> None:
        """Go to the page of one of the stories that have a name."""
        if name not in self._pages:
            self._pages[name] = write_page(STORIES[name], self._folder)
        self._driver.get(self._pages[name].as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script that returns something."""
        return self._driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self._driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What is to be seen of the first such element, in lines."""
        return self.find(selector).text

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self._driver.find_elements(By.CSS_SELECTOR, selector)]

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self._driver).send_keys(key).perform()

    def hover(self, selector: str) -> None:
        ActionChains(self._driver).move_to_element(self.find(selector)).perform()

    def allow(self, *permissions: str) -> None:
        self._driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": list(permissions)})

    def picture(self) -> bytes:
        """The window as a PNG."""
        taken = self._driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        return base64.b64decode(taken["data"])

    def printed(self) -> bytes:
        """The page as a PDF on A4."""
        made = self._driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
        return base64.b64decode(made["data"])

    def title(self) -> str:
        return self._driver.title

    def requested(self) -> list[str]:
        """The addresses that were asked for since `reset`."""
        messages = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        sent = [each for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the page's own policy forbade, since `reset`."""
        return [entry["message"] for entry in self._log("browser")]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since the last look."""
        entries: list[dict[str, Any]] = self._driver.get_log(kind)  # type: ignore[no-untyped-call]  # of selenium's
        return entries
