"""One headless browser for all tests of the page, offline.

Needs chromium and its driver (Debian: apt-get install chromium chromium-driver) and selenium."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    from selenium import webdriver
except ImportError:
    webdriver = None

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
IN_BROWSER = [
    pytest.mark.skipif(webdriver is None, reason="selenium is not installed"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
    # all in one process, so that there is one browser
    pytest.mark.xdist_group("browser"),
]


def start_browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


def open_page(browser: Any, path: Path, address: str = "", width: int = 1200, **media: str) -> None:
    """Opens a page and waits until it is drawn. `address`: from the # on; `media`: features that are emulated."""
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri() + address)
    settle(browser)


def settle(browser: Any) -> None:
    """Waits until the page is built and the attention map of the selection is drawn."""
    wait = """const done = arguments[0], wait = () => {
          if (!window.hfTfm) return setTimeout(wait, 10);
          window.hfTfm.ready.then(() => window.hfTfm.drawn()).then(() => done(null), (error) => done(error.stack));
        };
        wait();"""
    error = browser.execute_async_script(wait)
    assert error is None, error


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for since the page was opened, but for those inside the page."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "about:"))]
