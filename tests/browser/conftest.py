"""A browser for all tests of pages: Debian's Chromium, driven by playwright."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    path = os.environ.get("OTOSCOPE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'otoscope[test]'")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opening(browser: Any) -> Iterator[Callable[..., Any]]:
    """Yield a function that opens a file; at the end, no page may have reported an error or asked for anything."""
    contexts, problems = [], []

    def note_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            problems.append(f"request: {request.url}")

    def open_file(path: Path, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)  # a busy machine is slow, not wrong
        page.on("request", note_request)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
        page.goto(path.resolve().as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Function that opens a file for a test; see `opening`."""
    with opening(browser) as open_file:
        yield open_file


@pytest.fixture(scope="module")
def open_shared_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Function that opens a file for all tests of a module; see `opening`."""
    with opening(browser) as open_file:
        yield open_file
